//! The rows of `cargo xtask bench peers`, small, and what they may count: bytes, objects, waits for the disk.

use std::path::Path;

#[test]
fn every_row_of_the_comparison_keeps_its_counts() {
    let [server, client] = [env!("CARGO_BIN_EXE_e2e-server"), env!("CARGO_BIN_EXE_e2e-client")].map(Path::new);
    if let Err(excess) = benches::peers::smoke::run(server, client) {
        panic!("{excess}");
    }
}
