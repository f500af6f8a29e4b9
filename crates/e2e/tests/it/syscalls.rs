//! The order of the server's system calls, as `strace` sees it: bytes, name, directory, catalog, ANCHOR, and only then the
//! answer, for each commit of its own; and what collections take away.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use testkit::tree::{CompareOptions, Random};

use crate::support::{Pair, User, assert_same_tree, wait_until};

const CALLS: &str = "trace=open,openat,openat2,creat,truncate,ftruncate,rename,renameat,renameat2,fsync,fdatasync,unlink,\
                     unlinkat,write,pwrite64,pwritev,writev,sendto,sendmsg";
/// Every sync takes so long: who answers too early is seen doing it.
const SLOW_SYNCS: &str = "inject=fsync,fdatasync:delay_enter=30000";
const WAL: &str = "/catalog.sqlite3-wal";

/// A call, and from when to when it lasted, in seconds since 1970.
#[derive(Clone, Debug)]
struct Call {
    /// With the paths of its descriptors.
    text: String,
    began: f64,
    ended: f64,
}

/// Something that the server was asked to do, from when to when somebody waited for it.
type Span = (f64, f64);

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
        ["write", "pwrite64", "pwritev", "writev", "sendto", "sendmsg"].iter().any(|name| self.is(name))
    }

    /// Whether it writes to a client.
    fn is_answer(&self) -> bool {
        self.is_write() && (self.text.contains("<socket:") || self.text.contains("<TCP"))
    }

    fn is_within(&self, span: Span) -> bool {
        (span.0..=span.1).contains(&self.began)
    }
}

/// Parses what `strace -f -y -ttt -T` wrote: a line for each call, or two for one that took longer.
fn parse(trace: &str) -> Result<Vec<Call>, String> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((began, text)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(began) = began.parse::<f64>() else { continue };
        let lasted = || -> Option<f64> { text.strip_suffix('>')?.rsplit_once('<')?.1.parse().ok() };
        if text.starts_with("<...") {
            if let Some(call) = unfinished.remove(thread) {
                calls[call].ended = began.max(calls[call].began + lasted().unwrap_or_default());
                // A name that is taken, or gone, is nothing that failed.
                let is_sync = calls[call].is("fsync") || calls[call].is("fdatasync");
                if is_sync && text.contains("= -1") {
                    return Err(format!("a sync failed: {line}"));
                }
            }
            continue;
        }
        let mut ended = began + lasted().unwrap_or_default();
        if text.ends_with("<unfinished ...>") {
            unfinished.insert(thread, calls.len());
            ended = f64::INFINITY;
        }
        calls.push(Call { text: text.to_owned(), began, ended });
    }
    Ok(calls)
}

/// Looks whether everything that one commit needs was durable before it was answered; how many packs it sealed.
fn check_commit(calls: &[Call], packs: &str, span: Span) -> Result<usize, String> {
    let calls: Vec<&Call> = calls.iter().filter(|call| call.is_within(span)).collect();
    let first = |after: f64, is_it: &dyn Fn(&Call) -> bool| {
        calls.iter().filter(|call| call.began > after && is_it(call)).min_by(|a, b| a.began.total_cmp(&b.began))
    };
    let mut pack_count = 0;
    let mut last_indexed: f64 = 0.0;
    for call in &calls {
        let Some((from, to)) = call.rename().filter(|(_, to)| to.ends_with(".pack")) else { continue };
        pack_count += 1;
        let synced = calls.iter().rfind(|sync| sync.ended < call.began && sync.syncs(from));
        let synced = synced.ok_or_else(|| format!("{from} is not synced before it becomes {to}"))?;
        let is_late = |write: &&&Call| write.is_write() && write.text.contains(from) && write.ended > synced.began;
        if let Some(late) = calls.iter().find(is_late) {
            return Err(format!("{from} is written after its sync: {}", late.text));
        }
        let shard = to.rsplit_once('/').unwrap().0;
        let dir = first(call.ended, &|sync| sync.syncs(shard)).ok_or_else(|| format!("{shard} is not synced"))?;
        let row = first(dir.ended, &|sync| sync.syncs(WAL)).ok_or("the catalog does not know it afterwards")?;
        last_indexed = last_indexed.max(row.ended);
    }
    let is_anchor = |call: &Call| call.rename().is_some_and(|(_, to)| to.ends_with("packs/ANCHOR"));
    let anchor = calls.iter().rfind(|call| is_anchor(call)).ok_or("ANCHOR is not raised")?;
    if anchor.began < last_indexed {
        return Err("ANCHOR is raised before all packs are in the catalog".to_owned());
    }
    let committed = calls.iter().rfind(|call| call.syncs(WAL) && call.ended < anchor.began);
    if committed.ok_or("ANCHOR is raised before anything is committed")?.began < last_indexed {
        return Err("the commit is not made durable after its packs are".to_owned());
    }
    let (from, to) = anchor.rename().unwrap();
    let is_synced = calls.iter().any(|sync| sync.syncs(from) && sync.ended < anchor.began);
    if !is_synced {
        return Err(format!("{from} is not synced before it becomes {to}"));
    }
    let raised = first(anchor.ended, &|sync| sync.syncs(packs)).ok_or("the name ANCHOR is not synced")?;
    // The client waits for this one answer, so nothing else is said to it meanwhile.
    let is_early = |call: &&&Call| call.is_answer() && call.began > anchor.began && call.began < raised.ended;
    if let Some(early) = calls.iter().find(is_early) {
        return Err(format!("a client is answered before ANCHOR is durable: {}", early.text));
    }
    if first(raised.ended, &|call| call.is_answer()).is_none() {
        return Err("the client is not answered after that, and is content".to_owned());
    }
    Ok(pack_count)
}

/// Looks whether packs go only after the catalog says so; how many went.
fn check_deletions(calls: &[Call], packs: &str, span: Span) -> Result<usize, String> {
    let mut deletion_count = 0;
    for call in calls.iter().filter(|call| call.text.starts_with("unlink") && is_pack(call, packs)) {
        deletion_count += 1;
        let is_said = |sync: &&Call| sync.syncs(WAL) && sync.began > span.0 && sync.ended < call.began;
        if !call.is_within(span) || !calls.iter().any(|sync| is_said(&sync)) {
            return Err(format!("a pack goes before the catalog says so: {}", call.text));
        }
    }
    Ok(deletion_count)
}

/// Looks whether a pack that has its name is ever opened for writing, or written (I-5).
fn check_untouched(calls: &[Call], packs: &str) -> Result<(), String> {
    let changes = |call: &Call| {
        let opens =
            call.text.starts_with("open") && ["O_WRONLY", "O_RDWR", "O_TRUNC"].iter().any(|f| call.text.contains(f));
        opens || call.is_write() || ["creat", "truncate", "ftruncate"].iter().any(|name| call.is(name))
    };
    match calls.iter().find(|call| is_pack(call, packs) && changes(call)) {
        Some(call) => Err(format!("a pack is opened for writing: {}", call.text)),
        None => Ok(()),
    }
}

fn is_pack(call: &Call, packs: &str) -> bool {
    call.text.contains(&format!("{packs}/")) && call.text.contains(".pack")
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

/// Runs something, and says from when to when.
fn timed<T>(run: impl FnOnce() -> T) -> (T, Span) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let began = now();
    let value = run();
    (value, (began, now()))
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    if !can_watch() {
        return;
    }
    let options =
        ["--pack-size", "1MiB", "--trash-delay", "0s", "--retention-interval", "100ms", "--gc-interval", "0s"];
    let pair = Pair::with(&options, User::Same);
    pair.server.admin(&["retention", "set", "--keep-last", "9", "--min-age", "0s"]).expect(0);
    let tree = pair.home.folder("tree");
    let mut random = Random::new(7);
    let output = pair.home.path("trace");
    let arguments = ["-y", "-ttt", "-T", "-s", "0", "-e", CALLS, "-e", SLOW_SYNCS, "-o", output.to_str().unwrap()];
    let mut strace = watch(&pair, &arguments);
    let mut commits = Vec::new();
    let mut ids = Vec::new();
    for round in 0..4 {
        // Some commits need several packs, the last one almost nothing.
        for number in 0..3 - round {
            fs::write(tree.join(format!("file-{number}")), random.bytes(700_000)).unwrap();
        }
        fs::write(tree.join("small"), random.bytes(100)).unwrap();
        let (committed, span) = timed(|| pair.client.backup(&tree));
        ids.push(committed["snapshot"].as_str().unwrap().to_owned());
        commits.push(span);
        pair.server.wait_until_quiet();
    }
    for id in &ids[..3] {
        pair.client.run(&["forget", id]).expect(0);
    }
    wait_until("they are purged", || pair.server.status()["trashed_snapshots"] == 0);
    let ((), collected) = timed(|| {
        for _ in 0..2 {
            pair.server.admin(&["gc", "--now", "--grace", "0s"]).expect(0);
        }
    });
    kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
    strace.wait().unwrap();
    let trace = fs::read_to_string(&output).unwrap();
    let calls = parse(&trace).unwrap();
    let packs = format!("{}/packs", pair.server.data_dir().canonicalize().unwrap().display());
    let mut pack_counts = Vec::new();
    for (number, span) in commits.iter().enumerate() {
        match check_commit(&calls, &packs, *span) {
            Ok(pack_count) => pack_counts.push(pack_count),
            Err(wrong) => panic!("commit {number}: {wrong}\n{}", shown(&trace)),
        }
    }
    assert!(pack_counts[0] >= 3 && pack_counts.iter().all(|count| *count >= 2), "{pack_counts:?} packs");
    let deletion_count = check_deletions(&calls, &packs, collected).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(deletion_count >= 4, "{deletion_count} packs went");
    check_untouched(&calls, &packs).unwrap_or_else(|wrong| panic!("{wrong}"));
    pair.server.admin(&["verify", "--full"]).expect(0);
}

fn shown(trace: &str) -> &str {
    &trace[trace.len().saturating_sub(20_000)..]
}

/// What a commit looks like when all is well: `{}` stands for the time.
const GOOD: [&str; 13] = [
    r#"pwrite64(9</d/staging/1.tmp>, ""..., 100, 0) = 100"#,
    r#"fdatasync(9</d/staging/1.tmp>) = 0"#,
    r#"renameat2(AT_FDCWD</>, "/d/staging/1.tmp", AT_FDCWD</>, "/d/packs/ab/1.pack", RENAME_NOREPLACE) = 0"#,
    r#"fsync(10</d/packs/ab>) = 0"#,
    r#"fdatasync(5</d/catalog.sqlite3-wal>) = 0"#,
    r#"sendto(7<socket:[1]>, ""..., 40, MSG_NOSIGNAL, NULL, 0) = 40"#,
    r#"fdatasync(5</d/catalog.sqlite3-wal>) = 0"#,
    r#"write(11</d/packs/ANCHOR.tmp>, ""..., 64) = 64"#,
    r#"fdatasync(11</d/packs/ANCHOR.tmp>) = 0"#,
    r#"rename("/d/packs/ANCHOR.tmp", "/d/packs/ANCHOR") = 0"#,
    r#"fsync(12</d/packs>) = 0"#,
    r#"sendto(7<socket:[1]>, ""..., 60, MSG_NOSIGNAL, NULL, 0) = 60"#,
    r#"unlink("/d/packs/ab/1.pack") = 0"#,
];

/// The same commit several times, each but the last in the right order; the last as `order` says.
fn check_order(order: &[usize]) -> Result<(), String> {
    let right: Vec<usize> = (0..GOOD.len() - 1).collect();
    let mut trace = String::new();
    let mut spans = Vec::new();
    let mut at = 1;
    for order in [&right, order] {
        let began = at;
        for line in order {
            trace.push_str(&format!("42 {at}.000000 {} <0.500000>\n", GOOD[*line]));
            at += 1;
        }
        spans.push((f64::from(began), f64::from(at)));
        at += 1;
    }
    let calls = parse(&trace)?;
    for span in &spans {
        check_commit(&calls, "/d/packs", *span)?;
    }
    check_deletions(&calls, "/d/packs", spans[1])?;
    check_untouched(&calls, "/d/packs")
}

#[test]
fn an_order_that_is_wrong_once_is_noticed() {
    let right: Vec<usize> = (0..GOOD.len()).collect();
    check_order(&right).unwrap();
    // Without any one of the syncs, without the names, without the answer.
    for missing in [1, 3, 4, 6, 8, 9, 10, 11] {
        let order: Vec<usize> = right.iter().copied().filter(|line| *line != missing).collect();
        check_order(&order).expect_err(GOOD[missing]);
    }
    let swapped = |one: usize, two: usize| {
        let mut order = right.clone();
        order.swap(one, two);
        check_order(&order)
    };
    // Bytes after the sync, the name before it, the row before the directory, ANCHOR before the row and before its bytes,
    // the answer before ANCHOR; and a pack that goes before anything was said of it.
    for (one, two) in [(0, 1), (1, 2), (3, 4), (6, 9), (8, 9), (10, 11)] {
        swapped(one, two).expect_err(GOOD[two]);
    }
    let gone_first: Vec<usize> = std::iter::once(12).chain(0..12).collect();
    check_order(&gone_first).unwrap_err();
    let with = |line: &str| {
        let trace = format!("42 1.000000 {line} <0.100000>\n");
        check_untouched(&parse(&trace).unwrap(), "/d/packs")
    };
    with(r#"openat(AT_FDCWD</>, "/d/packs/ab/1.pack", O_RDONLY|O_CLOEXEC) = 9</d/packs/ab/1.pack>"#).unwrap();
    with(r#"openat(AT_FDCWD</>, "/d/packs/ab/1.pack", O_RDWR|O_CLOEXEC) = 9</d/packs/ab/1.pack>"#).unwrap_err();
    with(r#"pwrite64(9</d/packs/ab/1.pack>, ""..., 1, 0) = 1"#).unwrap_err();
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
