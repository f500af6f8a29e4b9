//! Two exchanges that talk to each other without a link: every frame arrives at once. [`Pair::at`] brings them to any
//! place of a conversation.

use std::time::Instant;

use proto::*;

use crate::received;
use crate::samples::{authenticate, authenticated, begin_backup, begin_drive, begun, commit, epoch, vault_opened};

/// A place of a conversation, in the order they are come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    BeforeHello,
    BeforeAuth,
    Authenticating,
    BeforeVault,
    OpeningVault,
    NoSession,
    OpeningSession,
    Backup,
    Committing,
    Drive,
}

impl Place {
    pub(crate) const ALL: [Self; 10] = [
        Self::BeforeHello,
        Self::BeforeAuth,
        Self::Authenticating,
        Self::BeforeVault,
        Self::OpeningVault,
        Self::NoSession,
        Self::OpeningSession,
        Self::Backup,
        Self::Committing,
        Self::Drive,
    ];
}

pub(crate) struct Pair {
    pub(crate) client: ClientExchange,
    pub(crate) server: ServerExchange,
    pub(crate) now: Instant,
    /// What the client was told and nobody has looked at.
    pub(crate) events: Vec<ClientEvent>,
    /// What the server wants and nobody has done.
    pub(crate) wants: Vec<ServerAction>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let now = epoch();
        let client = ClientConfig::new(SoftwareName::lossy("client"));
        let server = ServerConfig::new(SoftwareName::lossy("server"));
        Self {
            client: ClientExchange::new(client, now),
            server: ServerExchange::new(server, now, 1_700_000_000_000),
            now,
            events: Vec::new(),
            wants: Vec::new(),
        }
    }

    /// Both ends at this place, nothing left to say, nothing left to look at.
    pub(crate) fn at(place: Place) -> Self {
        Self::new().led_to(place)
    }

    /// This one, in a backup session.
    pub(crate) fn in_backup(self) -> Self {
        self.led_to(Place::Backup)
    }

    fn led_to(self, place: Place) -> Self {
        let mut pair = self;
        if place == Place::BeforeHello {
            return pair;
        }
        pair.pump();
        if place == Place::BeforeAuth {
            return pair.cleared();
        }
        let steps = [
            (Place::Authenticating, authenticate(), authenticated(), Place::BeforeVault),
            (Place::OpeningVault, ClientRequest::OpenVault(None), vault_opened(), Place::NoSession),
        ];
        for (asked, request, reply, answered) in steps {
            let stream = pair.ask(&request);
            if place == asked {
                return pair.cleared();
            }
            pair.answer(stream, Ok(reply));
            if place == answered {
                return pair.cleared();
            }
        }
        let stream = pair.ask(&if place == Place::Drive { begin_drive() } else { begin_backup() });
        if place == Place::OpeningSession {
            return pair.cleared();
        }
        pair.answer(stream, Ok(begun()));
        if place == Place::Committing {
            pair.ask(&commit());
        }
        pair.cleared()
    }

    fn cleared(mut self) -> Self {
        self.events.clear();
        self.wants.clear();
        self
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, request: &ClientRequest) -> StreamId {
        let stream = self.client.request(request, self.now).expect("the client may ask this now");
        self.pump();
        stream
    }

    #[track_caller]
    pub(crate) fn answer(&mut self, stream: StreamId, answer: Result<ServerReply, Failure>) {
        self.server.on_answer(stream, answer).expect("the answer fits");
        self.pump();
    }

    /// Carries frames until both have nothing more to say.
    #[track_caller]
    pub(crate) fn pump(&mut self) {
        loop {
            let mut is_quiet = true;
            while let Some(frame) = self.client.poll_send() {
                is_quiet = false;
                self.server.on_frame(received(frame), self.now);
            }
            while let Some(action) = self.server.poll_action() {
                is_quiet = false;
                match action {
                    ServerAction::Send(frame) => {
                        let event = self.client.on_frame(received(frame), self.now);
                        self.events.extend(event.expect("the server keeps to the protocol"));
                    }
                    action => self.wants.push(action),
                }
            }
            if is_quiet {
                return;
            }
        }
    }
}
