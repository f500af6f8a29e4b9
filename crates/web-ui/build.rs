//! Finds or builds the browser application, and writes the table of its files that `lib.rs` includes.
//!
//! Nothing is written outside `OUT_DIR`: cargo refuses to package crates whose build changes their sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What the build reads in `web/`. Named one by one: a `node_modules` made by hand beside them must not count.
const SOURCES: [&str; 12] = [
    ".npmrc",
    "index.html",
    "openapi.json",
    "package-lock.json",
    "package.json",
    "public",
    "scripts",
    "src",
    "svelte.config.js",
    "tsconfig.json",
    "vite.config.ts",
    "vite.frame.config.ts",
];
/// What decides what npm installs: the lock alone would not show an edited package.json.
const INSTALL_INPUTS: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
const STAMP: &str = "installed.stamp";

fn main() {
    for name in ["BACKUP_WEB_DIST", "DOCS_RS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(complaint) = embed() {
        for line in complaint.lines() {
            println!("cargo::error={line}");
        }
    }
}

/// Writes `files.rs`: a slice of `File`s, ordered by name.
fn embed() -> Result<(), String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let folder = dist(&out)?;
    let mut files = BTreeMap::new();
    list(&folder, "", &mut files).map_err(|error| failed("list", &folder, &error))?;
    let mut table = String::from("&[\n");
    for (name, path) in files {
        let bytes = fs::read(&path).map_err(|error| failed("read", &path, &error))?;
        let hash = &blake3::hash(&bytes).to_hex()[..32];
        let entry = format!("File {{ name: {name:?}, hash: {hash:?}, bytes: include_bytes!({path:?}) }},\n");
        table.push_str(&entry);
    }
    table.push(']');
    let target = out.join("files.rs");
    fs::write(&target, table).map_err(|error| failed("write", &target, &error))
}

/// Names below `folder`, with `/` between their parts.
fn list(folder: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, entry.path());
        }
    }
    Ok(())
}

/// The folder to embed.
fn dist(out: &Path) -> Result<PathBuf, String> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    if env::var_os("DOCS_RS").is_some() || env::var_os("CARGO_FEATURE_BUILD_UI").is_none() {
        return stub(out);
    }
    if let Some(given) = env::var_os("BACKUP_WEB_DIST").map(PathBuf::from) {
        let given = fs::canonicalize(&given).unwrap_or(given);
        if !given.join("index.html").is_file() {
            return Err(format!("BACKUP_WEB_DIST is {}, which holds no index.html", given.display()));
        }
        println!("cargo::rerun-if-changed={}", given.display());
        return Ok(given);
    }
    let packaged = package.join("dist");
    if packaged.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={}", packaged.display());
        return Ok(packaged);
    }
    build(&package.join("web"), &out.join("web"))
}

/// One page that says how to get the application.
fn stub(out: &Path) -> Result<PathBuf, String> {
    let folder = out.join("stub");
    fs::create_dir_all(&folder).map_err(|error| failed("make", &folder, &error))?;
    let page = folder.join("index.html");
    fs::write(&page, include_str!("src/stub.html")).map_err(|error| failed("write", &page, &error))?;
    Ok(folder)
}

fn build(web: &Path, work: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(work).map_err(|error| failed("make", work, &error))?;
    for name in SOURCES {
        let source = web.join(name);
        println!("cargo::rerun-if-changed={}", source.display());
        mirror(&source, &work.join(name)).map_err(|error| failed("copy", &source, &error))?;
    }
    install(work)?;
    npm(work, &["run", "build"])?;
    Ok(work.join("dist"))
}

/// Installs what the lock names, unless it is what was installed last.
fn install(work: &Path) -> Result<(), String> {
    let mut wanted = Vec::new();
    for name in INSTALL_INPUTS {
        let path = work.join(name);
        wanted.extend(fs::read(&path).map_err(|error| failed("read", &path, &error))?);
    }
    let stamp = work.join(STAMP);
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    npm(work, &["ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"])?;
    fs::write(&stamp, wanted).map_err(|error| failed("write", &stamp, &error))
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let ran = Command::new(program).args(arguments).current_dir(folder).output();
    let complaint = match ran {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            format!(
                "`npm {}` failed: {}\n{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&said).trim()
            )
        }
        Err(error) => format!("cannot run npm: {error}"),
    };
    Err(format!(
        "the web application was not built: {complaint}\n\
         one way out: install Node.js 20.19 or newer, with npm\n\
         another: build without it, with --no-default-features\n\
         another: set BACKUP_WEB_DIST to a folder that holds a build of it (`cargo xtask web dist` makes one)"
    ))
}

/// Makes `copy` the same as `source`: what vanished there is deleted here. Files that are equal are left alone.
fn mirror(source: &Path, copy: &Path) -> io::Result<()> {
    if !source.is_dir() {
        let bytes = fs::read(source)?;
        if fs::read(copy).is_ok_and(|copied| copied == bytes) {
            return Ok(());
        }
        return fs::write(copy, bytes);
    }
    fs::create_dir_all(copy)?;
    for entry in fs::read_dir(copy)? {
        let entry = entry?;
        if !source.join(entry.file_name()).exists() {
            let path = entry.path();
            if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    for entry in fs::read_dir(source)? {
        let name = entry?.file_name();
        mirror(&source.join(&name), &copy.join(&name))?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {verb} {}: {error}", path.display())
}
