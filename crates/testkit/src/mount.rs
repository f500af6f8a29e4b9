//! Real file systems for tests that need a particular one: made in a file, mounted through a loop device.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in a file, mounted until it is dropped.
#[derive(Debug)]
pub struct LoopMount {
    path: PathBuf,
}

/// What can be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Has reflinks.
    Xfs,
    /// Has reflinks.
    Btrfs,
    /// Has none.
    Ext4,
}

impl FileSystem {
    fn mkfs(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Xfs => ("mkfs.xfs", &["-q", "-m", "reflink=1"]),
            Self::Btrfs => ("mkfs.btrfs", &["-q"]),
            Self::Ext4 => ("mkfs.ext4", &["-q", "-F"]),
        }
    }
}

impl LoopMount {
    /// Makes a file system of `size_bytes` (sparse; 320 MiB is enough for all) below `scratch` and mounts it there.
    ///
    /// # Errors
    /// Says in words what is missing: `needs root: …` or `needs mkfs.xfs: …`. A test that gets this prints it and ends;
    /// where tests must not be skipped, set `DELTA_BACKUP_TEST_ALL=1` and it panics instead.
    ///
    /// # Panics
    /// When making or mounting fails though all that is needed is there.
    pub fn new(scratch: &Path, file_system: FileSystem, size_bytes: u64) -> Result<Self, String> {
        let missing = |what: String| {
            assert!(std::env::var_os("DELTA_BACKUP_TEST_ALL").is_none(), "{what}");
            Err(what)
        };
        let (mkfs, flags) = file_system.mkfs();
        if !run("id", &["-u".as_ref()]).is_ok_and(|uid| uid.trim() == "0") {
            return missing(format!("needs root: a {file_system:?} file system is to be mounted"));
        }
        if let Err(error) = run(mkfs, &["-V".as_ref()]) {
            return missing(format!("needs {mkfs}: {error}"));
        }
        let image = scratch.join("image");
        let path = scratch.join("mounted");
        std::fs::File::create_new(&image).and_then(|file| file.set_len(size_bytes)).expect("the image can be made");
        std::fs::create_dir(&path).expect("the mount point can be made");
        let mut arguments: Vec<&Path> = flags.iter().map(Path::new).collect();
        arguments.push(&image);
        run(mkfs, &arguments).unwrap_or_else(|error| panic!("{mkfs} fails: {error}"));
        match run("mount", &["-o".as_ref(), "loop".as_ref(), &image, &path]) {
            Ok(_) => Ok(Self { path }),
            Err(error) => missing(format!("needs loop devices and a kernel with {file_system:?}: {error}")),
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        let unmounted = run("umount", &[&self.path]);
        if !std::thread::panicking() {
            unmounted.expect("nothing holds the file system");
        }
    }
}

fn run(program: &str, arguments: &[&Path]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
