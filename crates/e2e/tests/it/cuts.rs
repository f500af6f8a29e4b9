//! Backup and restore of the catalog, killed before each call that changes a file or makes it durable: what was there is still
//! there, and done again it succeeds (P-3).

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::support::{Home, Output, Pair, User, copy_folder, files_below, server};

/// Calls by which files come, go, and become durable.
const EFFECTS: &str = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,fsync,fdatasync,ftruncate";

/// The server's program, on a data directory.
fn run(data_dir: &Path, arguments: &[&str]) -> Output {
    server::run(server::command().args(arguments).arg("--data-dir").arg(data_dir))
}

/// The same, killed before the call of this number; how it ended.
fn run_killed(data_dir: &Path, arguments: &[&str], number: usize) -> ExitStatus {
    let program = server::command();
    let mut strace = Command::new("strace");
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
        .args(["-f", "-o", "/dev/null", "-e", &format!("trace={EFFECTS}")])
        .args(["-e", &format!("inject={EFFECTS}:signal=KILL:when={number}")])
        .arg(program.get_program())
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

fn can_kill() -> bool {
    let is_there = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_there {
        let what = "needs strace: commands are to be killed at each of their system calls";
        assert!(std::env::var_os("DELTA_BACKUP_TEST_ALL").is_none(), "{what}");
        eprintln!("left out: {what}");
    }
    is_there
}

/// A data directory with a backup of the catalog and, newer than that, a second snapshot; the ids of both snapshots.
fn prepare() -> (Pair, Vec<Value>) {
    let mut pair = Pair::with(&["--scrub-interval", "0s"], User::Same);
    let folder = pair.home.folder("files");
    for (name, content) in [("first", "in the catalog's backup"), ("second", "later than that")] {
        fs::write(folder.join(name), content).unwrap();
        pair.client.backup(&folder);
        if name == "first" {
            pair.server.admin(&["catalog", "backup"]).expect(0);
        }
    }
    let snapshots = pair.client.run(&["--json", "snapshots"]).expect(0).all("snapshot");
    let ids = snapshots.iter().map(|snapshot| snapshot["snapshot"].clone()).collect();
    // So that its log is still there.
    pair.server.wait_until_quiet();
    pair.server.kill();
    (pair, ids)
}

/// Kills a command before its first call, its second, and so on, each time on a fresh copy of the data directory, until it
/// comes to its end; how often it was killed.
fn at_every_call(home: &Home, data_dir: &Path, arguments: &[&str], mut check: impl FnMut(&Path, &str)) -> usize {
    for number in 1.. {
        let copy: PathBuf = home.path(&format!("copy {number}"));
        copy_folder(data_dir, &copy);
        let status = run_killed(&copy, arguments, number);
        let when = format!("{arguments:?} killed before call {number}");
        check(&copy, &when);
        fs::remove_dir_all(&copy).unwrap();
        if status.code() == Some(0) {
            return number - 1;
        }
        assert!(status.signal() == Some(9) || status.code() == Some(128 + 9), "{when}: {status}");
    }
    unreachable!("numbers do not end")
}

/// Everything acknowledged is there, and deletion is on.
#[track_caller]
fn check_complete(data_dir: &Path, ids: &[Value], when: &str) {
    let status = run(data_dir, &["status", "--json"]).expect(0).last("status");
    assert_eq!(
        (&status["snapshots"], &status["deletion_latch"]),
        (&Value::from(ids.len()), &Value::Null),
        "{when}: {status}"
    );
    run(data_dir, &["verify", "--full"]).expect(0);
}

#[test]
fn a_catalog_restore_killed_anywhere_is_done_again() {
    if !can_kill() {
        return;
    }
    let (pair, ids) = prepare();
    let catalog = pair.server.data_dir().join("catalog.sqlite3");
    // The log of the damaged catalog is whole: nobody may take it for that of the one put back.
    let len = fs::metadata(&catalog).unwrap().len();
    fs::write(&catalog, vec![0x5a; usize::try_from(len).unwrap()]).unwrap();
    assert!(fs::metadata(pair.server.data_dir().join("catalog.sqlite3-wal")).unwrap().len() > 0);
    let kills = at_every_call(&pair.home, pair.server.data_dir(), &["reindex"], |data_dir, when| {
        // Whatever is there now: it opens, or is known to be no catalog.
        let opened = run(data_dir, &["status", "--json"]);
        let is_known = matches!(opened.code, Some(0 | 1 | 4 | 6));
        assert!(is_known, "{when}: {opened}");
        let again = run(data_dir, &["reindex", "--json"]).expect(0);
        assert_eq!(again.last("reindexed")["deletion_latch"], Value::Null, "{when}");
        check_complete(data_dir, &ids, when);
    });
    assert!(kills > 5, "a restore has {kills} calls only");
}

#[test]
fn a_catalog_backup_killed_anywhere_takes_nothing_away() {
    if !can_kill() {
        return;
    }
    let (pair, ids) = prepare();
    let backups = |data_dir: &Path| run(data_dir, &["catalog", "list", "--json"]).expect(0).all("catalog-backup").len();
    let before = backups(pair.server.data_dir());
    let kills = at_every_call(&pair.home, pair.server.data_dir(), &["catalog", "backup"], |data_dir, when| {
        let found = backups(data_dir);
        assert!((before..=before + 1).contains(&found), "{when}: {found} backups");
        check_complete(data_dir, &ids, when);
        // The newest one is whole, whether it is the old or the new one: without the catalog everything comes back by it.
        for file in ["catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm"] {
            let _ = fs::remove_file(data_dir.join(file));
        }
        let restored = run(data_dir, &["reindex", "--json"]).expect(0);
        assert_eq!(restored.all("catalog-restored").len(), 1, "{when}: {restored}");
        check_complete(data_dir, &ids, when);
        // Nothing that was begun stays for good.
        run(data_dir, &["catalog", "backup"]).expect(0);
        let unfinished = |path: &Path| path.extension().is_some_and(|extension| extension == "new");
        let left: Vec<PathBuf> =
            files_below(&data_dir.join("catalog-backups")).into_iter().filter(|path| unfinished(path)).collect();
        assert!(left.is_empty(), "{when}: {left:?}");
    });
    assert!(kills > 3, "a backup has {kills} calls only");
}
