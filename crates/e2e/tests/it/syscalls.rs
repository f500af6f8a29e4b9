//! The order of the server's system calls during a backup, as `strace` sees it: bytes, name, directory, catalog, ANCHOR,
//! and only then the answer.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use testkit::tree::{CompareOptions, Random};

use crate::support::{Pair, User, assert_same_tree, wait_until};

const CALLS: &str =
    "trace=openat,rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat,write,pwrite64,writev,sendto";

/// A call, where it began and where it ended in the trace.
struct Call {
    /// With the paths of its descriptors.
    text: String,
    began: usize,
    ended: usize,
}

impl Call {
    fn is(&self, name: &str) -> bool {
        self.text.strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
    }

    fn syncs(&self, path: &str) -> bool {
        (self.is("fsync") || self.is("fdatasync")) && self.text.contains(&format!("{path}>"))
    }

    /// Where a file is renamed from and to.
    fn rename(&self) -> Option<(&str, &str)> {
        let mut quoted = self.text.starts_with("rename").then(|| self.text.split('"').skip(1).step_by(2))?;
        quoted.next().zip(quoted.next())
    }

    fn is_write(&self) -> bool {
        ["write", "pwrite64", "writev", "sendto"].iter().any(|name| self.is(name))
    }
}

/// Parses what `strace -f -y` wrote: a line for each call, or two for one that took longer.
fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if text.starts_with("<...") {
            if let Some(call) = unfinished.remove(thread) {
                calls[call].ended = at;
                assert!(!text.contains("= -1"), "{line}");
            }
            continue;
        }
        if text.ends_with("<unfinished ...>") {
            unfinished.insert(thread, calls.len());
        }
        calls.push(Call { text: text.to_owned(), began: at, ended: at });
    }
    calls
}

/// Whether system calls of others can be watched here.
fn can_watch() -> bool {
    let is_there = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    let can = is_there && geteuid().is_root();
    if !can {
        let what = "needs root and strace: the server's system calls are to be watched";
        assert!(std::env::var_os("DELTA_BACKUP_TEST_ALL").is_none(), "{what}");
        eprintln!("left out: {what}");
    }
    can
}

/// `strace` at the server, with these arguments, from now on.
fn watch(pair: &Pair, arguments: &[&str]) -> Child {
    let server = pair.server.status()["running"]["pid"].to_string();
    let said = pair.home.path("strace.err");
    let strace = Command::new("strace")
        .args(["-f", "-p", &server])
        .args(arguments)
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    wait_until("strace watches", || fs::read_to_string(&said).unwrap_or_default().contains("attached"));
    strace
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    if !can_watch() {
        return;
    }
    let pair = Pair::with(&["--pack-size", "1MiB"], User::Same);
    let tree = pair.home.folder("tree");
    let mut random = Random::new(7);
    for number in 0..6 {
        fs::write(tree.join(format!("file-{number}")), random.bytes(700_000)).unwrap();
    }
    let output = pair.home.path("trace");
    let mut strace = watch(&pair, &["-y", "-s", "0", "-e", CALLS, "-o", output.to_str().unwrap()]);
    pair.client.backup(&tree);
    pair.server.wait_until_quiet();
    kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
    strace.wait().unwrap();
    let calls = parse(&fs::read_to_string(&output).unwrap());

    let packs = format!("{}/packs", pair.server.data_dir().canonicalize().unwrap().display());
    let wal = "/catalog.sqlite3-wal";
    let first =
        |after: usize, is_it: &dyn Fn(&Call) -> bool| calls.iter().find(|call| call.began > after && is_it(call));
    let mut pack_count = 0;
    let mut last_indexed = 0;
    for call in &calls {
        let Some((from, to)) = call.rename().filter(|(_, to)| to.ends_with(".pack")) else { continue };
        pack_count += 1;
        let synced = calls.iter().rfind(|sync| sync.ended < call.began && sync.syncs(from));
        let synced = synced.unwrap_or_else(|| panic!("{from} is not synced before it becomes {to}"));
        let late =
            calls.iter().find(|write| write.is_write() && write.text.contains(from) && write.ended > synced.began);
        assert!(late.is_none(), "{from} is written after its sync: {}", late.unwrap().text);
        let shard = to.rsplit_once('/').unwrap().0;
        let dir = first(call.ended, &|sync| sync.syncs(shard)).unwrap_or_else(|| panic!("{shard} is not synced"));
        let row = first(dir.ended, &|sync| sync.syncs(wal)).expect("the catalog knows it afterwards");
        last_indexed = last_indexed.max(row.ended);
    }
    assert!(pack_count >= 4, "{pack_count} packs");
    let is_anchor = |call: &Call| call.rename().is_some_and(|(_, to)| to.ends_with("packs/ANCHOR"));
    let anchor = calls.iter().rfind(|call| is_anchor(call)).expect("ANCHOR is raised");
    assert!(anchor.began > last_indexed, "ANCHOR is raised before all packs are in the catalog");
    let committed = calls.iter().rfind(|call| call.syncs(wal) && call.ended < anchor.began).expect("it was committed");
    assert!(committed.ended >= last_indexed);
    let raised = first(anchor.ended, &|sync| sync.syncs(&packs)).expect("the name ANCHOR is synced");
    let is_answer = |call: &Call| call.is_write() && (call.text.contains("<socket:") || call.text.contains("<TCP"));
    assert!(first(raised.ended, &is_answer).is_some(), "the client is answered after that");
    for call in &calls {
        let is_below = call.text.contains(&format!("{packs}/")) && call.text.contains(".pack");
        assert!(!(is_below && call.text.starts_with("unlink")), "{}", call.text);
        let is_open = is_below && call.is("openat");
        assert!(!(is_open && (call.text.contains("O_WRONLY") || call.text.contains("O_RDWR"))), "{}", call.text);
    }
}

/// What is durable is unknown after that: nothing is acknowledged any more, and the next start finds out.
#[test]
fn a_disk_that_fails_to_sync_ends_the_server() {
    if !can_watch() {
        return;
    }
    let mut pair = Pair::new();
    let tree = pair.home.folder("tree");
    fs::write(tree.join("first"), b"first").unwrap();
    pair.client.backup(&tree);
    fs::write(tree.join("second"), b"second").unwrap();
    let packs = pair.server.data_dir().canonicalize().unwrap().join("packs");
    let trace = pair.home.path("trace");
    let fails = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "-P", packs.to_str().unwrap()];
    let mut strace = watch(&pair, &[&fails[..], &["-o", trace.to_str().unwrap()]].concat());
    let backup = |pair: &Pair, code| {
        let arguments = ["--max-wait".as_ref(), "0".as_ref(), "backup".as_ref(), tree.as_os_str()];
        pair.client.run(&arguments).expect(code)
    };
    backup(&pair, 4);
    assert_eq!(pair.server.wait_until_ended(), Some(74), "{}", pair.server.log());
    strace.wait().unwrap();
    assert!(fs::read_to_string(&trace).unwrap().contains("INJECTED"));
    let log = pair.server.log();
    assert!(log.contains("what is durable is unknown") && log.contains("start the server again"), "{log}");

    pair.server.restart();
    pair.client.set_connection("port", &pair.server.port().to_string());
    backup(&pair, 0);
    let restored = pair.home.path("restored");
    pair.client.restore(format!("latest:{}", tree.display()), &restored);
    assert_same_tree(&tree, &restored, CompareOptions::for_this_user());
    pair.server.admin(&["verify", "--full"]).expect(0);
}
