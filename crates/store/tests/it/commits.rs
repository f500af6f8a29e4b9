//! The one commit: closure, stamp-and-check, idempotency, parents.

use std::sync::Barrier;

use object::ObjectId;
use store::{ErrorKind, Store, StoreError, WriteSession};

use crate::props::*;

#[track_caller]
fn misses(result: Result<store::Committed, StoreError>, names: &[&str]) {
    let Err(StoreError::Missing { ids: mut missing }) = result else { panic!("{result:?}") };
    let mut expected = ids(names);
    missing.sort_unstable();
    expected.sort_unstable();
    assert_eq!(missing, expected);
}

fn commit(session: &mut WriteSession, name: &str, number: u8) -> Result<store::Committed, StoreError> {
    session.commit_snapshot(key(number), id(name), NOW)
}

#[test]
fn whatever_is_missing_is_named_and_the_session_goes_on() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    misses(commit(&mut session, "snap", 1), &["snap"]);
    session.put(&snapshot("snap", "root"), NOW).unwrap();
    misses(commit(&mut session, "snap", 1), &["root"]);
    session.put(&tree("root", &["dir", "file"]), NOW).unwrap();
    misses(commit(&mut session, "snap", 1), &["dir", "file"]);
    put_all(&mut session, &[tree("dir", &["list"]), chunk("file")]);
    misses(commit(&mut session, "snap", 1), &["list"]);
    put_all(&mut session, &[list("list", &["one", "two"]), chunk("two")]);
    misses(commit(&mut session, "snap", 1), &["one"]);
    assert_eq!(session.held(&ids(&["snap", "list", "two"])).unwrap(), [false, false, true]);
    session.put(&chunk("one"), NOW).unwrap();
    assert_eq!(session.held(&ids(&["one", "list"])).unwrap(), [true, false], "open packs are not walked");
    let committed = commit(&mut session, "snap", 1).unwrap();
    assert_eq!((committed.seq, committed.repeated), (1, false));
    assert_eq!((committed.stored.objects, committed.stored.delta_objects), (7, 0));
    assert_eq!(session.held(&ids(&["snap", "list", "dir"])).unwrap(), [true; 3]);
    assert_eq!(restore(&store, id("snap")).len(), 7);
}

#[test]
fn a_delta_needs_each_basis_whole() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(
        &mut session,
        &[delta("new", &["old", "older"]), chunk("old"), tree("root", &["new"]), snapshot("snap", "root")],
    );
    // The delta is named, not its basis: the client may no longer have that.
    misses(commit(&mut session, "snap", 1), &["new"]);
    assert_eq!(session.held(&ids(&["new", "old"])).unwrap(), [false, true]);
    put_all(&mut session, &[delta("older", &["old"])]);
    misses(commit(&mut session, "snap", 1), &["new"]);
    put_all(&mut session, &[chunk("older")]);
    let committed = commit(&mut session, "snap", 1).unwrap();
    assert_eq!(committed.stored.delta_objects, 2);
    assert_eq!(restore(&store, id("snap")).len(), 5);
}

#[test]
fn a_whole_copy_makes_a_delta_without_basis_complete_and_is_preferred() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[delta("x", &["gone"]), tree("root", &["x"]), snapshot("snap", "root")]);
    misses(commit(&mut session, "snap", 1), &["x"]);
    session.put(&chunk("x"), NOW).unwrap();
    commit(&mut session, "snap", 1).unwrap();
    assert!(!store.edges(VAULT, &ids(&["x"])).unwrap()[0].as_ref().unwrap().is_delta);
}

#[test]
fn a_delta_stored_twice_is_complete_if_either_copy_is() {
    let world = World::new();
    let store = world.open();
    for (number, bases) in [(1, ["gone"]), (2, ["here"])] {
        let mut session = world.begin(&store);
        put_all(&mut session, &[delta("x", &bases), chunk("here"), tree("root", &["x"]), snapshot("snap", "root")]);
        session.flush(NOW).unwrap();
        if number == 1 {
            misses(commit(&mut session, "snap", 1), &["x"]);
            // Older packs are tried after newer ones: the good copy must not hide behind the bad one.
            session.close(NOW).unwrap();
        } else {
            commit(&mut session, "snap", 1).unwrap();
        }
    }
    let world = World::new();
    let store = world.open();
    for bases in [["here"], ["gone"]] {
        let mut session = world.begin(&store);
        put_all(&mut session, &[delta("x", &bases), chunk("here"), tree("root", &["x"]), snapshot("snap", "root")]);
        session.close(NOW).unwrap();
    }
    commit(&mut world.begin(&store), "snap", 1).unwrap();
}

#[test]
fn objects_that_refer_in_a_circle_do_not_hang_the_walk() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[tree("root", &["left"]), tree("left", &["right"]), tree("right", &["left", "leaf"])]);
    session.put(&snapshot("snap", "root"), NOW).unwrap();
    session.flush(NOW).unwrap();
    assert_eq!(session.held(&ids(&["left"])).unwrap(), [false]);
    session.put(&chunk("leaf"), NOW).unwrap();
    session.flush(NOW).unwrap();
    assert_eq!(session.held(&ids(&["left", "right", "snap"])).unwrap(), [true; 3]);
}

#[test]
fn at_most_4096_missing_objects_are_named() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    let names: Vec<String> = (0..6000).map(|number| format!("chunk {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    put_all(
        &mut session,
        &[
            list("first", &names[..3000]),
            list("second", &names[3000..]),
            tree("root", &["first", "second"]),
            snapshot("snap", "root"),
        ],
    );
    let Err(StoreError::Missing { ids: missing }) = commit(&mut session, "snap", 1) else { panic!() };
    assert_eq!(missing.len(), store::MISSING_MAX);
}

#[test]
fn only_what_it_should_be_is_committed() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a"), tree("root", &["a"]), snapshot("snap", "root")]);
    assert_eq!(commit(&mut session, "root", 1).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(commit(&mut session, "a", 1).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(session.commit_drive(key(1), &[], NOW).unwrap_err().kind(), ErrorKind::Invalid);
    commit(&mut session, "snap", 1).unwrap();
    assert_eq!(commit(&mut session, "snap", 2).unwrap_err().kind(), ErrorKind::Conflict, "there already");
}

#[test]
fn the_same_key_gets_the_same_answer() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    let first = commit(&mut session, "snap1", 1).unwrap();
    assert!(first.repeated);
    drop(session);
    drop(store);
    let store = world.open();
    let mut session = world.begin(&store);
    assert_eq!(commit(&mut session, "snap1", 1).unwrap(), first, "also from another session");
    assert_eq!(commit(&mut session, "snap2", 1).unwrap_err().kind(), ErrorKind::Conflict, "another request");
    // Even when what was committed is gone again.
    world.sql("UPDATE snapshot SET state = 3; UPDATE pack SET state = 4;");
    assert_eq!(commit(&mut session, "snap1", 1).unwrap(), first);
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM snapshot"), 1);
}

/// Two devices with the same request at the same time: one commits, the other is told so.
#[test]
fn the_same_key_at_the_same_time_commits_once() {
    let world = World::new();
    let store = world.open();
    let mut first = world.begin(&store);
    put_all(&mut first, &[chunk("a"), tree("root", &["a"]), snapshot("snap", "root")]);
    first.flush(NOW).unwrap();
    let barrier = Barrier::new(2);
    let race = |mut session: WriteSession| {
        barrier.wait();
        commit(&mut session, "snap", 1).unwrap().repeated
    };
    let second = world.begin(&store);
    let repeated = std::thread::scope(|scope| {
        let other = scope.spawn(|| race(second));
        [race(first), other.join().unwrap()]
    });
    assert_ne!(repeated[0], repeated[1]);
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM snapshot"), 1);
}

/// Puts what a backup shares with another, in packs of its own.
fn seal_chunks(world: &World, store: &Store, names: &[&str]) {
    let mut session = world.begin(store);
    for name in names {
        session.put(&chunk(name), NOW).unwrap();
        session.flush(NOW).unwrap();
    }
    session.close(NOW).unwrap();
}

fn commit_of(session: &mut WriteSession, edges: &[&str], number: u8) -> Result<store::Committed, StoreError> {
    let [root, snap] = ["root", "snap"].map(|name| format!("{name}{number}"));
    put_all(session, &[tree(&root, edges), snapshot(&snap, &root)]);
    commit(session, &snap, number)
}

#[test]
fn a_commit_stamps_and_resurrects_what_it_relies_on() {
    let world = World::new();
    let store = world.open();
    seal_chunks(&world, &store, &["a", "b", "c"]);
    // Garbage collection found all of it dead: epoch 1 condemned every pack but the last.
    world.sql(
        "UPDATE meta SET epoch = 1, condemn_seq = condemn_seq + 2;
         UPDATE pack SET state = 3, condemned_epoch = 1, condemn_seq = (SELECT condemn_seq FROM meta) WHERE pack < 3;",
    );
    let mut session = world.begin(&store);
    assert_eq!(session.held(&ids(&["a", "b", "c"])).unwrap(), [true; 3], "condemned is still there");
    commit_of(&mut session, &["a", "c"], 1).unwrap();
    let states: String = world.ask("SELECT group_concat(state || ':' || touched_epoch, ' ') FROM pack");
    assert_eq!(states, "2:1 2:1 2:1 2:1", "what was asked about counts as relied on");
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack WHERE condemned_epoch IS NOT NULL"), 0);
}

/// Garbage collection began to mark after the session sealed its packs, and before it committed.
#[test]
fn a_commit_stamps_the_sessions_own_packs() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    session.put(&chunk("a"), NOW).unwrap();
    session.flush(NOW).unwrap();
    put_all(&mut session, &[tree("root", &["a"]), snapshot("snap", "root")]);
    session.flush(NOW).unwrap();
    world.sql("UPDATE meta SET epoch = 1");
    commit(&mut session, "snap", 1).unwrap();
    assert_eq!(world.ask::<String>("SELECT group_concat(touched_epoch) FROM pack"), "1,1");
}

#[test]
fn packs_that_go_between_question_and_commit_are_missed() {
    let world = World::new();
    let store = world.open();
    seal_chunks(&world, &store, &["a", "b"]);
    let mut session = world.begin(&store);
    assert_eq!(session.held(&ids(&["a", "b"])).unwrap(), [true; 2]);
    world.sql("UPDATE pack SET state = 4 WHERE pack = 1;");
    misses(commit_of(&mut session, &["a", "b"], 1), &["a"]);
    session.put(&chunk("a"), NOW).unwrap();
    commit(&mut session, "snap1", 1).unwrap();
}

#[test]
fn packs_condemned_between_question_and_commit_are_looked_up_again_and_resurrected() {
    let world = World::new();
    let store = world.open();
    seal_chunks(&world, &store, &["a", "b"]);
    let mut session = world.begin(&store);
    assert_eq!(session.held(&ids(&["a", "b"])).unwrap(), [true; 2]);
    world.sql(
        "UPDATE meta SET epoch = 5, condemn_seq = 1;
         UPDATE pack SET state = 3, condemned_epoch = 5, condemn_seq = 1 WHERE pack = 1;",
    );
    commit_of(&mut session, &["a", "b"], 1).unwrap();
    assert_eq!(world.ask::<String>("SELECT state || ':' || touched_epoch FROM pack WHERE pack = 1"), "2:5");
}

/// Objects that repack moved must be stamped where they are now, not where they were when the client asked.
#[test]
fn objects_moved_between_question_and_commit_are_stamped_in_their_new_place() {
    let world = World::new();
    let store = world.open();
    seal_chunks(&world, &store, &["a"]);
    let mut session = world.begin(&store);
    assert_eq!(session.held(&ids(&["a"])).unwrap(), [true]);
    seal_chunks(&world, &store, &["a"]);
    world.sql(
        "DELETE FROM object WHERE pack = 1;
         UPDATE meta SET epoch = 7, condemn_seq = 1;
         UPDATE pack SET condemn_seq = 1 WHERE pack = 1;",
    );
    commit_of(&mut session, &["a"], 1).unwrap();
    assert_eq!(world.ask::<i64>("SELECT touched_epoch FROM pack WHERE pack = 2"), 7);
    assert_eq!(world.ask::<i64>("SELECT touched_epoch FROM pack WHERE pack = 1"), 0);
}

/// The session's own packs may be condemned too, when it is slow.
#[test]
fn a_frozen_session_commits_or_is_told_what_to_send() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    put_all(&mut session, &[chunk("a"), tree("root", &["a"]), snapshot("snap", "root")]);
    session.flush(NOW).unwrap();
    world.sql("UPDATE meta SET epoch = 3, condemn_seq = 9; UPDATE pack SET state = 3, condemn_seq = 9;");
    let mut twin = world.begin(&store);
    commit(&mut session, "snap", 1).unwrap();
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack WHERE state = 2 AND touched_epoch = 3"), 2);
    // And when all is gone, it says so instead of committing.
    put_all(&mut twin, &[chunk("x"), tree("root2", &["x"]), snapshot("snap2", "root2")]);
    twin.flush(NOW).unwrap();
    world.sql("DELETE FROM object WHERE pack > 2; DELETE FROM pack WHERE pack > 2;");
    misses(commit(&mut twin, "snap2", 2), &["snap2"]);
}

#[test]
fn an_unchanged_tree_is_compared_page_by_page_not_walked() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    // 40 directories of 40 files each; the second backup changes one file.
    let names: Vec<(String, Vec<String>)> =
        (0..40).map(|d| (format!("dir{d}"), (0..40).map(|f| format!("file{d}.{f}")).collect())).collect();
    for (dir, files) in &names {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        for file in &files {
            session.put(&chunk(file), NOW).unwrap();
        }
        session.put(&tree(dir, &files), NOW).unwrap();
    }
    let dirs: Vec<&str> = names.iter().map(|(dir, _)| dir.as_str()).collect();
    put_all(&mut session, &[tree("root", &dirs), snapshot("snap", "root")]);
    commit(&mut session, "snap", 1).unwrap();
    session.close(NOW).unwrap();

    let (mut session, parent) = world.begin_chain(&store, "home");
    assert_eq!(parent.unwrap().id, id("snap"));
    let mut files: Vec<&str> = names[7].1.iter().map(String::as_str).collect();
    files[3] = "changed";
    let mut new_dirs = dirs.clone();
    new_dirs[7] = "dir7'";
    put_all(
        &mut session,
        &[chunk("changed"), tree("dir7'", &files), tree("root'", &new_dirs), snapshot("snap'", "root'")],
    );
    world.sql("UPDATE meta SET epoch = 1");
    drop(world.disk.take_calls());
    commit(&mut session, "snap'", 2).unwrap();
    let calls = world.disk.take_calls();
    let reads = calls.iter().filter(|call| call.verb == "read_at").count();
    assert!(reads <= 24, "{reads} reads for 6 replaced pages and the headers of their packs");
    assert_eq!(
        world.ask::<i64>("SELECT count(*) FROM pack WHERE touched_epoch = 1"),
        2,
        "only the session's own packs are stamped: the parent keeps the others"
    );
    assert_eq!(restore(&store, id("snap'")).len(), 2 + 40 + 1600);
}

#[test]
fn nothing_missing_hides_behind_a_parent() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    session.close(NOW).unwrap();
    let (mut session, parent) = world.begin_chain(&store, "home");
    assert!(parent.is_some());
    put_all(&mut session, &[tree("root2", &["a1", "new"]), snapshot("snap2", "root2")]);
    misses(commit(&mut session, "snap2", 2), &["new"]);
    put_all(&mut session, &[tree("new", &["b1", "deep"])]);
    misses(commit(&mut session, "snap2", 2), &["deep"]);
    session.put(&chunk("deep"), NOW).unwrap();
    commit(&mut session, "snap2", 2).unwrap();
}

#[test]
fn a_parent_in_the_trash_is_a_root_and_a_purged_one_is_not() {
    // Without its parent the commit relies on the pack of chunks itself; its metadata it does not share.
    for (state, stamped) in [(2, 2), (3, 3)] {
        let world = World::new();
        let store = world.open();
        let mut session = world.begin(&store);
        back_up(&mut session, "1", 1);
        session.close(NOW).unwrap();
        let (mut session, _) = world.begin_chain(&store, "home");
        put_all(&mut session, &[tree("root2", &["a1", "b1", "c"]), chunk("c"), snapshot("snap2", "root2")]);
        world.sql(&format!("UPDATE meta SET epoch = 1; UPDATE snapshot SET state = {state};"));
        commit(&mut session, "snap2", 2).unwrap();
        assert_eq!(world.ask::<i64>("SELECT count(*) FROM pack WHERE touched_epoch = 1"), stamped, "state {state}");
    }
}

#[test]
fn a_purged_parent_whose_packs_are_gone_is_noticed() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    session.close(NOW).unwrap();
    let (mut session, _) = world.begin_chain(&store, "home");
    put_all(&mut session, &[tree("root2", &["a1", "b1"]), snapshot("snap2", "root2")]);
    world.sql("UPDATE snapshot SET state = 3; UPDATE pack SET state = 4 WHERE pack <= 2;");
    misses(commit(&mut session, "snap2", 2), &["a1", "b1"]);
}

#[test]
fn a_purged_snapshot_can_be_committed_again() {
    let world = World::new();
    let store = world.open();
    let mut session = world.begin(&store);
    back_up(&mut session, "1", 1);
    world.sql("UPDATE snapshot SET state = 3");
    assert_eq!(commit(&mut session, "snap1", 2).unwrap().seq, 2, "numbers are not used twice");
}

#[test]
fn two_sessions_of_one_vault_share_what_they_sealed() {
    let world = World::new();
    let store = world.open();
    let barrier = Barrier::new(2);
    let run = |chain: &'static str, number: u8| -> ObjectId {
        let (mut session, _) = world.begin_chain(&store, chain);
        for index in 0..200 {
            session.put(&chunk_of(&format!("{chain} {index}"), 300), NOW).unwrap();
        }
        session.put(&chunk(&format!("shared by {chain}")), NOW).unwrap();
        session.flush(NOW).unwrap();
        barrier.wait();
        let edges: Vec<String> = (0..200).map(|index| format!("{chain} {index}")).collect();
        let mut edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        edges.extend(["shared by left", "shared by right"]);
        assert_eq!(session.held(&ids(&edges)).unwrap(), [true; 202]);
        let [root, snap] = ["root", "snap"].map(|name| format!("{name} {chain}"));
        put_all(&mut session, &[tree(&root, &edges), snapshot(&snap, &root)]);
        commit(&mut session, &snap, number).unwrap();
        session.close(NOW).unwrap();
        id(&snap)
    };
    let roots = std::thread::scope(|scope| {
        let left = scope.spawn(|| run("left", 1));
        let right = scope.spawn(|| run("right", 2));
        [left.join().unwrap(), right.join().unwrap()]
    });
    for root in roots {
        assert_eq!(restore(&store, root).len(), 204);
    }
}

#[test]
fn sessions_leave_rows_only_while_they_pin_something() {
    let world = World::new();
    let store = world.open();
    let rows = || world.ask::<i64>("SELECT count(*) FROM session");
    world.begin(&store).close(NOW).unwrap();
    assert_eq!(rows(), 0, "nothing was put");
    let mut cut_off = world.begin(&store);
    cut_off.put(&chunk("a"), NOW).unwrap();
    cut_off.flush(NOW).unwrap();
    drop(cut_off);
    assert_eq!(rows(), 1, "the client may come back");
    let open = world.begin(&store);
    let mut session = world.begin(&store);
    assert_eq!(rows(), 3);
    back_up(&mut session, "1", 1);
    assert_eq!(rows(), 2, "the one that was cut off is superseded, the open one is not");
    session.close(NOW).unwrap();
    assert_eq!(rows(), 1);
    let sweep = store::Sweep {
        sessions_idle_since: MUCH_LATER,
        pins_before: NOW,
        answers_before: NOW,
        enrolments_before: NOW,
        web_sessions_before: (NOW, NOW),
    };
    assert_eq!(store.sweep(&sweep).unwrap(), 0, "open sessions stay");
    drop(open);
    assert_eq!(store.sweep(&sweep).unwrap(), 1);
    let sweep = store::Sweep { answers_before: MUCH_LATER, enrolments_before: MUCH_LATER, ..sweep };
    assert_eq!(store.sweep(&sweep).unwrap(), 2, "one answer, one enrolment");
}

const MUCH_LATER: store::UnixMs = store::UnixMs(NOW.0 + 1_000_000);
