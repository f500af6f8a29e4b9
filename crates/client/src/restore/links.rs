//! [`Links`]: files with several names. The first name that comes is restored as a file, the others become links to it as
//! soon as it is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use host_fs::{LinkSource, Name};
use vault::HardLink;

use super::guards::DirGuard;
use super::sink::Sink;
use crate::monitor::{FileProblem, Progress};

/// Names of one file that were met.
enum Known {
    /// Its content is on the way; these names wait.
    Underway(Vec<Waiting>),
    /// It is there.
    Restored(LinkSource),
    /// Its content could not be had.
    Lost,
}

struct Waiting {
    directory: Arc<DirGuard>,
    name: Vec<u8>,
    /// A regular file, and counted as one.
    is_file: bool,
}

/// All files with several names of one restore.
pub(crate) struct Links {
    files: Mutex<HashMap<HardLink, Known>>,
    sink: Arc<Sink>,
}

impl Links {
    pub(crate) fn new(sink: Arc<Sink>) -> Arc<Self> {
        Arc::new(Self { files: Mutex::default(), sink })
    }

    /// Meets a name of `file`; true when it is the first, and its content must be restored.
    pub(crate) fn meet(&self, file: HardLink, directory: &Arc<DirGuard>, name: &[u8], is_file: bool) -> bool {
        let waiting = || Waiting { directory: Arc::clone(directory), name: name.to_vec(), is_file };
        let mut files = self.files.lock().expect("nobody panics with it");
        let source = match files.get_mut(&file) {
            None => {
                files.insert(file, Known::Underway(Vec::new()));
                return true;
            }
            Some(Known::Underway(names)) => {
                names.push(waiting());
                return false;
            }
            Some(Known::Restored(source)) => Some(source.clone()),
            Some(Known::Lost) => None,
        };
        drop(files);
        self.link(&waiting(), source.as_ref());
        false
    }

    /// The content of `file` is there, or is lost: the names that waited for it get their due.
    pub(crate) fn settle(&self, file: HardLink, source: Option<&LinkSource>) {
        let known = source.cloned().map_or(Known::Lost, Known::Restored);
        let before = self.files.lock().expect("nobody panics with it").insert(file, known);
        if let Some(Known::Underway(names)) = before {
            for waiting in names {
                self.link(&waiting, source);
            }
        }
    }

    /// What was met was not restored, and was not meant to be: its other names are looked at on their own.
    pub(crate) fn forget(&self, file: HardLink) {
        self.files.lock().expect("nobody panics with it").remove(&file);
    }

    fn link(&self, waiting: &Waiting, source: Option<&LinkSource>) {
        let dir = &waiting.directory.dir;
        let name = Name::new(&waiting.name).expect("trees hold only names");
        let linked = match source {
            Some(source) => dir.hard_link(name, source),
            None => {
                let path = dir.path().join(name.as_os_str());
                let message = "another name of a file whose content cannot be had".to_owned();
                return self.sink.problem(FileProblem { path, message, is_loss: true });
            }
        };
        match linked {
            Ok(()) => Progress::add(&self.sink.monitor().progress().files, u64::from(waiting.is_file)),
            Err(error) => self.sink.host_problem(&error),
        }
    }
}
