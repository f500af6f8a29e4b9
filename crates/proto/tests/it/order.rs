//! Who may say what when: every message at every place of a conversation.

use proto::*;

use crate::pair::{Pair, Place};
use crate::samples::{client_messages, server_messages};
use crate::{client_frame, received, server_frame};

/// Which messages are allowed where: a row for each message, a column for each of [`Place::ALL`].
const TABLE: &str = "\
Hello          x . . . . . . . . .
Authenticate   . x . . . . . . . .
Enroll         . x . . . . . . . .
OpenVault      . . . x . . . . . .
Begin          . . . . . x . . . .
Held           . . . . . x x x x x
Signatures     . . . . . x x x x x
Put            . . . . . . . x . x
Flush          . . . . . . . x . x
Commit         . . . . . . . x . .
Snapshots      . . . . . x x x x x
Fetch          . . . . . x x x x x
DriveList      . . . . . x x x x x
DriveStat      . . . . . x x x x x
DrivePut       . . . . . . . . . x
DriveRemove    . . . . . . . . . x
Ping           . . . x x x x x x x
Bye            x x x x x x x x x x
SnapshotChange . . . . . x x x x x
DriveTrash     . . . . . x x x x x
DriveUndelete  . . . . . . . . . x
DrillReport    . . . . . x x x x x
Progress       . . . . . . . x . .
";

/// Every message, every place, and whether the one is allowed at the other.
fn cases() -> Vec<(ClientMessage, Place, bool)> {
    let mut cases = Vec::new();
    assert_eq!(TABLE.lines().count(), client_messages().len());
    for (message, row) in client_messages().into_iter().zip(TABLE.lines()) {
        let (name, marks) = row.split_once(' ').unwrap();
        assert_eq!(message.message_type().to_string(), name);
        let marks: Vec<_> = marks.split_whitespace().collect();
        assert_eq!(marks.len(), Place::ALL.len());
        let places = Place::ALL.into_iter().zip(marks);
        cases.extend(places.map(|(place, mark)| (message.clone(), place, mark == "x")));
    }
    cases
}

fn stream_of(message: &ClientMessage) -> u32 {
    match message {
        ClientMessage::Hello(_) | ClientMessage::Request(_) => 1000,
        ClientMessage::Put(_) | ClientMessage::Progress(_) | ClientMessage::Ping | ClientMessage::Bye => 0,
    }
}

/// The one frame that tells the client, and the end.
#[track_caller]
fn assert_refused(server: &mut ServerExchange, now: std::time::Instant) -> Breach {
    let Some(ServerAction::Send(failed)) = server.poll_action() else { panic!("the client is told") };
    let failed = received(failed);
    assert_eq!(failed.stream, StreamId::CONNECTION);
    let Ok(ServerMessage::Failed(failure)) = ServerMessage::decode(failed) else { panic!("by a failure") };
    assert_eq!(failure.code(), FailCode::Protocol);
    let Some(ServerAction::Close(CloseReason::Violation(violation))) = server.poll_action() else {
        panic!("the connection ends")
    };
    assert_eq!(violation.side, Side::Client);
    assert!(server.is_closed() && server.poll_deadline().is_none());
    server.on_frame(client_frame(&ClientMessage::Bye, 0), now);
    server.on_tick(now + std::time::Duration::from_secs(1000));
    server.fail(Failure::new(FailCode::Internal, "too late"));
    assert!(server.poll_action().is_none(), "nothing follows the end");
    violation.breach
}

#[test]
fn the_server_refuses_what_is_out_of_order() {
    for (message, place, is_allowed) in cases() {
        let mut pair = Pair::at(place);
        pair.server.on_frame(client_frame(&message, stream_of(&message)), pair.now);
        if is_allowed {
            let wants = std::iter::from_fn(|| pair.server.poll_action()).collect::<Vec<_>>();
            let is_refused = wants.iter().any(|want| matches!(want, ServerAction::Close(CloseReason::Violation(_))));
            assert!(!is_refused && !wants.is_empty(), "{} at {place:?}: {wants:?}", message.message_type());
            continue;
        }
        let breach = assert_refused(&mut pair.server, pair.now);
        let is_out_of_order = matches!(&breach, Breach::WrongState { message_type, .. }
            if *message_type == message.message_type());
        assert!(is_out_of_order, "{} at {place:?}: {breach}", message.message_type());
    }
}

#[test]
fn the_client_does_not_say_what_is_out_of_order() {
    for (message, place, is_allowed) in cases() {
        let mut pair = Pair::at(place);
        while pair.client.poll_send().is_some() {}
        let said = match &message {
            ClientMessage::Hello(_) | ClientMessage::Ping => continue,
            ClientMessage::Request(request) => pair.client.request(request, pair.now).map(|_| ()),
            ClientMessage::Put(records) => pair.client.put(records, pair.now).map(|_| ()),
            ClientMessage::Progress(progress) => pair.client.tell(*progress, pair.now),
            ClientMessage::Bye => pair.client.bye(pair.now),
        };
        assert_eq!(pair.client.poll_send().is_some(), is_allowed);
        match said {
            Ok(()) => assert!(is_allowed, "{} at {place:?}", message.message_type()),
            Err(RequestError::WrongState { message_type, .. }) => {
                assert!(!is_allowed && message_type == message.message_type(), "{message_type} at {place:?}");
            }
            Err(other) => panic!("{} at {place:?}: {other}", message.message_type()),
        }
    }
}

/// Whatever the client allows itself, the server takes; and only the server's own frames are its to send.
#[test]
fn each_side_sends_its_own_messages_only() {
    for place in Place::ALL {
        for message in server_messages() {
            let mut pair = Pair::at(place);
            pair.server.on_frame(server_frame(&message, 1000), pair.now);
            let breach = assert_refused(&mut pair.server, pair.now);
            assert!(matches!(breach, Breach::Message(_)), "{breach}");
        }
        for message in client_messages() {
            let mut pair = Pair::at(place);
            let violation = pair.client.on_frame(client_frame(&message, 0), pair.now).unwrap_err();
            assert_eq!(violation.side, Side::Server);
            assert!(matches!(violation.breach, Breach::Message(_)), "{}", violation.breach);
        }
    }
}

/// No reply fits where nothing was asked for; what is the connection's own fits only where it means something.
#[test]
fn the_client_refuses_what_it_did_not_ask_for() {
    for place in Place::ALL {
        for message in server_messages() {
            for stream in [0, 1, 1000] {
                let mut pair = Pair::at(place);
                let in_session = matches!(place, Place::Backup | Place::Committing | Place::Drive);
                if in_session && place != Place::Committing {
                    pair.client.put(&[crate::samples::record(crate::samples::id(9), b"")], pair.now).unwrap();
                }
                let is_welcome = message.message_type() == MessageType::Welcome;
                let is_end = message.message_type() == MessageType::Failed && stream == 0;
                let is_refusal = message.message_type() == MessageType::Refused && stream == 0;
                let is_allowed = is_end
                    || is_welcome && place == Place::BeforeHello && stream == 1
                    || is_refusal && in_session && place != Place::Committing;
                let event = pair.client.on_frame(server_frame(&message, stream), pair.now);
                assert_eq!(event.is_ok(), is_allowed, "{} at {place:?} on {stream}", message.message_type());
                assert_eq!(pair.client.is_closed(), !is_allowed || is_end);
                if let Err(violation) = event {
                    assert_eq!(violation.side, Side::Server);
                    let after = pair.client.on_frame(server_frame(&message, stream), pair.now);
                    assert!(matches!(after, Ok(None)));
                    assert!(matches!(pair.client.bye(pair.now), Err(RequestError::Closed)));
                    assert!(pair.client.poll_deadline().is_none());
                }
            }
        }
    }
}
