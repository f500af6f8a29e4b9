//! [`in_rounds`]: goes through files once more when the server turns out to lack what was taken for held.
//!
//! A client leaves out what its caches, the parent snapshot or an earlier version say the server has. The server checks
//! that at the commit, so nothing incomplete ever becomes visible; but whoever was frozen for weeks, or meets damage that
//! was found a moment ago, may have been wrong. Then the files are read again, and the server is asked about every object.

use crate::error::{ClientError, explain};
use crate::monitor::{Event, Monitor};

/// The first, and those that ask about everything: what is lost between them is sent by the last.
const ROUNDS_MAX: u32 = 3;

/// What a round leaves out without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// What the last backup or an earlier version had.
    Earlier,
    /// Nothing: the server is asked about every object.
    Nothing,
}

/// Does `round` until it succeeds, or fails for another reason than that the server lacks something, [`ROUNDS_MAX`] times
/// at most.
pub(crate) fn in_rounds<T>(
    monitor: &dyn Monitor,
    mut round: impl FnMut(Trust) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut result = round(Trust::Earlier);
    for _ in 1..ROUNDS_MAX {
        match &result {
            Err(error) if error.is_cured_by_reading() => {
                monitor.event(Event::ReadingAgain { reason: explain(error) });
                result = round(Trust::Nothing);
            }
            _ => break,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;

    use object::ObjectId;
    use proto::{FailCode, Failure, Ids};

    use super::*;
    use crate::monitor::Progress;

    #[derive(Default)]
    struct Heard {
        progress: Progress,
        reasons: Mutex<Vec<String>>,
    }

    impl Monitor for Heard {
        fn event(&self, event: Event) {
            let Event::ReadingAgain { reason } = event else { panic!("nothing else happens: {event:?}") };
            self.reasons.lock().unwrap().push(reason);
        }

        fn progress(&self) -> &Progress {
            &self.progress
        }
    }

    fn missing() -> ClientError {
        let ids: Ids = [ObjectId::from_bytes([7; 32])].iter().collect();
        ClientError::Refused(Failure::missing("1 object is missing", ids).unwrap())
    }

    /// What each round trusts when they fail like this and the next succeeds; how it ends.
    #[track_caller]
    fn check(failures: Vec<ClientError>, expected: &[Trust], succeeds: bool) {
        let (heard, mut trusted) = (Heard::default(), Vec::new());
        let mut failures = failures.into_iter();
        let result = in_rounds(&heard, |trust| {
            trusted.push(trust);
            failures.next().map_or(Ok(()), Err)
        });
        assert_eq!((&trusted[..], result.is_ok()), (expected, succeeds));
        assert_eq!(heard.reasons.lock().unwrap().len(), trusted.len() - 1, "each further round is told");
    }

    #[test]
    fn what_the_server_lacks_is_read_again_a_bounded_number_of_times() {
        use Trust::{Earlier, Nothing};
        let changed = || ClientError::ChangedUnderway { id: ObjectId::from_bytes([7; 32]), path: PathBuf::from("/f") };
        let damaged = || ClientError::Damaged { what: "a list".to_owned(), source: "gone".into() };
        check(vec![], &[Earlier], true);
        check(vec![missing()], &[Earlier, Nothing], true);
        check(vec![damaged(), changed()], &[Earlier, Nothing, Nothing], true);
        check(vec![missing(), missing(), missing()], &[Earlier, Nothing, Nothing], false);
        check(vec![ClientError::Stopped], &[Earlier], false);
        check(vec![missing(), ClientError::Stopped], &[Earlier, Nothing], false);
        let full = ClientError::Refused(Failure::new(FailCode::Full, "no room"));
        check(vec![full], &[Earlier], false);
    }
}
