//! The real program: flags, exit codes, messages, signals.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::server::{Program, command, text};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_backup-server"));
    program.env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
    program.args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

/// Makes a data directory, by a server that is started and stopped.
fn made(dir: &Path) {
    let program = Program::serve(dir, &[]);
    program.signal("TERM");
    assert!(program.output().status.success());
}

#[test]
fn help_is_complete() {
    let output = run(&["serve", "--help"], &[]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    let flags = [
        "data-dir",
        "config",
        "listen",
        "address",
        "port-file",
        "plain-http",
        "metrics",
        "pack-size",
        "seal-interval",
        "min-free",
        "reserve",
        "any-file-system",
        "gc-interval",
        "gc-grace",
        "gc-waste",
        "scrub-interval",
        "scrub-rate",
        "catalog-backup-interval",
        "catalog-backup-copy",
        "mirrors",
        "mirror-interval",
        "retention-interval",
        "trash-delay",
        "login-timeout",
        "idle-timeout",
        "drain-timeout",
        "session-lifetime",
        "enrolment-lifetime",
        "max-connections",
        "max-unauthenticated",
        "max-account-connections",
        "hosts",
        "base-path",
        "trusted-proxies",
        "login-idle",
        "login-lifetime",
        "max-sessions",
        "max-file-size",
        "permanent-delete",
        "log-level",
        "log-format",
    ];
    for flag in flags {
        assert!(help.contains(&format!("--{flag}")), "--{flag}");
        let variable = format!("BACKUP_SERVER_{}", flag.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{variable}");
    }
    assert_eq!(help.matches("[env: ").count(), flags.len(), "every flag has a variable");
    let overview = text(&run(&["--help"], &[]).stdout);
    for word in [
        "serve",
        "enroll",
        "status",
        "doctor",
        "config",
        "gc",
        "account",
        "device",
        "verify",
        "repair",
        "reindex",
        "catalog",
        "rescue",
        "settings",
        "mirror",
        "Exit codes",
    ] {
        assert!(overview.contains(word), "{word}");
    }
    assert!(text(&run(&["--version"], &[]).stdout).starts_with("backup-server "));
}

#[test]
fn wrong_usage_is_exit_code_1() {
    for arguments in [&["serve", "--nonsense"][..], &["enroll"], &["nonsense"], &[]] {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let output = run(&["status"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: no data directory is named\nhint: say --data-dir"), "{output:?}");
}

#[test]
fn a_directory_without_a_store_is_exit_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(&dir.path().join("none"), &["status"]);
    assert_eq!(output.status.code(), Some(4));
    let report = stderr(&output);
    assert!(report.contains("there is no store in") && report.contains("hint: `backup-server serve"), "{report}");
}

#[test]
fn it_starts_says_where_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let program = Program::serve(&data_dir, &[]);
    let port = program.port;
    let status = command(&data_dir, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["event"], "status");
    assert_eq!(status["running"]["url"], format!("http://127.0.0.1:{port}/"));
    assert_eq!((&status["accounts"], &status["vaults"]), (&1.into(), &1.into()));
    for (path, mode) in
        [("", 0o700), ("keys", 0o700), ("keys/master.key", 0o600), ("keys/tls.key", 0o600), ("admin.sock", 0o600)]
    {
        assert_eq!(fs::metadata(data_dir.join(path)).unwrap().mode() & 0o777, mode, "{path}");
    }
    program.signal("INT");
    let output = program.output();
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    let (first, second) = said.trim_end().split_once('\n').unwrap();
    assert_eq!(first, format!("listening on http://127.0.0.1:{port}/"));
    assert!(second.starts_with(&format!("set up at http://127.0.0.1:{port}/setup#")), "{second}");
    assert!(!data_dir.join("admin.sock").exists());

    // The same answers when no server runs.
    let status = command(&data_dir, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["running"], &status["accounts"]), (&serde_json::Value::Null, &1.into()));
    let people = text(&command(&data_dir, &["status"]).stdout);
    assert!(people.starts_with("not running\n") && people.contains("snapshots       0"), "{people}");
}

#[test]
fn accounts_and_devices_are_managed_with_and_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    made(&data_dir);
    assert!(command(&data_dir, &["account", "add", "bob"]).status.success());
    let program = Program::serve(&data_dir, &[]);
    assert!(command(&data_dir, &["account", "add", "carol"]).status.success());
    let listed = text(&command(&data_dir, &["account", "list", "--json"]).stdout);
    let names: Vec<serde_json::Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = names.iter().map(|account| account["account"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "bob", "carol"]);
    for wrong in ["", "a b", "../x", &"x".repeat(65)] {
        assert_eq!(command(&data_dir, &["account", "add", wrong]).status.code(), Some(1), "{wrong}");
    }
    let nobody = command(&data_dir, &["enroll", "--account", "dave", "--device", "laptop"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("there is no account `dave`\nhint: "), "{nobody:?}");
    assert!(text(&command(&data_dir, &["device", "list"]).stdout).is_empty());
    for wrong in ["nonsense", "00112233445566778", "0011223344556677"] {
        assert_eq!(command(&data_dir, &["device", "revoke", wrong]).status.code(), Some(1), "{wrong}");
    }
    program.signal("TERM");
    program.output();
}

#[test]
fn enrolment_strings_name_the_server_and_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    made(&data_dir);
    let enroll = |arguments: &[&str]| {
        let output = command(&data_dir, &[&["enroll", "--device", "laptop"][..], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout).trim().parse::<proto::EnrolmentString>().unwrap()
    };
    let offline = enroll(&[]);
    assert_eq!((offline.host.as_str(), offline.port), ("127.0.0.1", 8080));
    let proto::ServerIdentity::Pinned(pin) = offline.identity else { panic!("not pinned") };
    let named = enroll(&["--address", "[fd00::1]:9000"]);
    assert_eq!((named.host.as_str(), named.port), ("fd00::1", 9000));
    let not_plain = command(&data_dir, &["enroll", "--device", "laptop", "--plain"]);
    assert_eq!(not_plain.status.code(), Some(1));
    assert!(stderr(&not_plain).contains("--plain-http"));

    let program = Program::serve(&data_dir, &[]);
    let online = enroll(&[]);
    assert_eq!(online.port, program.port);
    assert_eq!(online.identity, proto::ServerIdentity::Pinned(pin), "the key stays");
    assert_ne!(online.secret, offline.secret);
    assert_eq!(enroll(&["--plain"]).identity, proto::ServerIdentity::Plain);
    let far = command(&data_dir, &["enroll", "--device", "laptop", "--plain", "--address", "example.org:80"]);
    assert_eq!(far.status.code(), Some(5));
    let json = text(&command(&data_dir, &["enroll", "--device", "laptop", "--json"]).stdout);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["event"].as_str(), json["expires_in_s"].as_u64()), (Some("enrolment"), Some(900)));
    program.signal("TERM");
    program.output();
}

#[test]
fn garbage_is_collected_with_and_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    made(&data_dir);
    let collect = |arguments: &[&str]| {
        let output = command(&data_dir, &[&["gc"][..], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&collect(&[&["--json"][..], arguments].concat())).unwrap()
    };
    let offline = json(&["--now", "--grace", "0s"]);
    assert_eq!((&offline["event"], &offline["epoch"]), (&"gc".into(), &1.into()));
    assert_eq!((&offline["packs_examined"], &offline["refusals"]), (&0.into(), &serde_json::json!([])));
    let program = Program::serve(&data_dir, &[]);
    assert_eq!(json(&[])["epoch"], 2);
    let dry = json(&["--dry-run"]);
    assert_eq!((&dry["epoch"], &dry["dry_run"]), (&3.into(), &true.into()));
    assert_eq!(json(&["--grace", "1d"])["epoch"], 3, "a dry run changes nothing");
    assert!(collect(&[]).starts_with("needed          0 objects; needed by nothing 0\n"));
    assert_eq!(command(&data_dir, &["gc", "--grace", "soon"]).status.code(), Some(1));
    program.signal("TERM");
    assert!(program.output().status.success());
}

#[test]
fn a_second_server_on_the_directory_is_exit_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let program = Program::serve(&data_dir, &[]);
    let second = command(&data_dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(4));
    let report = stderr(&second);
    assert!(report.contains(&format!("error: another process is using {}", data_dir.display())), "{report}");
    assert!(report.contains("hint: "), "{report}");
    // The first goes on, reachable for administrators.
    assert!(text(&command(&data_dir, &["status"]).stdout).starts_with("running at "));
    program.signal("TERM");
    assert!(program.output().status.success());
}

#[test]
fn a_taken_port_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("a"), &[]);
    let listen = format!("127.0.0.1:{}", program.port);
    let second = command(&dir.path().join("b"), &["serve", "--listen", &listen]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains(&format!("error: cannot listen on {listen}")), "{second:?}");
    program.signal("TERM");
    program.output();
}

#[test]
fn keys_are_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    made(&data_dir);
    let key = data_dir.join("keys/master.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = command(&data_dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(exposed.status.code(), Some(5));
    assert!(stderr(&exposed).contains(&format!("hint: chmod 600 {}", key.display())), "{exposed:?}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let right = fs::read(&key).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    let wrong = command(&data_dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(wrong.status.code(), Some(6));
    assert!(stderr(&wrong).contains("is not the master key of this data directory"), "{wrong:?}");
    fs::remove_file(&key).unwrap();
    let missing = command(&data_dir, &["status"]);
    assert_eq!(missing.status.code(), Some(6));
    assert!(stderr(&missing).contains("master.key is missing\nhint: "), "{missing:?}");
    assert!(!key.exists(), "it is not made anew");
    fs::write(&key, right).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(command(&data_dir, &["status"]).status.success());

    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o755)).unwrap();
    let open = command(&data_dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(open.status.code(), Some(5));
    assert!(stderr(&open).contains("hint: chmod 700"), "{open:?}");
}

#[test]
fn a_long_path_and_a_stale_socket_are_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("x".repeat(120)).join("data");
    fs::create_dir(data_dir.parent().unwrap()).unwrap();
    let program = Program::serve(&data_dir, &[]);
    assert!(text(&command(&data_dir, &["status"]).stdout).starts_with("running at "));
    program.signal("KILL");
    program.output();
    assert!(data_dir.join("admin.sock").exists());
    assert!(text(&command(&data_dir, &["status"]).stdout).starts_with("not running"));
    let program = Program::serve(&data_dir, &[]);
    assert!(text(&command(&data_dir, &["status"]).stdout).starts_with("running at "));
    program.signal("TERM");
    assert!(program.output().status.success());
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    made(&data_dir);
    let place = data_dir.to_str().unwrap();
    let address = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["enroll", "--data-dir", place, "--device", "laptop"][..], arguments].concat();
        let output = run(&arguments, environment);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout).trim().parse::<proto::EnrolmentString>().unwrap().host
    };
    fs::write(data_dir.join("server.toml"), "address = \"file:1\"\n").unwrap();
    let variable = [("BACKUP_SERVER_ADDRESS", "variable:1")];
    assert_eq!(address(&[], &[]), "file");
    assert_eq!(address(&[], &variable), "variable");
    assert_eq!(address(&["--address", "flag:1"], &variable), "flag");
    let other = dir.path().join("other.toml");
    fs::write(&other, "address = \"other:1\"\n").unwrap();
    assert_eq!(address(&["--config", other.to_str().unwrap()], &[]), "other");

    fs::write(data_dir.join("server.toml"), "address = \"file:1\"\n\nlisten-on = \"127.0.0.1:1\"\n").unwrap();
    let output = command(&data_dir, &["status"]);
    assert_eq!(output.status.code(), Some(1));
    let report = stderr(&output);
    assert!(report.contains("server.toml are wrong") && report.contains("line 3"), "{report}");
    fs::remove_file(data_dir.join("server.toml")).unwrap();
    let output = run(&["status"], &[("BACKUP_SERVER_DATA_DIR", place), ("BACKUP_SERVER_JSON", "true")]);
    assert!(text(&output.stdout).starts_with('{'), "{output:?}");
    let output = run(&["status", "--data-dir", place], &[("BACKUP_SERVER_LISTEN", "nonsense")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nonsense"), "{output:?}");
    let output = run(&["serve", "--data-dir", place, "--plain-http", "--listen", "0.0.0.0:0"], &[]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}

/// Every setting with its origin: a flag wins over its variable, the variable over the file, the file over the default.
#[test]
fn settings_are_told_with_their_origins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    fs::write(&file, "pack-size = \"2MiB\"\ngc-waste = 7\nmetrics = \"off\"\n").unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["config", "show", "--json", "--data-dir", "/srv/x", "--config", file, "--gc-waste", "9"];
    let output = run(&arguments, &[("BACKUP_SERVER_METRICS", "everywhere")]);
    assert!(output.status.success(), "{output:?}");
    let told: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let setting = |name: &str| told.iter().find(|item| item["name"] == name).unwrap();
    let is = |name: &str, value: serde_json::Value, origin: &str| {
        assert_eq!((&setting(name)["value"], setting(name)["origin"].as_str()), (&value, Some(origin)), "{name}");
    };
    is("data-dir", "/srv/x".into(), "flag");
    is("gc-waste", 9.into(), "flag");
    is("metrics", "everywhere".into(), "variable");
    assert_eq!(setting("metrics")["variable"], "BACKUP_SERVER_METRICS");
    is("pack-size", "2MiB".into(), "file");
    assert_eq!(setting("pack-size")["file"], file);
    is("trash-delay", "7d".into(), "default");
    is("address", serde_json::Value::Null, "default");
    let wrong = run(&["config", "show", "--data-dir", "/srv/x", "--gc-waste", "101"], &[]);
    assert_eq!(wrong.status.code(), Some(1));
}

/// All that is wrong is told at once, with its place and without starting anything; what is right is exit code 0.
#[test]
fn settings_are_checked_before_a_server_would() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let place = data_dir.to_str().unwrap();
    let right = run(&["config", "check", "--data-dir", place, "--listen", "127.0.0.1:0"], &[]);
    assert!(right.status.success(), "{right:?}");
    assert_eq!(text(&right.stdout), "looked at flags and environment, and no file: 0 errors, 0 warnings\n");
    assert!(!data_dir.exists());

    let file = dir.path().join("settings.toml");
    let wrong = "gc-waste = 101\nseal = \"1s\"\nidle-timeout = \"soon\"\nmirrors = [\"drive:admin=DIR\"]\n";
    fs::write(&file, wrong.replace("DIR", place)).unwrap();
    let file = file.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let arguments = ["config", "check", "--json", "--data-dir", place, "--config", file, "--listen", &listen];
    let environment = [("BACKUP_SERVER_PORT_FILE", "/no/such/folder/port"), ("BACKUP_SERVER_LISTENS", "x")];
    let output = run(&arguments, &environment);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("error: `serve` would not start with these settings: 5 errors"), "{output:?}");
    let told: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found =
        |name: &str| told.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name}: {told:?}"));
    for (name, line) in [("gc-waste", 1), ("seal", 2), ("idle-timeout", 3), ("mirrors", 4)] {
        let item = found(name);
        assert_eq!((&item["event"], &item["is_warning"]), (&"setting-problem".into(), &false.into()), "{item}");
        assert_eq!((item["file"].as_str(), item["line"].as_u64()), (Some(file), Some(line)), "{item}");
    }
    assert_eq!(found("port-file")["variable"], "BACKUP_SERVER_PORT_FILE");
    assert_eq!((&found("listen")["origin"], &found("listen")["is_warning"]), (&"flag".into(), &true.into()));
    assert!(told.iter().any(|item| item["variable"] == "BACKUP_SERVER_LISTENS"), "{told:?}");
    let sum = told.last().unwrap();
    assert_eq!((&sum["event"], &sum["errors"], &sum["warnings"]), (&"settings-checked".into(), &5.into(), &2.into()));
    let people = text(&run(&["config", "check", "--data-dir", place, "--config", file], &[]).stdout);
    assert!(people.contains(&format!("error: {file}, line 1: gc-waste: the value is out of bounds\nhint: 0 to 100")));

    let missing = run(&["config", "check", "--data-dir", place, "--config", "/no/such/file.toml"], &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stdout).contains("/no/such/file.toml: it cannot be read"), "{missing:?}");
}

/// Everything that is set goes into one file and comes out of it on another machine, but for what is secret.
#[test]
fn settings_go_from_one_data_directory_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
    made(&one);
    made(&other);
    let good = |place: &Path, arguments: &[&str]| {
        let output = command(place, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    };
    good(&one, &["account", "add", "bob", "--role", "read-only"]);
    good(&one, &["account", "quota", "bob", "500GiB"]);
    good(&one, &["account", "disable", "bob"]);
    good(&one, &["account", "password", "bob"]);
    good(&one, &["retention", "set", "--keep-daily", "7"]);
    fs::write(one.join("server.toml"), "gc-waste = 7\nhosts = [\"nas.local\"]\nlisten = \"127.0.0.1:8081\"\n").unwrap();
    let file = dir.path().join("settings.toml");
    let file = file.to_str().unwrap();
    good(&one, &["settings", "export", "--out", file]);
    assert_eq!(command(&one, &["settings", "export", "--out", file]).status.code(), Some(1), "no file is replaced");
    let exported = good(&one, &["settings", "export"]);
    assert_eq!(fs::read_to_string(file).unwrap(), exported);
    assert!(
        exported.contains("[account.bob]\nrole = \"read-only\"\nquota = \"500GiB\"\ndisabled = true\n"),
        "{exported}"
    );
    assert!(
        exported.contains("gc-waste = 7\n") && !exported.contains("data-dir") && !exported.contains("argon2"),
        "{exported}"
    );

    let before = good(&other, &["settings", "export"]);
    let planned = good(&other, &["settings", "import", file, "--dry-run"]);
    assert!(planned.contains("would change  account bob: read-only") && planned.contains("gc-waste = 7"), "{planned}");
    assert_eq!(good(&other, &["settings", "export"]), before);
    assert!(!other.join("server.toml").exists());
    let done = good(&other, &["settings", "import", file]);
    assert!(done.contains("changed       account bob: read-only") && done.contains("account setup-link bob"), "{done}");
    assert_eq!(good(&other, &["settings", "export"]), exported);
    assert_eq!(good(&other, &["settings", "import", file]), "", "all of it holds");
    let log = good(&other, &["audit"]);
    assert!(
        ["account-added", "quota-set", "account-disabled", "policy-set"].iter().all(|event| log.contains(event)),
        "{log}"
    );

    // A settings file that is there is somebody's: what differs is told.
    fs::write(other.join("server.toml"), "gc-waste = 8\n").unwrap();
    let waits = command(&other, &["settings", "import", file]);
    assert_eq!(waits.status.code(), Some(3), "{waits:?}");
    assert!(text(&waits.stdout).contains("NOT changed   gc-waste: gc-waste = 8 -> gc-waste = 7\n"), "{waits:?}");
    assert_eq!(fs::read_to_string(other.join("server.toml")).unwrap(), "gc-waste = 8\n");

    // What is wrong changes nothing, wherever it stands.
    for wrong in
        ["[account.eve]\nrank = 1", "[account.eve]\n[config]\ngc-waste = 101", "[account.\"e v\"]", "[retention]"]
    {
        fs::write(file, format!("format = 1\n{wrong}\n")).unwrap();
        assert_eq!(command(&other, &["settings", "import", file]).status.code(), Some(1), "{wrong}");
    }
    fs::write(file, "format = 2\n").unwrap();
    assert!(stderr(&command(&other, &["settings", "import", file])).contains("is of format 2"));
    assert!(!good(&other, &["account", "list"]).contains("eve"));
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let program = Program::serve(&data_dir, &["--base-path", "/backup"]);
    let states = || {
        let output = command(&data_dir, &["doctor", "--json"]);
        let told = text(&output.stdout);
        let states: Vec<(String, String)> = told
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|item| (item["name"].as_str().unwrap().to_owned(), item["state"].as_str().unwrap().to_owned()))
            .collect();
        (output, states)
    };
    let state_of = |states: &[(String, String)], name: &str| {
        states.iter().find(|(known, _)| known == name).map(|(_, state)| state.clone()).unwrap()
    };
    // It looks at its certificate again, and goes on.
    program.signal("HUP");
    let (output, healthy) = states();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(state_of(&healthy, "server"), "good");
    assert!(healthy.iter().all(|(_, state)| state != "bad"), "{healthy:?}");
    program.signal("TERM");
    assert!(program.output().status.success());

    fs::set_permissions(data_dir.join("keys/tls.crt"), fs::Permissions::from_mode(0o644)).unwrap();
    let (output, broken) = states();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(state_of(&broken, "certificate"), "bad");
    assert_eq!(state_of(&broken, "server"), "doubtful");
    assert!(text(&output.stdout).contains("chmod 600"), "{output:?}");
    assert!(!data_dir.join("doctor.probe").exists());

    let nowhere = command(&dir.path().join("none"), &["doctor"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stdout).contains("there is no store in"), "{nowhere:?}");
}

/// As systemd starts it: the socket is passed, and it is told what happens.
#[test]
fn it_takes_a_socket_and_says_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let notes = UnixDatagram::bind(dir.path().join("notes")).unwrap();
    notes.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let next = || {
        let mut note = [0; 1024];
        let len = notes.recv(&mut note).unwrap();
        text(&note[..len])
    };
    // The shell makes the socket descriptor 3 of the process that becomes the server.
    let mut server = Command::new("/bin/sh")
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_backup-server"))
        .args(["serve", "--plain-http", "--min-free", "0B", "--reserve", "0B", "--listen", "127.0.0.1:1", "--data-dir"])
        .arg(dir.path().join("data"))
        .env("NOTIFY_SOCKET", dir.path().join("notes"))
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = next();
    while !said.contains("READY=1") {
        assert!(said.contains("WATCHDOG=1"), "{said}");
        said = next();
    }
    assert!(said.contains(&format!("STATUS=listening on http://{address}/")), "{said}");
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(next().contains("WATCHDOG=1"));
    let stopped = Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let mut said = next();
    while !said.contains("STOPPING=1") {
        assert!(said.contains("WATCHDOG=1"), "{said}");
        said = next();
    }
    assert!(server.wait().unwrap().success());
}
