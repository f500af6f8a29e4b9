//! [`peers`]: the programs that ours are measured beside, installed from the registries where they are missing.

use std::process::{Command, Stdio};

use crate::run::{Outcome, cargo, run as run_command, target_dir};

/// Where a program comes from.
enum Origin {
    /// A package of Debian's.
    Package(&'static str),
    /// A crate of a version, and the packages that building it needs.
    Crate { name: &'static str, version: &'static str, packages: &'static [&'static str] },
}

const PEERS: [(&str, Origin); 7] = [
    ("restic", Origin::Package("restic")),
    ("borg", Origin::Package("borgbackup")),
    ("rsync", Origin::Package("rsync")),
    ("rdiff", Origin::Package("rdiff")),
    ("xdelta3", Origin::Package("xdelta3")),
    ("rustic", Origin::Crate { name: "rustic-rs", version: "0.11.4", packages: &[] }),
    ("bupstash", Origin::Crate { name: "bupstash", version: "0.12.0", packages: &["libsodium-dev", "pkg-config"] }),
];

/// Installs what is missing: packages as root by `apt-get`, crates into the target folder. Says what it could not install.
pub fn peers() {
    for (program, origin) in &PEERS {
        if is_there(program) {
            continue;
        }
        eprintln!("{program} is missing: installing it");
        if let Err(error) = install(origin) {
            eprintln!("{program} could not be installed: {error}");
        }
    }
}

fn install(origin: &Origin) -> Outcome {
    match origin {
        Origin::Package(name) => packages(&[name]),
        Origin::Crate { name, version, packages: needed } => {
            if !needed.is_empty() {
                packages(needed)?;
            }
            let mut install = cargo(&["install", name, "--version", version, "--locked", "--root"]);
            install.arg(target_dir().join("tools"));
            run_command(install)
        }
    }
}

fn packages(names: &[&str]) -> Outcome {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-q", "-y", "--no-install-recommends"]).args(names).stdout(Stdio::null());
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    run_command(apt)
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([target_dir().join("tools/bin")]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}
