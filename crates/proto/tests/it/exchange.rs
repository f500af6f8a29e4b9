//! What the two exchanges do beyond order: limits, watermarks, answers that do not fit, deadlines, greetings.

use std::time::Duration;

use bytes::Bytes;
use object::{ObjectId, VaultId};
use proto::limits::*;
use proto::*;

use crate::pair::{Pair, Place};
use crate::samples::*;
use crate::{client_frame, received, server_frame};

fn held(count: usize) -> ClientRequest {
    ClientRequest::Held(Ids::new(Bytes::from(vec![7; 32 * count])).unwrap())
}

fn nothing_held(count: usize) -> ServerReply {
    ServerReply::HeldAnswer((0..count).map(|_| false).collect())
}

/// Why the server ended the connection, after one `Failed` on stream 0.
#[track_caller]
fn closed(server: &mut ServerExchange) -> (FailCode, CloseReason) {
    let mut actions: Vec<_> = std::iter::from_fn(|| server.poll_action()).collect();
    let Some(ServerAction::Close(reason)) = actions.pop() else { panic!("the connection ends: {actions:?}") };
    let Some(ServerAction::Send(failed)) = actions.pop() else { panic!("the client is told") };
    let failed = received(failed);
    assert_eq!(failed.stream, StreamId::CONNECTION);
    let Ok(ServerMessage::Failed(failure)) = ServerMessage::decode(failed) else { panic!("by a failure") };
    for action in actions {
        let ServerAction::Send(frame) = action else { continue };
        assert_ne!(frame.message_type(), MessageType::Failed, "it is told once");
    }
    (failure.code(), reason)
}

#[track_caller]
fn breach(server: &mut ServerExchange) -> Breach {
    match closed(server) {
        (FailCode::Protocol, CloseReason::Violation(Violation { side: Side::Client, breach, .. })) => breach,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backup_goes_through() {
    let mut pair = Pair::at(Place::Backup);
    let first = [record(id(1), b"one"), record(id(2), b"two")];
    assert_eq!(pair.client.put(&first, pair.now).unwrap(), 2);
    assert_eq!(pair.client.put(&[delta_record(id(3), id(1), b"three")], pair.now).unwrap(), 3);
    pair.pump();
    let flush = pair.client.request(&ClientRequest::Flush, pair.now).unwrap();
    pair.pump();
    let wants: Vec<_> = pair.wants.drain(..).collect();
    let [
        ServerAction::Store { session: s1, first_record_number: 1, records: r1 },
        ServerAction::Store { session: s2, first_record_number: 3, records: r2 },
        ServerAction::Ask { stream, request: ClientRequest::Flush, record_count: 3 },
    ] = &wants[..]
    else {
        panic!("{wants:?}")
    };
    assert_eq!((*s1, *s2, *stream), (session(), session(), flush));
    assert_eq!((pair.server.session(), pair.server.open_request_count()), (Some(session()), 1));
    let stored: Vec<_> = r1.iter().chain(r2).map(|record| record.view().head().members().next().unwrap().id).collect();
    assert_eq!(stored, [id(1), id(2), id(3)]);

    pair.server.on_durable(session(), 2).unwrap();
    pair.server.on_durable(session(), 2).unwrap();
    pair.server.on_durable(session(), 1).unwrap();
    pair.server.on_refused(session(), ids([3])).unwrap();
    pair.answer(flush, Ok(ServerReply::Flushed(3)));
    assert_eq!(pair.events[..2], [ClientEvent::Durable(2), ClientEvent::Refused(ids([3]))]);
    assert_eq!(pair.events[2..], [ClientEvent::Reply { stream: flush, reply: ServerReply::Flushed(3) }]);
    assert_eq!((pair.client.sent_records(), pair.client.durable_records()), (3, 3));

    let stream = pair.ask(&commit());
    pair.answer(stream, Err(Failure::missing("one is missing", ids([3])).unwrap()));
    assert!(matches!(&pair.events[3], ClientEvent::Failed { failure, .. } if failure.missing_ids() == &ids([3])));
    assert_eq!(pair.client.put(&[record(id(3), b"3333")], pair.now).unwrap(), 4);
    let stream = pair.ask(&commit());
    pair.answer(stream, Ok(committed()));
    assert_eq!((pair.client.sent_records(), pair.server.session()), (0, None));
    // What a slow disk says after the end is of no interest, nor is it of the next session.
    pair.server.on_durable(session(), 4).unwrap();
    let stream = pair.ask(&begin_drive());
    let reply = ServerReply::Begun(Begun { session: SessionId::from_bytes([1; 16]), parent: None });
    pair.answer(stream, Ok(reply));
    pair.server.on_durable(session(), 4).unwrap();
    pair.server.on_refused(session(), ids([1])).unwrap();
    assert!(pair.server.poll_action().is_none());

    pair.client.bye(pair.now).unwrap();
    pair.pump();
    assert!(matches!(pair.wants.last(), Some(ServerAction::Close(CloseReason::Bye))));
}

#[test]
fn records_are_put_in_frames_of_a_middling_size() {
    let mut pair = Pair::at(Place::Backup);
    let long = vec![1; 3 << 20];
    let records: Vec<_> = (0..40).map(|i| record(id(i), if i == 20 { &long } else { &long[..100_000] })).collect();
    assert_eq!(pair.client.put(&records, pair.now).unwrap(), 40);
    assert_eq!(pair.client.put(&[], pair.now).unwrap(), 40);
    let frames: Vec<_> = std::iter::from_fn(|| pair.client.poll_send()).collect();
    assert_eq!(frames.len(), 5);
    let mut next = 1;
    for frame in frames {
        assert!(frame.payload_len() <= PUT_LEN_TARGET + 5 || frame.payload_len() > long.len());
        pair.server.on_frame(received(frame), pair.now);
        match pair.server.poll_action() {
            Some(ServerAction::Store { first_record_number, records, .. }) => {
                assert_eq!(first_record_number, next);
                next += records.len() as u64;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, 41);
    pair.server.on_frame(client_frame(&ClientMessage::Put(vec![]), 0), pair.now);
    assert!(pair.server.poll_action().is_none(), "no records, nothing to store");
}

#[test]
fn watermarks_grow_and_stay_below_what_was_sent() {
    let mut pair = Pair::at(Place::Backup);
    pair.client.put(&[record(id(1), b""), record(id(2), b"")], pair.now).unwrap();
    pair.pump();
    assert!(matches!(pair.server.on_durable(session(), 3), Err(AnswerError::Count(Breach::Durable { .. }))));
    assert!(matches!(pair.server.on_refused(session(), ids([1, 2, 3])), Err(AnswerError::Count(_))));
    assert!(pair.server.poll_action().is_none());
    for (numbers, is_sound) in
        [(&[1, 2][..], true), (&[2], true), (&[0], false), (&[3], false), (&[1, 1], false), (&[2, 1], false)]
    {
        let mut pair = Pair::at(Place::Backup);
        pair.client.put(&[record(id(1), b""), record(id(2), b"")], pair.now).unwrap();
        let told: Vec<_> = numbers
            .iter()
            .map(|number| pair.client.on_frame(server_frame(&ServerMessage::Durable(*number), 0), pair.now))
            .collect();
        assert_eq!(told.iter().all(Result::is_ok), is_sound, "{numbers:?}");
    }
    let refused = server_frame(&ServerMessage::Refused(ids([1, 2])), 0);
    assert!(pair.client.on_frame(refused, pair.now).is_ok());
    let refused = server_frame(&ServerMessage::Refused(ids([1])), 0);
    assert!(matches!(pair.client.on_frame(refused, pair.now).unwrap_err().breach, Breach::Refused { .. }));
}

/// The client stops itself at exactly the number the server would stop it at.
#[test]
fn unanswered_requests_are_limited() {
    let mut pair = Pair::at(Place::NoSession);
    let streams: Vec<_> = (0..REQUEST_COUNT_MAX).map(|_| pair.ask(&held(1))).collect();
    let refused = pair.client.request(&held(1), pair.now);
    assert!(matches!(refused, Err(RequestError::TooMuchAtOnce(_))), "{refused:?}");
    pair.answer(streams[9], Ok(nothing_held(1)));
    pair.ask(&held(1));
    let next = streams[0].number() + 1000;
    pair.server.on_frame(client_frame(&ClientMessage::Request(held(1)), next), pair.now);
    assert!(matches!(breach(&mut pair.server), Breach::TooMuchAtOnce(_)));
}

#[test]
fn bytes_of_unanswered_requests_are_limited() {
    let mut pair = Pair::at(Place::NoSession);
    let streams: Vec<_> = (0..8).map(|_| pair.ask(&held(HELD_ID_COUNT_MAX))).collect();
    assert!(matches!(pair.client.request(&held(1), pair.now), Err(RequestError::TooMuchAtOnce(_))));
    pair.answer(streams[0], Ok(nothing_held(HELD_ID_COUNT_MAX)));
    pair.ask(&held(1));
    let too_much = ClientMessage::Request(held(HELD_ID_COUNT_MAX));
    pair.server.on_frame(client_frame(&too_much, 1000), pair.now);
    assert!(matches!(breach(&mut pair.server), Breach::TooMuchAtOnce(_)));
}

#[test]
fn bytes_of_unanswered_signatures_are_limited() {
    let mut pair = Pair::at(Place::NoSession);
    let all_cells = SignatureRequest::new(id(1), 9, 2, 0, vec![]).unwrap();
    let request = ClientRequest::Signatures(vec![all_cells; SIGNATURE_ANSWER_LEN_MAX / (8194 * 6 + 16)]);
    let streams: Vec<_> = (0..4).map(|_| pair.ask(&request)).collect();
    assert!(matches!(pair.client.request(&request, pair.now), Err(RequestError::TooMuchAtOnce(_))));
    pair.answer(streams[3], Err(Failure::new(FailCode::Busy, "later")));
    pair.ask(&request);
    pair.server.on_frame(client_frame(&ClientMessage::Request(request), 1000), pair.now);
    assert!(matches!(breach(&mut pair.server), Breach::TooMuchAtOnce(_)));
}

#[test]
fn streams_only_go_up() {
    let mut pair = Pair::at(Place::NoSession);
    let stream = pair.ask(&held(1)).number();
    for used in [0, stream - 1, stream] {
        let mut pair = Pair::at(Place::NoSession);
        pair.ask(&held(1));
        pair.server.on_frame(client_frame(&ClientMessage::Request(held(1)), used), pair.now);
        assert!(matches!(breach(&mut pair.server), Breach::WrongStream { .. }));
    }
    let progress = ClientMessage::Progress(BackupProgress::default());
    for message in [ClientMessage::Put(vec![]), progress, ClientMessage::Ping, ClientMessage::Bye] {
        let mut pair = Pair::at(Place::Backup);
        pair.server.on_frame(client_frame(&message, 1000), pair.now);
        assert!(matches!(breach(&mut pair.server), Breach::WrongStream { .. }));
    }
    let mut pair = Pair::at(Place::NoSession);
    pair.server.on_frame(client_frame(&ClientMessage::Request(held(1)), u32::MAX), pair.now);
    assert!(matches!(pair.server.poll_action(), Some(ServerAction::Ask { .. })));
}

/// A server that does not know of it is not told; one that does hands it on.
#[test]
fn progress_is_told_to_those_who_know_of_it() {
    let progress = backup_progress();
    for capabilities in [Capabilities::NONE, Capabilities::PROGRESS] {
        let mut pair = Pair::new();
        let mut config = ServerConfig::new(SoftwareName::lossy("server"));
        config.capabilities = capabilities;
        pair.server = ServerExchange::new(config, pair.now, 1_700_000_000_000);
        let mut pair = pair.in_backup();
        pair.client.tell(progress, pair.now).unwrap();
        pair.pump();
        let told = pair.wants.iter().any(|want| matches!(want, ServerAction::Show(said) if *said == progress));
        assert_eq!(told, capabilities == Capabilities::PROGRESS);
    }
}

/// Answers in any order, each to its own request.
#[test]
fn answers_find_their_requests() {
    let mut pair = Pair::at(Place::NoSession);
    let streams: Vec<_> = (1..=5).map(|count| pair.ask(&held(count))).collect();
    for index in [3, 0, 4, 1, 2] {
        pair.answer(streams[index], Ok(nothing_held(index + 1)));
    }
    let order: Vec<_> = pair
        .events
        .iter()
        .map(|event| match event {
            ClientEvent::Reply { stream, reply: ServerReply::HeldAnswer(answer) } => (*stream, answer.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [3, 0, 4, 1, 2].map(|index| (streams[index], index + 1)));
    assert_eq!((pair.client.open_request_count(), pair.server.open_request_count()), (0, 0));
}

/// For each request: answers that fit, and answers that do not. The server does not let the latter out, and the client
/// does not let them in.
#[test]
fn only_fitting_answers_pass() {
    let list = |after, limit| ClientRequest::DriveList(DriveList { path: DrivePath::ROOT, after, limit });
    let entries = |names: &[&'static str], more| {
        let entries = names.iter().map(|name| drive_file(name)).collect();
        ServerReply::DriveEntries(DriveEntries { entries, more })
    };
    let root = DriveEntry { name: None, ..drive_dir("x") };
    let root = || ServerReply::DriveEntries(DriveEntries { entries: vec![root.clone()], more: false });
    let snapshots = |before, limit| ClientRequest::Snapshots(Snapshots { chain: None, before, limit, in_trash: false });
    let snapshot_list = |seqs: &[u64], next| {
        let items = seqs.iter().map(|seq| snapshot_item(*seq)).collect();
        ServerReply::SnapshotsAnswer(SnapshotsAnswer { items, next })
    };
    let trashed = |numbers: &[u64], next| {
        let items = numbers.iter().map(|number| trashed_item(*number)).collect();
        ServerReply::DriveTrashed(DriveTrashed { items, next })
    };
    let fetch = |count, with_basis| {
        let ids = (0..count).map(|_| id(1)).collect();
        ClientRequest::Fetch(Fetch { ids, with_basis })
    };
    let part = |record_count: u8, missing: &[u32], last| {
        let records = (0..record_count).map(|i| record(id(i), b"")).collect();
        ServerReply::Objects(Objects { records, missing: missing.to_vec(), last })
    };
    let parent = Some(Parent { snapshot: id(1), seq: 1, received_ms: 1 });
    let begun = |parent| ServerReply::Begun(Begun { session: session(), parent });
    let signatures =
        |lens: &[usize]| ServerReply::SignaturesAnswer(lens.iter().map(|len| Bytes::from(vec![0; *len])).collect());
    let one_cell = SignatureRequest::new(id(1), 9, 2, 0, vec![SignatureRange::new(0, 512).unwrap()]).unwrap();
    let cell_len = one_cell.answer_len_max();
    let two_cells = ClientRequest::Signatures(vec![one_cell.clone(), one_cell]);
    let vault = |byte| VaultId::from_bytes([byte; 16]);

    let cases: Vec<(Place, ClientRequest, Vec<ServerReply>, Vec<ServerReply>)> = vec![
        (Place::BeforeAuth, authenticate(), vec![authenticated()], vec![enrolled(), vault_opened()]),
        (Place::BeforeAuth, enroll(), vec![enrolled()], vec![authenticated()]),
        (
            Place::BeforeVault,
            ClientRequest::OpenVault(None),
            vec![vault_opened(), sealed_vault_opened()],
            vec![begun(None)],
        ),
        (Place::BeforeVault, ClientRequest::OpenVault(Some(vault(0xaa))), vec![vault_opened()], vec![]),
        (Place::BeforeVault, ClientRequest::OpenVault(Some(vault(0xab))), vec![], vec![vault_opened()]),
        (Place::NoSession, begin_backup(), vec![begun(None), begun(parent)], vec![committed()]),
        (Place::NoSession, begin_drive(), vec![begun(None)], vec![begun(parent)]),
        (
            Place::NoSession,
            held(3),
            vec![nothing_held(3)],
            vec![nothing_held(2), nothing_held(4), ServerReply::Flushed(0)],
        ),
        (
            Place::NoSession,
            two_cells,
            vec![signatures(&[cell_len, 0])],
            vec![signatures(&[cell_len + 1, 0]), signatures(&[1]), signatures(&[1, 1, 1])],
        ),
        (
            Place::Backup,
            ClientRequest::Flush,
            vec![ServerReply::Flushed(0)],
            vec![ServerReply::Flushed(1), committed()],
        ),
        (Place::Backup, commit(), vec![committed()], vec![drive_committed()]),
        (
            Place::NoSession,
            snapshots(Some(10), 2),
            vec![
                snapshot_list(&[], None),
                snapshot_list(&[], Some(9)),
                snapshot_list(&[9, 7], Some(7)),
                snapshot_list(&[9, 7], Some(3)),
            ],
            vec![
                snapshot_list(&[10], None),
                snapshot_list(&[7, 9], None),
                snapshot_list(&[9, 9], None),
                snapshot_list(&[9, 8, 7], None),
                snapshot_list(&[9, 7], Some(8)),
                snapshot_list(&[], Some(10)),
            ],
        ),
        (
            Place::NoSession,
            snapshots(None, 2),
            vec![snapshot_list(&[u64::MAX], Some(5))],
            vec![snapshot_list(&[], Some(5))],
        ),
        (
            Place::NoSession,
            fetch(2, false),
            vec![part(2, &[], true), part(0, &[0, 1], true), part(1, &[], false), part(0, &[], true)],
            vec![part(3, &[], true), part(0, &[2], true), part(0, &[0, 1, 1], true), part(0, &[], false)],
        ),
        (Place::NoSession, fetch(2, true), vec![part(18, &[], true)], vec![part(19, &[], true)]),
        (
            Place::NoSession,
            list(Some(name("b")), 2),
            vec![entries(&[], false), entries(&["c", "d"], true)],
            vec![
                entries(&["b"], false),
                entries(&["d", "c"], false),
                entries(&["c", "c"], false),
                entries(&["c", "d", "e"], false),
                entries(&[], true),
                root(),
            ],
        ),
        (
            Place::NoSession,
            ClientRequest::DriveStat(path("a/b")),
            vec![entries(&["b"], false)],
            vec![
                entries(&["a"], false),
                entries(&["b"], true),
                entries(&[], false),
                entries(&["b", "c"], false),
                root(),
            ],
        ),
        (Place::NoSession, ClientRequest::DriveStat(DrivePath::ROOT), vec![root()], vec![entries(&["b"], false)]),
        (Place::Drive, drive_put(), vec![drive_committed()], vec![committed()]),
        (Place::Drive, drive_remove(), vec![drive_committed()], vec![committed()]),
        (Place::Drive, drive_undelete(), vec![drive_committed()], vec![changed(1)]),
        (Place::Backup, snapshot_change(), vec![changed(0), changed(2)], vec![changed(3), committed()]),
        (Place::NoSession, drill_report(), vec![changed(0), changed(1)], vec![changed(2), drive_committed()]),
        (
            Place::NoSession,
            ClientRequest::DriveTrash(DriveTrash { before: Some(10), limit: 2 }),
            vec![trashed(&[], None), trashed(&[9, 7], Some(7))],
            vec![trashed(&[10], None), trashed(&[7, 9], None), trashed(&[9, 8, 7], None), trashed(&[9], Some(10))],
        ),
    ];
    for (place, request, fitting, unfitting) in cases {
        for reply in fitting {
            let mut pair = Pair::at(place);
            let stream = pair.ask(&request);
            pair.answer(stream, Ok(reply.clone()));
            assert_eq!(pair.events, [ClientEvent::Reply { stream, reply }]);
        }
        for reply in unfitting {
            let mut pair = Pair::at(place);
            let stream = pair.ask(&request);
            let refused = pair.server.on_answer(stream, Ok(reply.clone()));
            assert!(matches!(refused, Err(AnswerError::Fault(_))), "{request:?}: {reply:?}");
            assert!(pair.server.poll_action().is_none());
            assert_eq!(pair.server.open_request_count(), 1);
            let frame = received(reply.encode(stream).unwrap());
            let violation = pair.client.on_frame(frame, pair.now).unwrap_err();
            assert!(matches!(violation.breach, Breach::Reply(_)), "{request:?}: {reply:?}");
        }
        let mut pair = Pair::at(place);
        let stream = pair.ask(&request);
        let failure = Failure::missing("", ids([1])).unwrap();
        let may_miss = matches!(request, ClientRequest::Commit(_) | ClientRequest::DrivePut(_));
        assert_eq!(pair.server.on_answer(stream, Err(failure)).is_ok(), may_miss, "{request:?}");
    }
}

#[test]
fn objects_come_in_parts() {
    let mut pair = Pair::at(Place::NoSession);
    let request = ClientRequest::Fetch(Fetch { ids: ids(0..3), with_basis: false });
    let part = |seeds: std::ops::Range<u8>, missing: &[u32], last| {
        let records = seeds.map(|seed| record(id(seed), b"")).collect();
        ServerReply::Objects(Objects { records, missing: missing.to_vec(), last })
    };
    let stream = pair.ask(&request);
    pair.answer(stream, Ok(part(0..1, &[], false)));
    pair.answer(stream, Ok(part(1..2, &[2], false)));
    assert_eq!(pair.client.open_request_count(), 1);
    // All parts together bring no more than was asked for.
    for (records, missing) in [(0..2, &[][..]), (0..0, &[0, 1, 2])] {
        let refused = pair.server.on_answer(stream, Ok(part(records, missing, true)));
        assert!(matches!(refused, Err(AnswerError::Fault(ReplyFault::Rule { .. }))), "{refused:?}");
    }
    pair.answer(stream, Ok(part(0..0, &[], true)));
    assert_eq!((pair.events.len(), pair.client.open_request_count(), pair.server.open_request_count()), (3, 0, 0));
    let refused = pair.server.on_answer(stream, Ok(part(0..0, &[], true)));
    assert!(matches!(refused, Err(AnswerError::Fault(ReplyFault::Unsolicited { .. }))), "{refused:?}");

    let stream = pair.ask(&request);
    pair.answer(stream, Ok(part(0..1, &[], false)));
    pair.answer(stream, Err(Failure::new(FailCode::Integrity, "a pack is damaged")));
    assert!(matches!(pair.events.last(), Some(ClientEvent::Failed { .. })));
    assert_eq!((pair.client.open_request_count(), pair.server.open_request_count()), (0, 0));
}

#[test]
fn failures_leave_the_conversation_where_it_was() {
    let failure = || Failure::new(FailCode::NotFound, "there is none");
    for (place, request, again) in [
        (Place::BeforeVault, ClientRequest::OpenVault(None), ClientRequest::OpenVault(None)),
        (Place::NoSession, begin_backup(), begin_drive()),
        (Place::Backup, commit(), ClientRequest::Flush),
        (Place::Drive, drive_put(), drive_put()),
        (Place::Backup, ClientRequest::Flush, commit()),
    ] {
        let mut pair = Pair::at(place);
        let stream = pair.ask(&request);
        pair.answer(stream, Err(failure()));
        assert_eq!(pair.events, [ClientEvent::Failed { stream, failure: failure() }]);
        pair.ask(&again);
    }
    for request in [authenticate(), enroll()] {
        let mut pair = Pair::at(Place::BeforeAuth);
        let stream = pair.ask(&request);
        pair.answer(stream, Err(Failure::new(FailCode::Authentication, "unknown device")));
        assert!(
            matches!(&pair.events[..], [ClientEvent::Closed(failure)] if failure.code() == FailCode::Authentication)
        );
        assert!(pair.client.is_closed() && pair.server.is_closed());
        assert!(matches!(pair.wants.last(), Some(ServerAction::Close(CloseReason::Failed(_)))));
        assert!(pair.server.on_answer(stream, Ok(authenticated())).is_ok(), "nothing is said to a closed connection");
        assert!(pair.server.poll_action().is_none());
    }
}

/// An answer that is too long for its frame is the driver's to make shorter.
#[test]
fn an_answer_beyond_the_limits_is_given_back() {
    let mut pair = Pair::at(Place::NoSession);
    let stream = pair.ask(&ClientRequest::Fetch(Fetch { ids: ids(0..50), with_basis: false }));
    let long = vec![0; 1 << 20];
    let reply = |count, last| {
        let records = (0..count).map(|i| record(id(i), &long)).collect();
        Ok(ServerReply::Objects(Objects { records, missing: vec![], last }))
    };
    assert!(matches!(pair.server.on_answer(stream, reply(17, true)), Err(AnswerError::Encode(_))));
    pair.answer(stream, reply(10, false));
    pair.answer(stream, reply(7, true));
    assert_eq!(pair.events.len(), 2);
}

#[test]
fn greetings_agree_on_a_version() {
    let range = |min, max| VersionRange::new(min, max).unwrap();
    for (client_versions, server_versions, agreed) in [
        (range(1, 1), range(1, 1), Some(1)),
        (range(1, 5), range(2, 3), Some(3)),
        (range(2, 3), range(1, 5), Some(3)),
        (range(1, 2), range(3, 4), None),
        (range(3, 4), range(1, 2), None),
    ] {
        let mut pair = Pair::new();
        let mut client = ClientConfig::new(SoftwareName::lossy("c"));
        (client.versions, client.capabilities) = (client_versions, Capabilities::from_bits(0b011));
        let mut server = ServerConfig::new(SoftwareName::lossy("s"));
        (server.versions, server.capabilities) = (server_versions, Capabilities::from_bits(0b110));
        pair.client = ClientExchange::new(client, pair.now);
        pair.server = ServerExchange::new(server, pair.now, 5000);
        pair.now += Duration::from_millis(1234);
        pair.pump();
        let negotiated = agreed.map(|version| Negotiated { version, capabilities: Capabilities::from_bits(0b010) });
        assert_eq!((pair.client.negotiated(), pair.server.negotiated()), (negotiated, negotiated));
        match (&pair.events[..], agreed) {
            ([ClientEvent::Welcome(welcome)], Some(version)) => {
                assert_eq!((welcome.version, welcome.server_time_ms), (version, 6234));
            }
            ([ClientEvent::Closed(failure)], None) => assert_eq!(failure.code(), FailCode::Version),
            other => panic!("{other:?}"),
        }
    }
    let mut pair = Pair::at(Place::BeforeHello);
    let ServerMessage::Welcome(welcome) = welcome() else { unreachable!() };
    let unasked = ServerMessage::Welcome(Welcome { version: 2, ..welcome });
    let violation = pair.client.on_frame(server_frame(&unasked, 1), pair.now).unwrap_err();
    assert!(matches!(violation.breach, Breach::Version { version: 2, .. }));
}

/// One deadline for everything up to authentication: bytes do not move it.
#[test]
fn authentication_has_one_deadline() {
    for place in [Place::BeforeHello, Place::BeforeAuth, Place::Authenticating] {
        let mut pair = Pair::at(place);
        let deadline = pair.server.poll_deadline().unwrap();
        assert_eq!(deadline, pair.now + AUTH_TIMEOUT);
        assert_eq!(pair.server.frame_phase(), FramePhase::BeforeAuth);
        pair.server.on_progress(deadline - Duration::from_millis(1));
        pair.server.on_tick(deadline - Duration::from_millis(1));
        assert!(!pair.server.is_closed());
        pair.server.on_tick(deadline);
        let (code, reason) = closed(&mut pair.server);
        assert_eq!(code, FailCode::Timeout);
        assert!(matches!(reason, CloseReason::Failed(_)));
    }
}

#[test]
fn silence_ends_both_sides_and_pings_break_it() {
    for place in [Place::BeforeVault, Place::NoSession, Place::Backup, Place::Committing] {
        let mut pair = Pair::at(place);
        let start = pair.now;
        assert_eq!(pair.server.poll_deadline(), Some(start + IDLE_TIMEOUT));
        assert_eq!(pair.client.poll_deadline(), Some(start + PING_INTERVAL));
        assert_eq!(pair.client.frame_phase(), FramePhase::AfterAuth);
        // For an hour nothing happens but pings.
        for _ in 0..180 {
            pair.now = pair.client.poll_deadline().unwrap();
            pair.client.on_tick(pair.now).unwrap();
            pair.server.on_tick(pair.now);
            pair.pump();
        }
        assert_eq!(pair.now, start + 180 * PING_INTERVAL);
        // Then the server is gone.
        pair.now += PING_INTERVAL;
        pair.client.on_tick(pair.now).unwrap();
        assert_eq!(pair.client.poll_send().unwrap().message_type(), MessageType::Ping);
        let silent_at = start + 180 * PING_INTERVAL + SILENCE_TIMEOUT;
        assert_eq!(pair.client.poll_deadline(), Some(silent_at), "one ping at a time");
        pair.client.on_tick(silent_at - Duration::from_millis(1)).unwrap();
        // Bytes that trickle, or are taken, are as good as frames.
        pair.client.on_progress(silent_at - Duration::from_millis(1));
        pair.client.on_tick(silent_at).unwrap();
        let silent_at = silent_at - Duration::from_millis(1) + SILENCE_TIMEOUT;
        let silent = pair.client.on_tick(silent_at).unwrap_err();
        assert_eq!(silent, ServerSilent { silence: SILENCE_TIMEOUT });
        assert!(pair.client.is_closed() && pair.client.on_tick(silent_at).is_ok());
        // And so is the client.
        let idle_at = pair.server.poll_deadline().unwrap();
        pair.server.on_progress(idle_at);
        pair.server.on_tick(idle_at);
        assert!(!pair.server.is_closed());
        pair.server.on_tick(idle_at + IDLE_TIMEOUT);
        assert_eq!(closed(&mut pair.server).0, FailCode::Timeout);
    }
    // Before authentication a client does not ping, but gives up all the same.
    let mut pair = Pair::at(Place::BeforeAuth);
    assert_eq!(pair.client.poll_deadline(), Some(pair.now + SILENCE_TIMEOUT));
    assert!(pair.client.on_tick(pair.now + SILENCE_TIMEOUT).is_err());
}

#[test]
fn broken_frames_end_the_connection() {
    let mut pair = Pair::at(Place::Backup);
    pair.client.put(&[record(id(1), b"kept")], pair.now).unwrap();
    let put = received(pair.client.poll_send().unwrap());
    pair.server.on_frame(put, pair.now);
    pair.server.on_frame_error(FrameError::Checksum);
    assert!(matches!(pair.server.poll_action(), Some(ServerAction::Store { .. })), "what came before is kept");
    assert!(matches!(breach(&mut pair.server), Breach::Frame(FrameError::Checksum)));
    pair.server.on_frame_error(FrameError::Checksum);
    assert!(pair.server.poll_action().is_none());

    for lost in [FrameError::Truncated, FrameError::Io(std::io::ErrorKind::ConnectionReset.into())] {
        let mut pair = Pair::at(Place::Backup);
        pair.server.on_frame_error(lost);
        assert!(matches!(pair.server.poll_action(), Some(ServerAction::Close(CloseReason::Lost(_)))));
        assert!(pair.server.poll_action().is_none(), "nobody is there to be told");
    }

    let mut pair = Pair::at(Place::Backup);
    pair.server.fail(Failure::new(FailCode::ShuttingDown, "the server stops"));
    pair.pump();
    assert!(matches!(&pair.events[..], [ClientEvent::Closed(failure)] if failure.is_transient()));
}

/// Errors say who and what, each level once.
#[test]
fn errors_are_chains() {
    let mut pair = Pair::at(Place::BeforeAuth);
    pair.server.on_frame(client_frame(&ClientMessage::Request(held(1)), 7), pair.now);
    let (_, CloseReason::Violation(violation)) = closed(&mut pair.server) else { panic!("it is a violation") };
    assert_eq!(chain_of(&violation), ["the client broke the protocol", "Held is not allowed before authentication"]);
    let mut pair = Pair::at(Place::NoSession);
    let mut frame = client_frame(&ClientMessage::Request(held(1)), 7);
    frame.body = Bytes::from_static(&[0; ObjectId::LEN + 1]);
    pair.server.on_frame(frame, pair.now);
    let (_, CloseReason::Violation(violation)) = closed(&mut pair.server) else { panic!("it is a violation") };
    let expected = ["the client broke the protocol", "Held is malformed", "it breaks the rule: ids have 32 bytes each"];
    assert_eq!(chain_of(&violation), expected);
}

fn chain_of(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}
