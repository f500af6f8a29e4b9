//! Blocks made to collide, and data that makes bad matchers slow: bounded work, and never wrong without a sign.

use delta_core::{ExactMatcher, OpList, StrongKind, Xxh3Len};

use crate::support::{diff_with_stats, params, random_bytes, rebuilt, signature, thue_morse};

/// 128 bytes of the Thue-Morse word or its opposite: for any multiplier that is 5 modulo 8 the two have the same
/// weak hash, since their difference is a product of `m^(2^k) - 1`, and these are divisible by 4, 8, 16 …
fn unit(opposite: bool) -> Vec<u8> {
    thue_morse(128).into_iter().map(|byte| if opposite { byte ^ b'a' ^ b'b' } else { byte }).collect()
}

/// A block of 32 such units, chosen by the bits of `choice`.
fn colliding_block(choice: u32) -> Vec<u8> {
    (0..32).flat_map(|bit| unit(choice >> bit & 1 == 1)).collect()
}

#[test]
fn units_do_collide() {
    let params = params(4096, StrongKind::COARSE);
    let weak = |choice| {
        let mut bytes = Vec::new();
        signature(&colliding_block(choice), params).encode(&mut bytes);
        bytes[bytes.len() - 8..bytes.len() - 4].to_vec()
    };
    assert!((1..50u32).all(|i| weak(i.wrapping_mul(0x9e37_79b1)) == weak(0)));
}

/// All blocks and all windows have one weak hash: what can be told apart by 16 candidates is found, and after a few
/// windows in vain the hash is not looked up again.
#[test]
fn weak_collisions_cost_bounded_work() {
    let basis: Vec<u8> = (0..64u32).flat_map(|i| colliding_block(i.wrapping_mul(0x9e37_79b1))).collect();
    let unknown: Vec<u8> = (100..1000u32).flat_map(|i| colliding_block(i.wrapping_mul(0x85eb_ca6b))).collect();
    let params = params(4096, StrongKind::COARSE);

    let (ops, _) = diff_with_stats(&[&basis], params, &basis);
    assert_eq!(ops.literal_len(), 0, "the first is found, and each is followed by the next");

    let (ops, stats) = diff_with_stats(&[&basis], params, &unknown);
    assert_eq!(rebuilt(&[&basis], &unknown, &ops), unknown);
    assert!(stats.miss_count <= 32, "{stats:?}");
}

/// Eight windows per block length have the weak hash of some block each, and match none: the budget ends the search.
#[test]
fn budget_ends_a_search_in_vain() {
    let pair = |swapped| [unit(swapped), unit(!swapped)].concat();
    let target: Vec<u8> =
        random_bytes(1, 1 << 19).chunks(256).flat_map(|noise| [noise, &pair(false)].concat()).collect();
    let windows = target.windows(4096).step_by(512);
    let basis: Vec<u8> = windows.flat_map(|window| [&window[..256], &pair(true), &window[512..]].concat()).collect();
    let (ops, stats) = diff_with_stats(&[&basis], params(4096, StrongKind::COARSE), &target);
    assert_eq!(ops, OpList::all_literal(1 << 20));
    assert!(stats.gave_up, "{stats:?}");
    assert!((1000..1200).contains(&stats.miss_count), "four of the eight: {stats:?}");
}

/// A block that collides with another in all hashes of its signature is copied in its place. Only comparing content
/// ids shows that, so it must show; and exact matching sets it right.
#[test]
fn false_match_shows_in_the_content_id() {
    let params = params(4096, StrongKind::Xxh3(Xxh3Len::new(2).unwrap()));
    let hashes = |choice| {
        let mut bytes = Vec::new();
        signature(&colliding_block(choice), params).encode(&mut bytes);
        bytes
    };
    let wanted = hashes(0);
    let twin = (1..=u32::MAX).find(|&choice| hashes(choice) == wanted).unwrap();
    let basis = colliding_block(0);
    let target = [random_bytes(1, 1000), colliding_block(twin), random_bytes(2, 1000)].concat();

    let (mut ops, _) = diff_with_stats(&[&basis], params, &target);
    assert_eq!(ops.copied_lens(), [4096]);
    let rebuilt_by_hashes = rebuilt(&[&basis], &target, &ops);
    assert_ne!(blake3::hash(&rebuilt_by_hashes), blake3::hash(&target));

    ExactMatcher::new().refine(&[&basis], &target, &mut ops).unwrap();
    assert_eq!(rebuilt(&[&basis], &target, &ops), target);
}

#[test]
fn worst_inputs_of_each_kind() {
    let len = 1 << 20;
    let ones_every = |step: usize| (0..len).map(|i| u8::from(i % step == 0)).collect::<Vec<_>>();
    let period = |shift: usize| (0..len).map(|i| b'a' + u8::try_from((i + shift) % 23).unwrap()).collect::<Vec<_>>();
    let shifted_word = [b"x".to_vec(), thue_morse(2 * len)[12_345..12_345 + len].to_vec()].concat();
    // (basis, target, block length, literal bytes at most)
    let cases = [
        (vec![0; len], vec![0; len + 5000], 512, 512),
        (vec![0; len], ones_every(511), 512, len),
        (ones_every(511), vec![0; len], 512, len),
        (period(0), period(1), 512, 512),
        (thue_morse(len), shifted_word.clone(), 512, 1024),
        (thue_morse(len), shifted_word.clone(), 4096, 8192),
        (thue_morse(len), shifted_word, 65_536, len + 1),
    ];
    for (case, (basis, target, block_len, literal_max)) in cases.into_iter().enumerate() {
        let (ops, stats) = diff_with_stats(&[&basis], params(block_len, StrongKind::COARSE), &target);
        assert_eq!(rebuilt(&[&basis], &target, &ops), target, "case {case}");
        assert!(ops.literal_len() as usize <= literal_max, "case {case}: {} bytes literal", ops.literal_len());
        assert!(!stats.gave_up, "case {case}");
    }
}
