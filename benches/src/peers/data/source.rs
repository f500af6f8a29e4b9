//! Source files: the kernel's, or what cargo keeps of its registry. The next version has some hundred files edited, as
//! between two releases of a stable kernel, a few new ones, and a renamed directory.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use testkit::process::Outcome;
use testkit::tree::{Random, TreeSpec};

use crate::peers::options::Scale;
use crate::sources::real_sources;

/// Regular files of the small scale, about.
const SMALL_FILES: u64 = 8_000;
const FILES_EDITED: u64 = 500;
const FILES_NEW: u64 = 30;
const NEW_LEN: usize = 12_000;
/// Files of the smoke scale, which come from a seed.
const SMOKE_FILES: usize = 1_000;
/// Files in the directory that is renamed, at least and at most.
const RENAMED_FILES: RangeInclusive<u64> = 200..=3_000;
const RENAMED_FILES_SMOKE: RangeInclusive<u64> = 20..=300;

pub fn make(folder: &Path, scale: Scale) -> Outcome {
    match scale {
        Scale::Smoke => {
            let written = TreeSpec::source_like(20, SMOKE_FILES).write(folder);
            return written.map(|_| ()).map_err(|error| format!("{}: {error}", folder.display()));
        }
        Scale::Small => {}
        Scale::Full => {
            eprintln!("source: {}", real_sources(folder)?);
            return Ok(());
        }
    }
    // All of it is kept beside the small one: to delete many files makes creating files slow for minutes.
    let all = folder.with_file_name("source-all");
    if !all.is_dir() {
        fs::create_dir(&all).map_err(|error| format!("{}: {error}", all.display()))?;
        eprintln!("source: {}", real_sources(&all)?);
    }
    let mut copied = 0;
    copy_some(&all, folder, &mut copied)
}

/// Copies files, in the order of their names, until there are enough of them.
fn copy_some(from: &Path, to: &Path, copied: &mut u64) -> Outcome {
    for path in sorted(from)? {
        if *copied >= SMALL_FILES {
            break;
        }
        let at = |error: std::io::Error| format!("{}: {error}", path.display());
        let target = to.join(path.file_name().unwrap_or_default());
        let metadata = path.symlink_metadata().map_err(at)?;
        if metadata.is_dir() {
            fs::create_dir(&target).map_err(at)?;
            copy_some(&path, &target, copied)?;
        } else if metadata.is_file() {
            fs::copy(&path, &target).map_err(at)?;
            *copied += 1;
        }
    }
    Ok(())
}

pub fn edit(folder: &Path, scale: Scale) -> Outcome<u64> {
    let mut random = Random::new(21);
    let mut files = Vec::new();
    let mut renamed = None;
    let renamed_files = if scale == Scale::Smoke { RENAMED_FILES_SMOKE } else { RENAMED_FILES };
    collect(folder, &renamed_files, &mut files, &mut renamed)?;
    if files.is_empty() {
        return Err("the source tree has no files".to_owned());
    }
    let mut new_len = 0;
    for _ in 0..scale.of(FILES_EDITED) {
        new_len += edit_file(random.pick(&files).as_path(), &mut random)?;
    }
    for number in 0..scale.of(FILES_NEW) {
        let beside = random.pick(&files).with_file_name(format!("new-{number}.c"));
        let text = random.text(NEW_LEN);
        fs::write(&beside, &text).map_err(|error| format!("{}: {error}", beside.display()))?;
        new_len += text.len() as u64;
    }
    let renamed = renamed.ok_or("the source tree has no directory of the size that is renamed")?;
    let name = renamed.file_name().unwrap_or_default().to_string_lossy().into_owned();
    fs::rename(&renamed, renamed.with_file_name(format!("{name}-renamed"))).map_err(|error| error.to_string())?;
    Ok(new_len)
}

/// Replaces a line and inserts a few, in place: the file stays the same one.
fn edit_file(path: &Path, random: &mut Random) -> Outcome<u64> {
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = fs::read(path).map_err(at)?;
    let inserted = random.text(40 + random.clone().index(400));
    let begin = if bytes.is_empty() { 0 } else { random.index(bytes.len()) };
    let end = bytes.len().min(begin + 40);
    bytes.splice(begin..end, inserted.iter().copied());
    fs::write(path, &bytes).map_err(at)?;
    Ok(inserted.len() as u64)
}

/// Regular files with one name, and the first directory whose size suits; how many files are below.
fn collect(
    folder: &Path,
    renamed_files: &RangeInclusive<u64>,
    files: &mut Vec<PathBuf>,
    renamed: &mut Option<PathBuf>,
) -> Outcome<u64> {
    let mut count = 0;
    for path in sorted(folder)? {
        let metadata = path.symlink_metadata().map_err(|error| format!("{}: {error}", path.display()))?;
        if metadata.is_dir() {
            count += collect(&path, renamed_files, files, renamed)?;
        } else if metadata.is_file() && metadata.nlink() == 1 {
            files.push(path);
            count += 1;
        }
    }
    if renamed.is_none() && renamed_files.contains(&count) {
        *renamed = Some(folder.to_owned());
        // What is renamed is not edited as well: its files keep their bytes.
        files.retain(|file| !file.starts_with(folder));
    }
    Ok(count)
}

fn sorted(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(at)?.map(|entry| entry.map(|e| e.path())).collect();
    let mut paths = entries.map_err(at)?;
    paths.sort();
    Ok(paths)
}
