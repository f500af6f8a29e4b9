//! The protocol of commit and garbage collection as state machines, explored without leaving anything out.
//!
//! Three machines: [`protocol`] and [`stale_catalog`] are the two programs of `reliability.md`, appendix B; [`copies`] goes on
//! from there to deltas and their bases, several copies of one object, repacking of packs with objects of two minds, walks
//! that come before their commit's transaction, and commits relative to a parent. Each is safe in every state it can
//! reach, and each way of leaving a rule out loses data: a model that finds nothing wrong with a wrong protocol would
//! prove nothing. `model.rs` drives the real code beside the same rules.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::hash::Hash;

/// A step's name, and which pack, snapshot or epoch it is about.
type Label = (&'static str, u8);

/// A machine: where it starts, what may happen next, and what must never be.
trait Machine {
    type State: Copy + Eq + Hash + Debug;

    fn start(&self) -> Self::State;
    fn steps(&self, state: &Self::State, take: &mut dyn FnMut(Label, Self::State));
    fn is_bad(&self, state: &Self::State) -> bool;
}

/// Visits every state, nearest first: how many there are, or the shortest way to a bad one.
fn explore<M: Machine>(machine: &M) -> Result<usize, Vec<Label>> {
    let start = machine.start();
    let mut seen: HashMap<M::State, Option<(M::State, Label)>> = HashMap::from([(start, None)]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        if machine.is_bad(&state) {
            let mut trace = Vec::new();
            let mut at = state;
            while let Some((before, label)) = seen[&at] {
                trace.push(label);
                at = before;
            }
            trace.reverse();
            return Err(trace);
        }
        machine.steps(&state, &mut |label, next| {
            if let Entry::Vacant(entry) = seen.entry(next) {
                entry.insert(Some((state, label)));
                queue.push_back(next);
            }
        });
    }
    Ok(seen.len())
}

#[track_caller]
fn is_safe(machine: &impl Machine) -> usize {
    explore(machine).unwrap_or_else(|trace| panic!("data loss: {trace:?}"))
}

/// The variant loses data, in as many steps as this.
#[track_caller]
fn loses_data(machine: &impl Machine, what: impl Debug, steps: usize) {
    let trace = explore(machine).expect_err(&format!("{what:?} is not found to be unsafe"));
    assert_eq!(trace.len(), steps, "{what:?}: {trace:?}");
}

fn with<T: Copy, const N: usize>(mut array: [T; N], index: usize, value: T) -> [T; N] {
    array[index] = value;
    array
}

/// What happens to a pack, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pack {
    /// No row yet.
    None,
    /// Without a row, but known to its writer: only where intents are left out.
    Unknown,
    Writing,
    Sealed,
    Condemned,
    Deleting,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Snapshot {
    Live,
    Trash,
    Purged,
}

/// Program 1 of appendix B: clients are adversarial, and commit references to anything at any time.
mod protocol {
    use super::*;

    const EPOCH_MAX: u8 = 2;
    const SNAPSHOTS: usize = 2;
    const PACKS: usize = 3;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Variant {
        AsSpecified,
        /// The commit fails on condemned packs instead of sealing them again.
        NoResurrect,
        NoClosure,
        AcceptCondemned,
        NoTouch,
        IgnoreTouched,
        SplitBegin,
        TrashNotRoot,
        SkipBadRoot,
        RowBeforeSync,
        NoIntent,
        UnlinkFirst,
        RepackEarlyUnlink,
        RepackOldTouch,
        StaleCatalog,
    }

    /// Rows: everything that an old catalog would bring back.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) struct Saved {
        epoch: u8,
        packs: [(Pack, u8); PACKS],
        location: [Option<u8>; 2],
        snapshots: [Option<(u8, Snapshot)>; SNAPSHOTS],
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) struct State {
        epoch: u8,
        /// State and stamp. Chunk `c` starts in pack `c`; pack 2 is where chunk 0 is repacked to.
        packs: [(Pack, u8); PACKS],
        /// Bit set of packs whose files exist.
        files: u8,
        location: [Option<u8>; 2],
        /// Chunks (a bit set) and state.
        snapshots: [Option<(u8, Snapshot)>; SNAPSHOTS],
        /// Epoch (none before the bump) and the marked packs.
        gc: Option<(Option<u8>, u8)>,
        saved: Option<Saved>,
    }

    pub(super) struct Protocol(pub(super) Variant);

    fn chunks(set: u8) -> impl Iterator<Item = usize> {
        (0..2).filter(move |chunk| set >> chunk & 1 == 1)
    }

    impl Protocol {
        fn is(&self, variant: Variant) -> bool {
            self.0 == variant
        }

        /// Packs that roots need; the first `skip` snapshots are left out.
        fn marked(&self, state: &State, skip: usize) -> u8 {
            let is_root = |snapshot: &&(u8, Snapshot)| match snapshot.1 {
                Snapshot::Live => true,
                Snapshot::Trash => !self.is(Variant::TrashNotRoot),
                Snapshot::Purged => false,
            };
            let roots = state.snapshots.iter().skip(skip).flatten().filter(is_root);
            roots
                .flat_map(|(set, _)| chunks(*set))
                .fold(0, |marked, chunk| marked | state.location[chunk].map_or(0, |pack| 1 << pack))
        }

        fn upload(&self, state: &State, chunk: usize, take: &mut dyn FnMut(Label, State)) {
            let (pack, label) = (chunk, u8::try_from(chunk).unwrap());
            let has_file = state.files >> pack & 1 == 1;
            let row = |row| with(state.packs, pack, (row, state.epoch));
            let sealed =
                State { packs: row(Pack::Sealed), location: with(state.location, chunk, Some(label)), ..*state };
            let written = |packs| State { packs, files: state.files | 1 << pack, ..*state };
            match state.packs[pack].0 {
                Pack::None => {
                    if self.is(Variant::NoIntent) {
                        take(("rename", label), written(row(Pack::Unknown)));
                    } else {
                        take(("intent", label), State { packs: row(Pack::Writing), ..*state });
                    }
                    if self.is(Variant::RowBeforeSync) {
                        take(("seal, then lose power", label), sealed);
                    }
                }
                Pack::Writing if !has_file => take(("rename", label), written(state.packs)),
                Pack::Writing | Pack::Unknown => take(("seal", label), sealed),
                _ => {}
            }
        }

        fn commit(&self, state: &State, set: u8, take: &mut dyn FnMut(Label, State)) {
            let Some(free) = state.snapshots.iter().position(Option::is_none) else { return };
            let is_good = |chunk: usize| match state.location[chunk].map(|pack| state.packs[usize::from(pack)].0) {
                None => false,
                Some(Pack::Sealed) => true,
                Some(Pack::Condemned) => !self.is(Variant::NoResurrect),
                Some(_) => self.is(Variant::NoClosure),
            };
            if !chunks(set).all(is_good) {
                return;
            }
            let mut packs = state.packs;
            for pack in chunks(set).filter_map(|chunk| state.location[chunk]) {
                let (row, touched) = &mut packs[usize::from(pack)];
                if *row == Pack::Condemned && !self.is(Variant::AcceptCondemned) {
                    *row = Pack::Sealed;
                }
                if !self.is(Variant::NoTouch) {
                    *touched = state.epoch;
                }
            }
            let snapshots = with(state.snapshots, free, Some((set, Snapshot::Live)));
            take(("commit", set), State { packs, snapshots, ..*state });
        }

        fn collect(&self, state: &State, take: &mut dyn FnMut(Label, State)) {
            let begun = |skip| State {
                epoch: state.epoch + 1,
                gc: Some((Some(state.epoch + 1), self.marked(state, skip))),
                ..*state
            };
            match state.gc {
                None if state.epoch < EPOCH_MAX => {
                    if self.is(Variant::SplitBegin) {
                        take(("capture", 0), State { gc: Some((None, self.marked(state, 0))), ..*state });
                    } else {
                        take(("begin", state.epoch + 1), begun(0));
                    }
                    if self.is(Variant::SkipBadRoot) && state.snapshots[0].is_some() {
                        take(("begin without the first root", state.epoch + 1), begun(1));
                    }
                }
                Some((None, marked)) => {
                    let epoch = state.epoch + 1;
                    take(("bump", epoch), State { epoch, gc: Some((Some(epoch), marked)), ..*state });
                }
                Some((Some(epoch), marked)) => {
                    for pack in 0..PACKS {
                        let (row, touched) = state.packs[pack];
                        let is_old = touched < epoch || self.is(Variant::IgnoreTouched);
                        if row == Pack::Sealed && marked >> pack & 1 == 0 && is_old {
                            let packs = with(state.packs, pack, (Pack::Condemned, touched));
                            take(("condemn", u8::try_from(pack).unwrap()), State { packs, ..*state });
                        }
                    }
                    take(("end", 0), State { gc: None, ..*state });
                }
                None => {}
            }
        }

        fn delete(&self, state: &State, pack: usize, take: &mut dyn FnMut(Label, State)) {
            let label = u8::try_from(pack).unwrap();
            let (row, touched) = state.packs[pack];
            let has_file = state.files >> pack & 1 == 1;
            let without_file = State { files: state.files & !(1 << pack), ..*state };
            match row {
                Pack::Condemned => {
                    let packs = with(state.packs, pack, (Pack::Deleting, touched));
                    take(("start deleting", label), State { packs, ..*state });
                    if self.is(Variant::UnlinkFirst) && has_file {
                        take(("unlink, then lose power", label), State { gc: None, ..without_file });
                    }
                }
                Pack::Deleting if has_file => take(("unlink", label), without_file),
                Pack::Deleting => {
                    let packs = with(state.packs, pack, (Pack::Gone, touched));
                    let location = state.location.map(|location| location.filter(|at| *at != label));
                    take(("forget", label), State { packs, location, ..*state });
                }
                Pack::None | Pack::Gone | Pack::Unknown if has_file => take(("sweep orphan", label), without_file),
                _ => {}
            }
        }

        fn repack(&self, state: &State, take: &mut dyn FnMut(Label, State)) {
            if state.location[0] != Some(0) || !matches!(state.packs[0].0, Pack::Sealed | Pack::Condemned) {
                return;
            }
            let has_file = state.files >> 2 & 1 == 1;
            match state.packs[2].0 {
                Pack::None => {
                    let packs = with(state.packs, 2, (Pack::Writing, state.epoch));
                    take(("intend repack", 2), State { packs, ..*state });
                }
                Pack::Writing if !has_file => take(("copy", 2), State { files: state.files | 1 << 2, ..*state }),
                Pack::Writing => {
                    let touched = if self.is(Variant::RepackOldTouch) { 0 } else { state.epoch };
                    let packs = with(state.packs, 2, (Pack::Sealed, touched));
                    take(("switch", 2), State { packs, location: with(state.location, 0, Some(2)), ..*state });
                    if self.is(Variant::RepackEarlyUnlink) && state.files & 1 == 1 {
                        take(("unlink the old pack", 0), State { files: state.files & !1, ..*state });
                    }
                }
                _ => {}
            }
        }

        fn replace_catalog(state: &State, take: &mut dyn FnMut(Label, State)) {
            match state.saved {
                None => {
                    let State { epoch, packs, location, snapshots, .. } = *state;
                    let saved = Some(Saved { epoch, packs, location, snapshots });
                    take(("copy the catalog", 0), State { saved, ..*state });
                }
                Some(Saved { epoch, packs, location, snapshots: old }) => {
                    // What the old catalog forgot was acknowledged all the same.
                    let mut snapshots = state.snapshots;
                    for (snapshot, old) in snapshots.iter_mut().zip(old) {
                        *snapshot = old.or(*snapshot);
                    }
                    let files = state.files;
                    let next = State { epoch, packs, files, location, snapshots, gc: None, saved: None };
                    take(("put the old catalog back", 0), next);
                }
            }
        }
    }

    impl Machine for Protocol {
        type State = State;

        fn start(&self) -> State {
            State {
                epoch: 0,
                packs: [(Pack::None, 0); PACKS],
                files: 0,
                location: [None; 2],
                snapshots: [None; SNAPSHOTS],
                gc: None,
                saved: None,
            }
        }

        fn steps(&self, state: &State, take: &mut dyn FnMut(Label, State)) {
            for chunk in 0..2 {
                self.upload(state, chunk, take);
            }
            for set in 1..=3 {
                self.commit(state, set, take);
            }
            for (index, snapshot) in state.snapshots.iter().enumerate() {
                let Some((set, now)) = *snapshot else { continue };
                let mut change = |name, next| {
                    let snapshots = with(state.snapshots, index, Some((set, next)));
                    take((name, u8::try_from(index).unwrap()), State { snapshots, ..*state });
                };
                match now {
                    Snapshot::Live => change("trash", Snapshot::Trash),
                    Snapshot::Trash => {
                        change("restore from trash", Snapshot::Live);
                        change("purge", Snapshot::Purged);
                    }
                    Snapshot::Purged => {}
                }
            }
            self.collect(state, take);
            for pack in 0..PACKS {
                self.delete(state, pack, take);
            }
            self.repack(state, take);
            if self.is(Variant::StaleCatalog) {
                Self::replace_catalog(state, take);
            }
            if state.gc.is_some() {
                take(("crash", 0), State { gc: None, ..*state });
            }
        }

        fn is_bad(&self, state: &State) -> bool {
            let is_lost = |chunk: usize| {
                if self.is(Variant::StaleCatalog) {
                    let homes: u8 = if chunk == 0 { 0b101 } else { 0b010 };
                    return homes & state.files == 0;
                }
                let Some(pack) = state.location[chunk] else { return true };
                state.files >> pack & 1 == 0
                    || matches!(state.packs[usize::from(pack)].0, Pack::None | Pack::Deleting | Pack::Gone)
            };
            let kept = state.snapshots.iter().flatten().filter(|(_, snapshot)| *snapshot != Snapshot::Purged);
            kept.into_iter().any(|(set, _)| chunks(*set).any(is_lost))
        }
    }
}

#[test]
fn the_protocol_is_safe() {
    use protocol::{Protocol, Variant};
    assert_eq!(is_safe(&Protocol(Variant::AsSpecified)), 122_671, "as many states as appendix B found");
    is_safe(&Protocol(Variant::NoResurrect));
}

#[test]
fn every_rule_of_the_protocol_is_needed() {
    use protocol::{Protocol, Variant};
    let variants = [
        (Variant::NoClosure, 7),
        (Variant::AcceptCondemned, 7),
        (Variant::NoTouch, 7),
        (Variant::IgnoreTouched, 7),
        (Variant::SplitBegin, 8),
        (Variant::TrashNotRoot, 8),
        (Variant::SkipBadRoot, 7),
        (Variant::RowBeforeSync, 2),
        (Variant::NoIntent, 4),
        (Variant::UnlinkFirst, 7),
        (Variant::RepackEarlyUnlink, 7),
        (Variant::RepackOldTouch, 10),
        (Variant::StaleCatalog, 7),
    ];
    for (variant, steps) in variants {
        loses_data(&Protocol(variant), variant, steps);
    }
}

/// Program 2 of appendix B: the catalog is copied at any instant and put back at any instant, once each.
mod stale_catalog {
    use super::*;

    const PACKS: usize = 2;
    const GENERATION_MAX: u8 = 6;
    const SNAPSHOTS: usize = 2;

    /// What tells an old catalog.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Guard {
        /// Some pack's header has a later generation.
        pub(super) pack_generation: bool,
        /// ANCHOR has a later generation; it is written between commit and acknowledgement.
        pub(super) anchor: bool,
        /// The acknowledgement does not wait for ANCHOR.
        pub(super) anchor_late: bool,
        /// Compared before every deletion instead of once, when the catalog is opened.
        pub(super) no_latch: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Ack {
        Committed,
        Acknowledged,
        /// Lost with the catalog before anybody was told.
        Forgotten,
        Purged,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Catalog {
        MayBePutBack,
        PutBack,
        PutBackAndLatched,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) struct State {
        generation: u8,
        rows: [Pack; PACKS],
        /// Generation in the header of each pack's file.
        files: [Option<u8>; PACKS],
        snapshots: [Option<(u8, Ack)>; SNAPSHOTS],
        saved: Option<(u8, [Pack; PACKS], u8)>,
        /// Snapshots that the catalog knows.
        known: u8,
        catalog: Catalog,
        anchor: u8,
    }

    impl Guard {
        /// The check that is made when the catalog is opened.
        fn is_fresh(&self, generation: u8, rows: &[Pack; PACKS], state: &State) -> bool {
            if *self == Self::default() {
                return true;
            }
            let has_all = (0..PACKS).all(|pack| rows[pack] != Pack::Sealed || state.files[pack].is_some());
            let is_newest = state.files.iter().flatten().all(|header| *header <= generation);
            has_all && (!self.pack_generation || is_newest) && (!self.anchor || generation >= state.anchor)
        }
    }

    impl Machine for Guard {
        type State = State;

        fn start(&self) -> State {
            State {
                generation: 0,
                rows: [Pack::None; PACKS],
                files: [None; PACKS],
                snapshots: [None; SNAPSHOTS],
                saved: None,
                known: 0,
                catalog: Catalog::MayBePutBack,
                anchor: 0,
            }
        }

        fn steps(&self, state: &State, take: &mut dyn FnMut(Label, State)) {
            let State { generation, rows, files, snapshots, known, .. } = *state;
            let count = snapshots.iter().flatten().count();
            let is_known = |index: usize| index < usize::from(known);
            let can_grow = generation < GENERATION_MAX;
            for pack in 0..PACKS {
                let label = u8::try_from(pack).unwrap();
                match (rows[pack], files[pack]) {
                    (Pack::None, None) if can_grow => {
                        let rows = with(rows, pack, Pack::Writing);
                        take(("intent", label), State { generation: generation + 1, rows, ..*state });
                    }
                    (Pack::Writing, None) => {
                        take(("file", label), State { files: with(files, pack, Some(generation)), ..*state });
                    }
                    (Pack::Writing, Some(_)) => {
                        take(("seal", label), State { rows: with(rows, pack, Pack::Sealed), ..*state });
                    }
                    (Pack::Sealed, Some(_)) if can_grow && count < SNAPSHOTS && usize::from(known) == count => {
                        let waits = self.anchor && !self.anchor_late;
                        let ack = if waits { Ack::Committed } else { Ack::Acknowledged };
                        let snapshots = with(snapshots, count, Some((label, ack)));
                        let (generation, known) = (generation + 1, known + 1);
                        take(("commit", label), State { generation, snapshots, known, ..*state });
                    }
                    _ => {}
                }
            }
            if self.anchor && state.anchor < generation && known > 0 {
                let mut snapshots = snapshots;
                for (index, (_, ack)) in snapshots.iter_mut().flatten().enumerate() {
                    if *ack == Ack::Committed && is_known(index) {
                        *ack = Ack::Acknowledged;
                    }
                }
                take(("write ANCHOR", generation), State { snapshots, anchor: generation, ..*state });
            }
            for index in (0..count).filter(|index| is_known(*index)) {
                let Some((pack, ack)) = snapshots[index] else { continue };
                if ack != Ack::Purged && can_grow {
                    let snapshots = with(snapshots, index, Some((pack, Ack::Purged)));
                    let label = ("purge", u8::try_from(index).unwrap());
                    take(label, State { generation: generation + 1, snapshots, ..*state });
                }
            }
            let may_delete = if self.no_latch {
                self.is_fresh(generation, &rows, state)
            } else {
                state.catalog != Catalog::PutBackAndLatched
            };
            if may_delete {
                let is_live = |pack: usize| {
                    let mut kept = snapshots.iter().flatten().take(usize::from(known));
                    kept.any(|(of, ack)| usize::from(*of) == pack && *ack != Ack::Purged)
                };
                for pack in 0..PACKS {
                    let label = u8::try_from(pack).unwrap();
                    let without_file = State { files: with(files, pack, None), ..*state };
                    if files[pack].is_some() && rows[pack] == Pack::None {
                        take(("sweep orphan", label), without_file);
                    }
                    if rows[pack] == Pack::Sealed && !is_live(pack) {
                        take(("delete", label), State { rows: with(rows, pack, Pack::None), ..without_file });
                    }
                }
            }
            match state.saved {
                None => take(("copy the catalog", 0), State { saved: Some((generation, rows, known)), ..*state }),
                Some((old_generation, old_rows, old_known)) if state.catalog == Catalog::MayBePutBack => {
                    let mut snapshots = snapshots;
                    for (_, ack) in snapshots.iter_mut().flatten() {
                        if *ack == Ack::Committed {
                            *ack = Ack::Forgotten;
                        }
                    }
                    let is_fresh = self.is_fresh(old_generation, &old_rows, state);
                    let catalog = if is_fresh { Catalog::PutBack } else { Catalog::PutBackAndLatched };
                    let (generation, rows, known) = (old_generation, old_rows, old_known);
                    take(
                        ("put the old catalog back", 0),
                        State { generation, rows, snapshots, known, catalog, ..*state },
                    );
                }
                Some(_) => {}
            }
        }

        fn is_bad(&self, state: &State) -> bool {
            let mut snapshots = state.snapshots.iter().flatten();
            snapshots.any(|(pack, ack)| *ack == Ack::Acknowledged && state.files[usize::from(*pack)].is_none())
        }
    }
}

#[test]
fn a_latched_anchor_guards_against_an_old_catalog() {
    use stale_catalog::Guard;
    let anchor = Guard { anchor: true, ..Guard::default() };
    assert_eq!(is_safe(&anchor), 718_844, "as many states as appendix B found");
    assert_eq!(is_safe(&Guard { pack_generation: true, ..anchor }), 607_044);
}

#[test]
fn no_lesser_guard_will_do() {
    use stale_catalog::Guard;
    let anchor = Guard { anchor: true, ..Guard::default() };
    let lesser = [
        Guard::default(),
        Guard { pack_generation: true, ..Guard::default() },
        Guard { no_latch: true, ..anchor },
        Guard { anchor_late: true, ..anchor },
    ];
    for guard in lesser {
        assert!(explore(&guard).is_err(), "{guard:?} is not found to be unsafe");
    }
}

/// What appendix B leaves out: deltas and their bases, several copies of one object, a repacked pack that holds something
/// nobody needs as well, walks before their commit's transaction, commits relative to a parent.
///
/// Objects: basis `B`, target `T`, and `G`, for which nobody has a use at first. Copies: `B` whole in pack 0; `T` as a delta
/// on `B`, and `G` whole, in pack 1; `T` whole in pack 2; pack 3 is where the delta is repacked to.
mod copies {
    use super::*;

    const EPOCH_MAX: u8 = 2;
    const SNAPSHOTS: usize = 2;
    const PACKS: usize = 4;

    const BASIS: u8 = 1;
    const TARGET: u8 = 2;
    const OTHER: u8 = 4;

    /// A row of the index: which object, in which pack, and whether as a delta on `B`.
    const ROWS: [(u8, usize, bool); 5] =
        [(BASIS, 0, false), (TARGET, 1, true), (TARGET, 2, false), (TARGET, 3, true), (OTHER, 1, false)];
    const DELTA: u8 = 1 << 1;
    const WHOLE: u8 = 1 << 2;
    const MOVED: u8 = 1 << 3;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Variant {
        AsBuilt,
        /// The mark does not follow a delta to its basis.
        BasisNotKept,
        /// The mark follows deltas, but keeps only the best copy of what is stored twice; the rest is condemned.
        BestCopyOnly,
        /// The commit stamps a delta's pack and not its basis'.
        BasisNotStamped,
        /// The commit does not look whether its parent is still a root. Safe as long as parents of open sessions are roots.
        ParentNotChecked,
        /// Neither: parents are neither looked at again nor roots.
        ParentIgnored,
        /// The commit does not look whether packs were condemned or emptied since its walk.
        WalkNotChecked,
        /// A repacked pack is condemned although it was stamped since the mark.
        SwitchIgnoresTouched,
        /// A repacked pack lets go although the new one may not be sealed any more.
        SwitchTargetNotChecked,
        /// The new pack of a repack carries an old stamp.
        SwitchOldTouch,
        /// A delta is let go because the object is stored whole, wherever that is and whatever becomes of it.
        DropTargetNotChecked,
        /// The same for objects that the mark does not know to be kept, in packs stamped since.
        DropNotKept,
        /// Parents of open sessions are no roots. Safe as long as the commit looks again; only work is lost.
        ParentNotRoot,
    }

    /// A commit between its walk and its transaction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Walk {
        objects: u8,
        relies_on: u8,
        parent: Option<u8>,
        /// One of the packs was condemned or emptied since.
        is_stale: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Gc {
        epoch: u8,
        /// Objects that are kept.
        kept: u8,
        /// Packs that held a copy of one.
        marked: u8,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) struct State {
        epoch: u8,
        packs: [(Pack, u8); PACKS],
        files: u8,
        rows: u8,
        /// Objects (a bit set), and whether it was purged.
        snapshots: [Option<(u8, bool)>; SNAPSHOTS],
        walk: Option<Walk>,
        gc: Option<Gc>,
    }

    pub(super) struct Copies(pub(super) Variant);

    impl State {
        fn is_readable(&self, pack: usize) -> bool {
            matches!(self.packs[pack].0, Pack::Sealed | Pack::Condemned) && self.files >> pack & 1 == 1
        }

        fn copies(&self) -> impl Iterator<Item = (u8, usize, bool)> {
            ROWS.into_iter().enumerate().filter(|(row, _)| self.rows >> row & 1 == 1).map(|(_, copy)| copy)
        }

        /// The packs that the best complete copy of an object stands on; `None` when there is none.
        fn best(&self, object: u8) -> Option<u8> {
            let basis = self.copies().find(|(of, pack, _)| *of == BASIS && self.is_readable(*pack));
            let basis = basis.map(|(_, pack, _)| 1 << pack);
            let readable = self.copies().filter(|(of, pack, _)| *of == object && self.is_readable(*pack));
            let complete = readable.filter_map(|(_, pack, is_delta)| {
                Some((is_delta, self.packs[pack].0, if is_delta { basis? } else { 0 } | 1 << pack))
            });
            let best = complete.min_by_key(|(is_delta, pack, packs)| (*is_delta, *pack == Pack::Condemned, *packs));
            best.map(|(_, _, packs)| packs)
        }

        /// Notes that this pack was condemned or emptied.
        fn unsettle(&self, pack: usize) -> Option<Walk> {
            self.walk.map(|walk| Walk { is_stale: walk.is_stale || walk.relies_on >> pack & 1 == 1, ..walk })
        }
    }

    impl Copies {
        fn is(&self, variant: Variant) -> bool {
            self.0 == variant
        }

        fn mark(&self, state: &State) -> Gc {
            let parents = state
                .walk
                .and_then(|walk| walk.parent)
                .filter(|_| !matches!(self.0, Variant::ParentNotRoot | Variant::ParentIgnored));
            let is_root = |(index, (_, is_purged)): (usize, (u8, bool))| {
                !is_purged || parents.is_some_and(|parent| usize::from(parent) == index)
            };
            let roots = state.snapshots.iter().enumerate().filter_map(|(index, snapshot)| Some((index, (*snapshot)?)));
            let mut kept = roots.filter(|root| is_root(*root)).fold(0, |kept, (_, (objects, _))| kept | objects);
            let has_delta = state.copies().any(|(of, _, is_delta)| of & kept != 0 && is_delta);
            if has_delta && !self.is(Variant::BasisNotKept) {
                kept |= BASIS;
            }
            let mut marked = 0;
            for (of, pack, is_delta) in state.copies().filter(|(of, ..)| of & kept != 0) {
                let has_whole = state.rows & WHOLE != 0;
                let is_left_out = self.is(Variant::BestCopyOnly) && of == TARGET && !is_delta && has_whole;
                marked |= if is_left_out { 0 } else { 1 << pack };
            }
            Gc { epoch: state.epoch + 1, kept, marked }
        }

        fn upload(state: &State, pack: usize, take: &mut dyn FnMut(Label, State)) {
            let label = u8::try_from(pack).unwrap();
            let row = |row| with(state.packs, pack, (row, state.epoch));
            match state.packs[pack].0 {
                Pack::None => take(("intent", label), State { packs: row(Pack::Writing), ..*state }),
                Pack::Writing => {
                    // That files come before rows is what the machine above is about.
                    let rows = [1, DELTA | 1 << 4, WHOLE][pack];
                    let files = state.files | 1 << pack;
                    take(("seal", label), State { packs: row(Pack::Sealed), files, rows: state.rows | rows, ..*state });
                }
                _ => {}
            }
        }

        fn commit(&self, state: &State, take: &mut dyn FnMut(Label, State)) {
            let Some(free) = state.snapshots.iter().position(Option::is_none) else { return };
            let Some(walk) = state.walk else {
                for objects in [TARGET, OTHER, TARGET | OTHER] {
                    let parents =
                        state.snapshots.iter().zip(0..).filter(|(snapshot, _)| matches!(snapshot, Some((_, false))));
                    for parent in parents.map(|(_, index)| Some(index)).chain([None]) {
                        let vouched = parent.and_then(|parent: u8| state.snapshots[usize::from(parent)]);
                        let vouched = vouched.map_or(0, |(objects, _)| objects);
                        let needed = [TARGET, OTHER].into_iter().filter(|object| objects & !vouched & object != 0);
                        let relies_on =
                            needed.map(|object| state.best(object)).try_fold(0, |all, best| Some(all | best?));
                        if let Some(relies_on) = relies_on {
                            let walk = Some(Walk { objects, relies_on, parent, is_stale: false });
                            take(("walk", objects), State { walk, ..*state });
                        }
                    }
                }
                return;
            };
            take(("give up", walk.objects), State { walk: None, ..*state });
            let parent = walk.parent.and_then(|parent| state.snapshots[usize::from(parent)]);
            let is_parent_root = parent.is_none_or(|(_, is_purged)| !is_purged);
            let relied = (0..PACKS).filter(|pack| walk.relies_on >> pack & 1 == 1);
            let are_readable = relied.clone().all(|pack| matches!(state.packs[pack].0, Pack::Sealed | Pack::Condemned));
            if !(is_parent_root || matches!(self.0, Variant::ParentNotChecked | Variant::ParentIgnored))
                || !are_readable
                || walk.is_stale && !self.is(Variant::WalkNotChecked)
            {
                return;
            }
            let mut packs = state.packs;
            for pack in relied.filter(|pack| *pack != 0 || !self.is(Variant::BasisNotStamped)) {
                packs[pack] = (Pack::Sealed, state.epoch);
            }
            let snapshots = with(state.snapshots, free, Some((walk.objects, false)));
            take(("commit", walk.objects), State { packs, snapshots, walk: None, ..*state });
        }

        fn collect(&self, state: &State, take: &mut dyn FnMut(Label, State)) {
            let Some(gc) = state.gc else {
                if state.epoch < EPOCH_MAX {
                    let gc = self.mark(state);
                    take(("begin", gc.epoch), State { epoch: gc.epoch, gc: Some(gc), ..*state });
                }
                return;
            };
            take(("end", gc.epoch), State { gc: None, ..*state });
            for pack in 0..PACKS {
                let label = u8::try_from(pack).unwrap();
                let (row, touched) = state.packs[pack];
                let is_marked = gc.marked >> pack & 1 == 1;
                if row == Pack::Sealed && !is_marked && touched < gc.epoch {
                    let packs = with(state.packs, pack, (Pack::Condemned, touched));
                    take(("condemn", label), State { packs, walk: state.unsettle(pack), ..*state });
                }
                if row == Pack::Condemned
                    && is_marked
                    && state.copies().any(|(of, at, _)| at == pack && of & gc.kept != 0)
                {
                    let packs = with(state.packs, pack, (Pack::Sealed, touched));
                    take(("reprieve", label), State { packs, ..*state });
                }
            }
            self.drop_delta(state, gc, take);
            self.repack(state, gc, take);
        }

        /// The delta goes because the whole is stored, too.
        fn drop_delta(&self, state: &State, gc: Gc, take: &mut dyn FnMut(Label, State)) {
            let (row, touched) = state.packs[1];
            let is_known = gc.kept & TARGET != 0 && touched < gc.epoch || self.is(Variant::DropNotKept);
            let is_whole_there = if self.is(Variant::DropTargetNotChecked) {
                state.rows & WHOLE != 0
            } else {
                state.rows & WHOLE != 0 && state.packs[2].0 == Pack::Sealed
            };
            if state.rows & DELTA != 0 && row == Pack::Sealed && is_known && is_whole_there {
                take(("drop delta", 1), State { rows: state.rows & !DELTA, walk: state.unsettle(1), ..*state });
            }
        }

        /// The delta moves from pack 1 to pack 3, and what is left of pack 1 is condemned.
        fn repack(&self, state: &State, gc: Gc, take: &mut dyn FnMut(Label, State)) {
            let (row, touched) = state.packs[1];
            // Everything that is kept moves; here that is the delta alone.
            if gc.kept & (TARGET | OTHER) != TARGET || state.rows & DELTA == 0 || gc.marked >> 1 & 1 == 0 {
                return;
            }
            match state.packs[3].0 {
                Pack::None if row == Pack::Sealed => {
                    let packs = with(state.packs, 3, (Pack::Writing, state.epoch));
                    take(("intend repack", 3), State { packs, files: state.files | 1 << 3, ..*state });
                }
                Pack::Writing => {
                    let stamp = if self.is(Variant::SwitchOldTouch) { 0 } else { state.epoch };
                    let packs = with(state.packs, 3, (Pack::Sealed, stamp));
                    take(("seal", 3), State { packs, rows: state.rows | MOVED, ..*state });
                }
                _ => {}
            }
            let is_target_there = if self.is(Variant::SwitchTargetNotChecked) {
                state.packs[3].0 != Pack::None
            } else {
                state.packs[3].0 == Pack::Sealed && state.rows & MOVED != 0
            };
            let is_unstamped = touched < gc.epoch || self.is(Variant::SwitchIgnoresTouched);
            if is_target_there && row == Pack::Sealed && is_unstamped {
                let packs = with(state.packs, 1, (Pack::Condemned, touched));
                take(("switch", 1), State { packs, rows: state.rows & !DELTA, walk: state.unsettle(1), ..*state });
            }
        }

        fn delete(state: &State, pack: usize, take: &mut dyn FnMut(Label, State)) {
            let label = u8::try_from(pack).unwrap();
            let (now, touched) = state.packs[pack];
            let row = |row| with(state.packs, pack, (row, touched));
            let files = state.files & !(1 << pack);
            match now {
                Pack::Condemned => take(("start deleting", label), State { packs: row(Pack::Deleting), ..*state }),
                Pack::Deleting => {
                    let held = (0..ROWS.len()).filter(|at| ROWS[*at].1 == pack);
                    let rows = held.fold(state.rows, |rows, at| rows & !(1 << at));
                    take(("finish deleting", label), State { packs: row(Pack::Gone), files, rows, ..*state });
                }
                _ => {}
            }
        }
    }

    impl Machine for Copies {
        type State = State;

        fn start(&self) -> State {
            State {
                epoch: 0,
                packs: [(Pack::None, 0); PACKS],
                files: 0,
                rows: 0,
                snapshots: [None; SNAPSHOTS],
                walk: None,
                gc: None,
            }
        }

        fn steps(&self, state: &State, take: &mut dyn FnMut(Label, State)) {
            (0..3).for_each(|pack| Self::upload(state, pack, take));
            self.commit(state, take);
            for (index, snapshot) in state.snapshots.iter().enumerate() {
                if let Some((objects, false)) = *snapshot {
                    let snapshots = with(state.snapshots, index, Some((objects, true)));
                    take(("purge", u8::try_from(index).unwrap()), State { snapshots, ..*state });
                }
            }
            self.collect(state, take);
            (0..PACKS).for_each(|pack| Self::delete(state, pack, take));
            if state.gc.is_some() || state.walk.is_some() {
                take(("crash", 0), State { gc: None, walk: None, ..*state });
            }
        }

        fn is_bad(&self, state: &State) -> bool {
            let kept = state.snapshots.iter().flatten().filter(|(_, is_purged)| !is_purged);
            kept.into_iter().any(|(objects, _)| {
                [TARGET, OTHER].into_iter().any(|object| objects & object != 0 && state.best(object).is_none())
            })
        }
    }
}

#[test]
fn several_copies_deltas_and_parents_are_safe() {
    use copies::{Copies, Variant};
    let states = is_safe(&Copies(Variant::AsBuilt));
    assert!(states > 100_000, "{states} states are too few to be all");
    is_safe(&Copies(Variant::ParentNotRoot));
    is_safe(&Copies(Variant::ParentNotChecked));
}

#[test]
fn every_rule_about_copies_is_needed() {
    use copies::{Copies, Variant};
    let variants = [
        Variant::BasisNotKept,
        Variant::BestCopyOnly,
        Variant::BasisNotStamped,
        Variant::ParentIgnored,
        Variant::WalkNotChecked,
        Variant::SwitchIgnoresTouched,
        Variant::SwitchTargetNotChecked,
        Variant::SwitchOldTouch,
        Variant::DropTargetNotChecked,
        Variant::DropNotKept,
    ];
    let wrongly_safe: Vec<_> = variants.into_iter().filter(|variant| explore(&Copies(*variant)).is_ok()).collect();
    assert_eq!(wrongly_safe, [], "not found to be unsafe");
}
