//! Bytes that must never change: cuts, signatures and deltas are stored and sent, so a test here that fails means a
//! new format version, not a new golden value.

use delta_core::{BlockLen, CutParams, Cutter, HashKey, Op, OpList, Signature, SignatureParams, StrongKind};

use crate::support::{block_len, encoded, exact, random_bytes, text};

#[track_caller]
fn check_hex(bytes: &[u8], expected: &str) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected);
}

#[track_caller]
fn check_hash(bytes: &[u8], expected: &str) {
    assert_eq!(blake3::hash(bytes).to_hex().as_str(), expected);
}

fn golden_key() -> HashKey {
    HashKey::from_secret(&std::array::from_fn(|i| u8::try_from(i).unwrap()))
}

fn encoded_signature(basis: &[u8], params: SignatureParams) -> Vec<u8> {
    let mut bytes = Vec::new();
    Signature::compute(basis, params, &golden_key()).unwrap().encode(&mut bytes);
    bytes
}

#[test]
fn cuts() {
    let mut file = random_bytes(1, 16 << 20);
    file[5 << 20..11 << 20].fill(0);
    let lens = |params| {
        let cutter = Cutter::new(params, &std::array::from_fn(|i| u8::try_from(i).unwrap()));
        cutter.chunks(&file).map(<[u8]>::len).collect::<Vec<_>>()
    };
    assert_eq!(
        lens(CutParams::default()),
        [
            1_495_039, 1_777_867, 865_285, 711_747, 4_194_304, 2_605_095, 754_292, 1_211_567, 1_000_517, 1_702_012,
            459_491
        ]
    );
    let small = lens(CutParams::new(4096, 16_384, 65_536).unwrap());
    assert_eq!((small.len(), &small[..6]), (636, &[16_506, 26_651, 4721, 5279, 22_616, 21_945][..]));
    let all: Vec<u8> = small.iter().flat_map(|len| u32::try_from(*len).unwrap().to_le_bytes()).collect();
    check_hash(&all, "0918884657b38bdcc87ef2cf2307d60039d52e814e35464d70c5ad3a3749acd6");
}

#[test]
fn signatures() {
    let basis =
        b"a basis of three blocks: a short one in front, a full one, and what is left at the end of it. And more.";
    let params = |strong| SignatureParams::new(BlockLen::FINEST, strong, 10).unwrap();
    check_hex(&encoded_signature(basis, params(StrongKind::FINE)), "0106020a678866708427f289f9e1e7bd396032f0d96ec0");
    check_hex(
        &encoded_signature(basis, params(StrongKind::COARSE)),
        "0106040a678866708427f289f9e1e7bd3960321a50f0d95a2d6ec0a0f0",
    );
    check_hex(
        &encoded_signature(basis, params(StrongKind::SEALED)),
        "0106880a678866708427f289f9e1e7bd3922c762845c1b99cb6bfd1ffba5401f2769ce3a983994bbdb",
    );
    check_hex(&encoded_signature(b"", params(StrongKind::FINE)), "0106020a00");

    let basis = random_bytes(1, 1_000_000);
    for (block_bytes, strong, expected) in [
        (64, StrongKind::FINE, "e980b4d659ea5881e85e4148bcd7172e7b148bf8e4edca61e16b6a71aeefe63f"),
        (128, StrongKind::FINE, "7e29a35f3970aafa533683e5eba573327d8832fe7cdf37101032c20b3330e38c"),
        (256, StrongKind::COARSE, "57b85b0d0f0afa95b517fec6b84e50177454d36af35e3293104cf90d6541f51c"),
        (512, StrongKind::FINE, "b9439d4056b71553569cde5779f34b2f9a6567a11eee0b326af78babc435edda"),
        (8192, StrongKind::COARSE, "7f1e196b893effc0add0b8250b2160b17d315556fcc22692d13639bcfcfb1d8c"),
        (2048, StrongKind::SEALED, "4951853f5cbc63eb668fa059c062963bfe8734cc7045363fecae1e8c79019d16"),
        (131_072, StrongKind::SEALED, "9a826ae74f077c7974dabe0867a0db17fa20821b2fba93278849d1217c1f5191"),
    ] {
        let params = SignatureParams::on_page_grid(block_len(block_bytes), strong, 12_345);
        check_hash(&encoded_signature(&basis, params), expected);
    }
}

#[test]
fn deltas() {
    let mut ops = OpList::new();
    for op in [
        Op::Literal { len: 3 },
        Op::Copy { slot: 0, offset: 3, len: 200 },
        Op::Copy { slot: 1, offset: 70_000, len: 20 },
        Op::Literal { len: 130 },
        Op::Copy { slot: 1, offset: 0, len: 20 },
        Op::Literal { len: 1 },
    ] {
        ops.push(op);
    }
    let (first, second) = (vec![0; 1000], vec![0; 100_000]);
    let target = vec![0xab; 374];
    let literals = "ab".repeat(134);
    check_hex(
        &encoded(&[&first, &second], &target, &ops),
        &format!("01f6020303008201c8011414009ad2088bc808{literals}"),
    );
    check_hex(&encoded(&[], b"", &OpList::new()), "010000");
    check_hex(&encoded(&[], b"only literal", &OpList::all_literal(12)), "010c006f6e6c79206c69746572616c");
}

/// Not a format: another op list makes the same target. But what it finds should change on purpose only.
#[test]
fn exact_matching() {
    let basis = text(1, 200_000);
    let mut target = basis.clone();
    target.splice(100_000..100_050, *b"changed");
    target[150_000..150_008].fill(b'#');
    check_hash(
        &encoded(&[&basis], &target, &exact(&[&basis], &target)),
        "75559ab74e669b4bdbb9225b707555c9ea94f4ce1c5eb4fe92f6b5965e72f5ae",
    );
}
