//! Integration tests of delta-core.
use delta_core::*;

#[test]
fn smoke() {
    let key = HashKey::from_secret(&[3; 32]);
    let mut basis = vec![0; 300_000];
    blake3::Hasher::new().update(b"x").finalize_xof().fill(&mut basis);
    let mut target = basis.clone();
    target.insert(100, 7);
    target[200_000] ^= 1;
    let params = SignatureParams::on_page_grid(BlockLen::COARSE, StrongKind::COARSE, 1000);
    let sig = Signature::compute(&basis, params, &key).unwrap();
    let mut set = BasisSet::new();
    set.push(0, &sig).unwrap();
    let mut m = Matcher::new(&key);
    let mut ops = OpList::new();
    eprintln!("{:?}", m.diff(&set, &target, &mut ops).unwrap());
    eprintln!("{:?}", ops);
    let lens = [basis.len() as u32];
    let wanted = ops.wanted_cells(
        &lens,
        GapRules {
            literal_len_min: 512,
            reach: 512,
        },
    );
    eprintln!("{wanted:?}");
    let fine = Signature::compute_cells(
        &basis,
        &wanted[0].1,
        params.level(BlockLen::FINE, StrongKind::FINE),
        &key,
    )
    .unwrap();
    let mut set = BasisSet::new();
    set.push(0, &fine).unwrap();
    eprintln!("{:?}", m.refine(&set, &target, &mut ops).unwrap());
    eprintln!("{:?}", ops);
    ExactMatcher::new().refine(&[&basis], &target, &mut ops).unwrap();
    let mut bytes = vec![];
    ops.encode(&lens, &target, &mut bytes).unwrap();
    let d = Delta::decode(&bytes, &lens, &Limits::default()).unwrap();
    assert_eq!(d.op_list(), ops);
    let mut out = vec![];
    apply(&[&basis], &d, 1 << 22, &mut out).unwrap();
    assert!(out == target);
}
