//! What goes to which stream, `--json`, `--help`, and exit codes of wrong use.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Client, Output, Pair, Relay, User, number, server};

const COMMANDS: [&str; 12] =
    ["connect", "backup", "snapshots", "ls", "restore", "verify", "put", "get", "rlist", "list", "rm", "help"];

fn file(pair: &Pair) -> PathBuf {
    let path = pair.home.folder("tree").join("file");
    fs::write(&path, "some content").unwrap();
    path
}

#[test]
fn a_backup_ends_with_its_report() {
    let pair = Pair::new();
    let file = file(&pair);
    let output = pair.client.run(&["--json".as_ref(), "backup".as_ref(), file.as_os_str()]).expect(0);
    assert_eq!(output.stderr, "");
    let committed = output.last("committed");
    let promised = ["files", "bytes_read", "bytes_sent", "bytes_received", "bytes_stored", "delta_objects"];
    for field in promised {
        number(&committed, field);
    }
    let snapshot = committed["snapshot"].as_str().unwrap();
    assert!(snapshot.len() == 64 && snapshot.bytes().all(|byte| byte.is_ascii_hexdigit()), "{snapshot}");
    let time = committed["server_time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.starts_with("20"), "{time}");
    assert_eq!((number(&committed, "files"), number(&committed, "bytes_read")), (1, 12));
    // The server's own count agrees.
    let status = pair.server.status();
    assert_eq!(number(&status, "snapshots"), 1);
    assert_eq!(number(&status, "bytes_stored"), number(&committed, "bytes_stored"));
}

#[test]
fn every_command_speaks_json() {
    let pair = Pair::new();
    let file = file(&pair);
    let file = file.to_str().unwrap();
    let enrolment = pair.server.enroll("laptop again");
    let target = pair.home.path("restored");
    let target = target.to_str().unwrap();
    let got = pair.home.path("got");
    let runs: [(&[&str], &str); 11] = [
        (&["connect", &enrolment], "connected"),
        (&["backup", file], "committed"),
        (&["snapshots"], "snapshot"),
        (&["ls", "latest"], "entry"),
        (&["restore", "latest", target], "restored"),
        (&["verify"], "verified"),
        (&["put", file], "committed"),
        (&["rlist"], "entry"),
        (&["list", "/"], "entry"),
        (&["get", "file", got.to_str().unwrap()], "got"),
        (&["rm", "file"], "removed"),
    ];
    let mut seen = BTreeSet::new();
    for (arguments, event) in runs {
        // The flag may stand anywhere.
        let output = pair.client.run(&[arguments, &["--json"]].concat()).expect(0);
        output.last(event);
        assert_eq!(output.stderr, "", "{output}");
        seen.insert(arguments[0]);
    }
    for arguments in [&["status"][..], &["account", "list"], &["device", "list"], &["enroll", "--device", "x"]] {
        let output = pair.server.admin(&[arguments, &["--json"]].concat()).expect(0);
        assert!(!output.events().is_empty() && output.stderr.is_empty(), "{output}");
    }
    let all: BTreeSet<&str> = COMMANDS.into_iter().filter(|command| *command != "help").collect();
    assert_eq!(seen, all);
}

#[test]
fn words_are_for_people_and_data_is_for_programs() {
    let pair = Pair::new();
    let file = file(&pair);
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let other = pair.home.path("binary");
    fs::write(&other, &binary).unwrap();
    pair.client.run(&["put".as_ref(), other.as_os_str()]).expect(0);
    for flags in [&[][..], &["--json"], &["--quiet"]] {
        let output = pair.client.run(&[flags, &["get", "binary", "-"]].concat()).expect(0);
        assert!(output.stdout == binary, "{flags:?}: something else: {output}");
        assert_eq!(output.stderr, "");
    }
    let quiet = pair.client.run(&["--quiet".as_ref(), "backup".as_ref(), file.as_os_str()]).expect(0);
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{quiet}");
    let words = pair.client.run(&["backup".as_ref(), file.as_os_str()]).expect(0);
    assert!(words.stdout.starts_with(b"snapshot ") && words.stderr.is_empty(), "{words}");
    let enrolment = pair.server.admin(&["enroll", "--device", "x"]).expect(0);
    assert!(enrolment.stdout.starts_with(b"bk1:") && enrolment.stderr.is_empty(), "{enrolment}");
}

/// However long it takes: what tells of progress must not get between the bytes of a file.
#[test]
fn a_slow_get_writes_the_file_and_nothing_else() {
    let Pair { server, client, home } = Pair::new();
    let file = home.path("file");
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    fs::write(&file, &content).unwrap();
    client.run(&["put".as_ref(), file.as_os_str()]).expect(0);
    let relay = Relay::new(&server);
    let slow = Client::new(&home, "slow", User::Same);
    slow.connect(&server.enroll_with(&["--device", "slow", "--address", &relay.address()]));
    relay.hold_after(0);
    let get = slow.start(&["--json", "get", "file", "-"]);
    // Progress is told every second.
    std::thread::sleep(Duration::from_millis(2500));
    relay.open();
    let output = get.finish().expect(0);
    assert!(output.stdout == content, "something else: {output}");
    let failed = slow.run(&["--json", "get", "nothing", "-"]).expect(1).says(&["nothing", "there is no"]);
    assert!(failed.stdout.is_empty(), "{failed}");
}

#[test]
fn errors_go_to_standard_error() {
    let pair = Pair::new();
    let failing: [&[&str]; 6] = [
        &["backup", "/no/such/file"],
        &["ls", "latest"],
        &["restore", "latest", "/nowhere"],
        &["get", "nothing"],
        &["rm", "nothing"],
        &["put", "/no/such/file"],
    ];
    for arguments in failing {
        let output = pair.client.run(arguments).expect(1).says(&["error: cannot ", "caused by: there is no "]);
        assert!(output.stdout.is_empty(), "{output}");
        let output = pair.client.run(&[&["--json"], arguments].concat()).expect(1).says(&["error: cannot "]);
        let failed = output.last("failed");
        assert_eq!(number(&failed, "exit_code"), 1);
        assert!(failed["causes"].as_array().is_some_and(|causes| !causes.is_empty()), "{failed}");
    }
}

#[test]
fn wrong_use_is_told_apart() {
    let pair = Pair::new();
    let wrong: [&[&str]; 8] = [
        &[],
        &["backup"],
        &["backup", "--no-such-flag", "/tmp"],
        &["no-such-command"],
        &["ls", "not-an-id"],
        &["restore", "latest"],
        &["connect", "not an enrolment string"],
        &["--max-wait", "soon", "snapshots"],
    ];
    for arguments in wrong {
        let output = pair.client.run(arguments).expect(1);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output}");
    }
    pair.client.run(&["--chain"]).expect(1);
    let output = pair.client.run(&["backup", "--chain", "", "/tmp"]).expect(1);
    assert!(output.stderr.contains("chain"), "{output}");
    for arguments in [&[][..], &["serve", "--no-such-flag"], &["no-such-command"], &["serve", "--pack-size", "1"]] {
        let output = server::run(server::command().args(arguments)).expect(1);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output}");
    }
}

#[test]
fn every_command_explains_itself() {
    let pair = Pair::new();
    let check = |output: Output| {
        let output = output.expect(0);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(text.contains("Usage: ") && output.stderr.is_empty(), "{output}");
        text
    };
    let help = check(pair.client.run(&["--help"]));
    for command in COMMANDS {
        assert!(help.contains(&format!("  {command} ")), "{command} is missing in {help}");
        if command != "help" {
            check(pair.client.run(&[command, "--help"]));
        }
    }
    assert!(help.contains("Exit codes: "), "{help}");
    let commands: [&[&str]; 9] = [
        &[],
        &["serve"],
        &["enroll"],
        &["status"],
        &["account"],
        &["account", "add"],
        &["account", "list"],
        &["device", "list"],
        &["device", "revoke"],
    ];
    for command in commands {
        check(server::run(server::command().args(command).arg("--help")));
    }
    for version in [pair.client.run(&["--version"]), server::run(server::command().arg("--version"))] {
        assert!(version.expect(0).stdout.starts_with(b"backup-"));
    }
}

#[test]
fn settings_come_from_flags_variables_and_files() {
    let pair = Pair::new();
    let data_dir = pair.home.path("another");
    fs::create_dir(&data_dir).unwrap();
    fs::write(data_dir.join("server.toml"), "listen = \"not an address\"\n").unwrap();
    std::os::unix::fs::chown(&data_dir, None, None).unwrap();
    fs::set_permissions(&data_dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let from_file = server::run(server::command().arg("serve").arg("--data-dir").arg(&data_dir)).expect(1);
    assert!(from_file.stderr.contains("server.toml"), "{from_file}");
    let from_variable = server::run(server::command().arg("serve").env("BACKUP_SERVER_LISTEN", "nowhere")).expect(1);
    assert!(from_variable.stderr.contains("nowhere"), "{from_variable}");
    let status =
        server::run(server::command().args(["status", "--json"]).env("BACKUP_SERVER_DATA_DIR", pair.server.data_dir()));
    let status: Value = status.expect(0).last("status");
    assert!(status["running"]["url"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{status}");
}
