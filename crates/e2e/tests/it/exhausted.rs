//! A server that may open few files: it refuses new work when there are none left, loses nothing, and goes on by itself.

use std::fs;
use std::net::TcpStream;

use testkit::tree::{CompareOptions, Random, seed};

use crate::support::{Client, Home, Server, User, assert_same_file, assert_same_tree, wait_until};

const MIB: usize = 1 << 20;
/// Fewer than there are packs, and than a server keeps open by itself.
const FILES_MAX: u32 = 64;

#[test]
fn a_server_without_descriptors_refuses_new_work_and_goes_on() {
    let home = Home::new();
    let server = Server::start_limited(&home, FILES_MAX, &["--pack-size", "64KiB", "--login-timeout", "3s"]);
    let client = Client::new(&home, "laptop", User::Same);
    client.connect(&server.enroll("laptop"));
    let mut random = Random::new(seed());
    let (first, second) = (home.folder("first"), home.path("second"));
    for number in 0..100 {
        fs::write(first.join(number.to_string()), random.bytes(200_000)).unwrap();
    }
    fs::write(&second, random.bytes(MIB)).unwrap();
    client.backup(&first);
    assert!(server.data_packs().len() > FILES_MAX as usize, "there are more packs than it may open");
    client.restore(format!("latest:{}", first.display()), &home.path("alone"));
    assert_same_tree(&first, &home.path("alone"), CompareOptions::for_this_user());

    // Strangers take what is left.
    let strangers: Vec<TcpStream> =
        (0..FILES_MAX).filter_map(|_| TcpStream::connect(("127.0.0.1", server.port())).ok()).collect();
    wait_until("nothing is left", || server.log().contains("cannot accept a connection"));
    let refused = client.run(&["--max-wait".as_ref(), "0".as_ref(), "backup".as_ref(), second.as_os_str()]);
    assert!(matches!(refused.code, Some(0 | 4)), "it is served, or told to come back: {refused}");

    // They are gone, or their time is over.
    drop(strangers);
    client.backup(&second);
    assert!(server.status()["halted"].is_null(), "{}", server.status());
    client.restore(format!("latest:{}", second.display()), &home.path("after"));
    assert_same_file(&second, &home.path("after/second"));
    server.admin(&["verify", "--full"]).expect(0);
}
