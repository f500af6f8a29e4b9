//! One file per command, or per few that are alike.

mod backup;
mod browse;
mod connect;
mod drill;
mod drive;
mod local;
mod restore;
mod trash;
mod verify;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use client::{ClientError, Connection, Folders, Line, SnapshotName};

use crate::args::{Args, Command};
use crate::failure::{Exit, Failure};
use crate::machine;
use crate::output::Output;
use crate::progress::Watch;

/// What every command needs.
pub(crate) struct Context {
    pub(crate) folders: Folders,
    pub(crate) max_wait: Duration,
    pub(crate) output: Output,
    pub(crate) watch: Arc<Watch>,
}

impl Context {
    /// A line to the server this device belongs to.
    pub(crate) fn line(&self) -> Result<Line, ClientError> {
        Line::open(&Connection::load(&self.folders)?, None, self.max_wait, Arc::clone(&self.watch) as _)
    }
}

/// Runs the command of `args`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let folders = Folders::from_environment(machine::folder).map_err(|error| Failure::new("start", error))?;
    let mut context = Context {
        folders,
        max_wait: Duration::from_secs(args.max_wait),
        output: Output::new(args.wants_events(), args.quiet),
        watch: Watch::start(args.wants_events(), args.quiet),
    };
    let result = dispatch(&mut context, &args.command);
    context.watch.finish();
    let (what, result) = result;
    let exit = result.and_then(|exit| context.output.flush().map(|()| exit));
    exit.map_err(|error| Failure::new(what, error))
}

/// What is done, for messages, and what came of it.
fn dispatch(context: &mut Context, command: &Command) -> (String, Result<Exit, ClientError>) {
    match command {
        Command::Connect { enrolment } => ("connect".to_owned(), connect::connect(context, enrolment)),
        Command::Backup { paths, chain, exclude, reread_every } => {
            ("back up".to_owned(), backup::backup(context, paths, chain, exclude, *reread_every))
        }
        Command::Snapshots { chain, trash } => {
            ("list snapshots".to_owned(), browse::snapshots(context, chain.as_deref(), *trash))
        }
        Command::Forget { snapshots, chain } => {
            ("forget snapshots".to_owned(), trash::change(context, &trash::FORGET, snapshots, chain.as_deref()))
        }
        Command::Undelete { names, drive: true, .. } => {
            ("bring back from the drive's trash".to_owned(), trash::undelete_paths(context, names))
        }
        Command::Undelete { names, chain, drive: false } => {
            let result = snapshot_names(names)
                .and_then(|names| trash::change(context, &trash::UNDELETE, &names, chain.as_deref()));
            ("bring back snapshots".to_owned(), result)
        }
        Command::Hold { snapshots, chain } => {
            ("hold snapshots".to_owned(), trash::change(context, &trash::HOLD, snapshots, chain.as_deref()))
        }
        Command::Unhold { snapshots, chain } => {
            ("let snapshots go".to_owned(), trash::change(context, &trash::UNHOLD, snapshots, chain.as_deref()))
        }
        Command::Ls { snapshot, recursive, chain } => {
            ("list the snapshot".to_owned(), browse::ls(context, snapshot, *recursive, chain.as_deref()))
        }
        Command::Restore { snapshot, target, chain, trust_target } => {
            let what = format!("restore to {}", target.display());
            (what, restore::restore(context, snapshot, target, chain.as_deref(), *trust_target))
        }
        Command::Verify { snapshot, chain } => {
            ("verify the snapshot".to_owned(), verify::verify(context, snapshot, chain.as_deref()))
        }
        Command::Drill { snapshot, sample, chain } => {
            let sample = sample.get() as usize;
            ("restore a sample".to_owned(), drill::drill(context, snapshot, sample, chain.as_deref()))
        }
        Command::Put { files, to } => ("put files on the drive".to_owned(), drive::put(context, files, to)),
        Command::Get { path, file } => (format!("get {}", path.display()), drive::get(context, path, file.as_deref())),
        Command::Rlist { trash: true, .. } => ("list the drive's trash".to_owned(), trash::list_drive_trash(context)),
        Command::Rlist { dir, trash: false } => ("list the drive".to_owned(), drive::list(context, dir)),
        Command::List { dir } => (format!("list {}", dir.display()), local::list(context, dir)),
        Command::Rm { path } => (format!("remove {}", path.display()), drive::remove(context, path)),
    }
}

fn snapshot_names(names: &[OsString]) -> Result<Vec<SnapshotName>, ClientError> {
    names.iter().map(|name| name.to_string_lossy().parse().map_err(ClientError::Usage)).collect()
}
