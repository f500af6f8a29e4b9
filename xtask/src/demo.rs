//! `cargo xtask demo`: the main job on real input. A real server and a real client back up a real tree, change it, back it
//! up again and restore it; the restored tree must be identical to the last bit. Then a file is uploaded as a browser does it.

mod uploads;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use testkit::process::{Client, Server};
use testkit::tree::{CompareOptions, Random, TreeSpec, compare, mutate};

use crate::run::{Outcome, cargo, run as run_command, target_dir, workspace};

/// Of the sources that cargo keeps on this machine, at most so much is copied.
const REAL_BYTES_MAX: u64 = 256 << 20;
const REAL_FILES_MAX: usize = 20_000;
/// A file that changes like a database: scattered small pages.
const DATABASE_LEN: usize = 64 << 20;
const PAGE_LEN: usize = 4096;
const PAGES_CHANGED: usize = 160;
const MUTATIONS: usize = 40;
const SEED: u64 = 20_261_120;

pub fn run(arguments: &[&str]) -> Outcome {
    let is_kept = match arguments {
        [] => false,
        ["--keep"] => true,
        _ => return Err("demo knows only --keep".to_owned()),
    };
    println!("building backup-server and backup-client");
    run_command(cargo(&["build", "--release", "--quiet", "--package", "server-bin", "--package", "client-bin"]))?;
    let home = tempfile::Builder::new().prefix("delta-backup-demo.").tempdir().map_err(|error| error.to_string())?;
    let bin = |name: &str| target_dir().join("release").join(name);
    let server = Server::start_with(&bin("backup-server"), home.path(), &["--plain-http"])?;
    let client = Client::new(&bin("backup-client"), home.path());
    client.run(&["connect", &server.enroll("demo")?])?;

    let tree = home.path().join("files");
    let made = make_tree(&tree).map_err(|error| format!("cannot make the tree: {error}"))?;
    println!("a tree of {} files, {}: {}", made.files, megabytes(made.bytes), made.what);

    println!("\n{:28}{:>12}{:>12}{:>12}{:>12}{:>9}", "", "read", "sent", "received", "stored", "seconds");
    let first = step("first backup", &client, &tree)?;
    let unchanged = step("nothing changed", &client, &tree)?;
    let changed = change_tree(&tree).map_err(|error| format!("cannot change the tree: {error}"))?;
    let second = step(&format!("after {changed} changes"), &client, &tree)?;

    let restored = home.path().join("restored");
    let from = format!("latest:{}", tree.display());
    let begun = Instant::now();
    let report = client.run(&["restore".as_ref(), from.as_ref(), restored.as_os_str()])?;
    println!(
        "{:28}{:>12}{:>12}{:>12}{:>12}{:>9.1}",
        "restore",
        "",
        megabytes(number(&report, "bytes_sent")),
        megabytes(number(&report, "bytes_received")),
        "",
        begun.elapsed().as_secs_f64()
    );
    let differences = compare(&tree, &restored, CompareOptions::for_this_user()).map_err(|error| error.to_string())?;
    for difference in differences.iter().take(20) {
        eprintln!("differs: {difference}");
    }
    client.run(&["verify"])?;

    // Holes are left out of it: the largest file is nearly all hole.
    let total = 2 * made.bytes;
    let sent = number(&first, "bytes_sent") + number(&second, "bytes_sent");
    let saved = 100.0 - 100.0 * sent as f64 / total as f64;
    println!(
        "\ntwo full copies would have sent {}; {} were sent: {saved:.1} % saved",
        megabytes(total),
        megabytes(sent)
    );
    println!(
        "the second backup sent {} and stored {} of {}, {} objects of it as deltas; the one in which nothing changed sent {} bytes",
        megabytes(number(&second, "bytes_sent")),
        megabytes(number(&second, "bytes_stored")),
        megabytes(made.bytes),
        number(&second, "delta_objects"),
        number(&unchanged, "bytes_sent"),
    );
    if !differences.is_empty() {
        return Err(format!("the restored tree differs in {} places", differences.len()));
    }
    println!("the restored tree is identical: names, contents, metadata, links, holes");

    uploads::run(&server)?;
    let link = server.admin(&["account", "setup-link"])?.wait()?.succeeded()?;
    let link = link.last().and_then(|item| item["setup_link"].as_str()).ok_or("the server told no link")?.to_owned();
    println!("the web application: http://{}/, to be set up at {link} (good once)", server.address()?);
    if is_kept {
        let folder = home.keep();
        println!("\nkept: {}", folder.display());
        println!("data directory: {}", server.data_dir().display());
        println!("the server goes on as process {}; end it with kill", server.keep());
    } else {
        println!("it ends here; `cargo xtask demo --keep` leaves it running for a look around");
    }
    Ok(())
}

fn step(name: &str, client: &Client, tree: &Path) -> Outcome<Value> {
    let begun = Instant::now();
    let report = client.run(&["backup".as_ref(), tree.as_os_str()])?;
    let column = |field| megabytes(number(&report, field));
    println!(
        "{name:28}{:>12}{:>12}{:>12}{:>12}{:>9.1}",
        column("bytes_read"),
        column("bytes_sent"),
        column("bytes_received"),
        column("bytes_stored"),
        begun.elapsed().as_secs_f64()
    );
    Ok(report)
}

struct Made {
    files: usize,
    bytes: u64,
    what: String,
}

/// Real sources, a generated tree with every kind of file, and a file that changes like a database.
fn make_tree(tree: &Path) -> io::Result<Made> {
    let mut made = Made { files: 0, bytes: 0, what: String::new() };
    let (source, name) = real_sources();
    copy_tree(&source, &tree.join("sources"), &mut made)?;
    TreeSpec::everything(SEED).write(&tree.join("every-kind"))?;
    let database = Random::new(SEED).text(DATABASE_LEN);
    fs::write(tree.join("database"), &database)?;
    made.files += 1;
    made.bytes += database.len() as u64;
    made.what = format!("{name}, every kind of file, and a database");
    Ok(made)
}

/// The sources that cargo keeps of this project's dependencies; without them, this project's own.
fn real_sources() -> (PathBuf, String) {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    match home.map(|home| home.join("registry/src")).filter(|folder| folder.is_dir()) {
        Some(folder) => (folder, "real sources from cargo's registry".to_owned()),
        None => (workspace().join("crates"), "this project's sources".to_owned()),
    }
}

fn copy_tree(from: &Path, to: &Path, made: &mut Made) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut entries: Vec<_> = fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if made.bytes >= REAL_BYTES_MAX || made.files >= REAL_FILES_MAX {
            return Ok(());
        }
        let (path, kind) = (entry.path(), entry.file_type()?);
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_tree(&path, &target, made)?;
        } else if kind.is_file() {
            made.bytes += fs::copy(&path, &target)?;
            made.files += 1;
        }
    }
    Ok(())
}

/// What people and programs do to files; how many changes it were.
fn change_tree(tree: &Path) -> io::Result<usize> {
    let mutations = mutate(&tree.join("sources"), SEED, MUTATIONS)?.len();
    let database = File::options().write(true).open(tree.join("database"))?;
    let mut random = Random::new(SEED + 1);
    for _ in 0..PAGES_CHANGED {
        let page = random.index(DATABASE_LEN / PAGE_LEN);
        let row = random.bytes(40);
        database.write_all_at(&row, (page * PAGE_LEN + random.index(PAGE_LEN - row.len())) as u64)?;
    }
    Ok(mutations + PAGES_CHANGED)
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or(0)
}

fn megabytes(bytes: u64) -> String {
    match bytes {
        0..100_000 => format!("{bytes} B"),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
