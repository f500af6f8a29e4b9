//! Drives a [`ClientExchange`] over a connected stream: one task reads, one writes, and whoever has a [`Link`] may ask.
//!
//! Requests of several threads are under way at once; each waits for its own answer. Records are put without an answer:
//! how many of them are durable, and which deltas were refused, stands in [`Status`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use object::{ObjectId, SealedRecord};
use proto::{
    BackupProgress, ClientConfig, ClientEvent, ClientExchange, ClientRequest, EncodedFrame, Failure, Frame, FrameCodec,
    FrameError, RequestError, ServerReply, ServerSilent, SoftwareName, StreamId,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::Decoder;

use crate::budget::{Budget, Share};
use crate::counted::{Counter, Traffic};

/// Bytes of records that wait to be written; a put waits for room.
const QUEUED_BYTES_MAX: usize = 8 << 20;
/// Frames handed to the writing task ahead of the socket.
const FRAMES_AHEAD: usize = 4;
const READ_BUFFER_LEN: usize = 256 * 1024;
/// How long to wait for the reason when the server takes nothing more.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(2);
/// Time for what is queued to go out when the connection is no longer needed.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);

/// Why nothing more comes over a connection.
#[derive(Clone, Debug)]
pub(crate) enum LinkError {
    /// The server said why; for one request, the connection goes on.
    Failed(Failure),
    /// The connection broke, or the server broke the protocol.
    Lost(Arc<io::Error>),
}

impl LinkError {
    pub(crate) fn lost(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Lost(Arc::new(io::Error::other(error)))
    }
}

/// What the server has said about the records of the open session.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) durable_records: u64,
    /// Refused since they were last taken.
    pub(crate) refused: Vec<ObjectId>,
    end: Option<LinkError>,
}

/// Any thread's end of the connection.
#[derive(Clone)]
pub(crate) struct Link {
    commands: mpsc::UnboundedSender<Command>,
    room: Arc<Budget>,
    status: Arc<Mutex<Status>>,
}

enum Command {
    Ask { request: Box<ClientRequest>, answers: mpsc::UnboundedSender<Answer> },
    Put { records: Vec<SealedRecord>, share: Share, number: oneshot::Sender<Result<u64, LinkError>> },
    Tell(BackupProgress),
    Bye,
}

type Answer = Result<ServerReply, LinkError>;

/// Answers to one request; several for a `Fetch`.
pub(crate) struct Answers {
    receiver: mpsc::UnboundedReceiver<Answer>,
    status: Arc<Mutex<Status>>,
}

impl Answers {
    /// Waits for the next answer. Not from within the runtime.
    pub(crate) fn next(&mut self) -> Answer {
        self.receiver.blocking_recv().unwrap_or_else(|| Err(end(&self.status)))
    }
}

impl Link {
    /// Asks; does not wait.
    pub(crate) fn ask(&self, request: ClientRequest) -> Answers {
        let (answers, receiver) = mpsc::unbounded_channel();
        // When the connection has ended, the sender is dropped with the command, which the receiver notices.
        let _ = self.commands.send(Command::Ask { request: Box::new(request), answers });
        Answers { receiver, status: Arc::clone(&self.status) }
    }

    /// Puts records; waits while too much is queued, then for the number of the last of them. Not from within the
    /// runtime.
    pub(crate) fn put(&self, records: Vec<SealedRecord>) -> Result<u64, LinkError> {
        let bytes = records.iter().map(|record| record.bytes().len()).sum();
        let share = self.room.take(bytes).map_err(|_| end(&self.status))?;
        let (number, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Put { records, share, number });
        answer.blocking_recv().unwrap_or_else(|_| Err(end(&self.status)))
    }

    /// Tells how far the open backup has come; does not wait.
    pub(crate) fn tell(&self, progress: BackupProgress) {
        let _ = self.commands.send(Command::Tell(progress));
    }

    /// Says goodbye; the server closes the connection.
    pub(crate) fn bye(&self) {
        let _ = self.commands.send(Command::Bye);
    }

    /// Waits until nothing more goes out: the goodbye is with the system, or never will be.
    pub(crate) async fn gone(&self) {
        self.commands.closed().await;
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().expect("nobody panics with it")
    }
}

fn end(status: &Mutex<Status>) -> LinkError {
    let status = status.lock().expect("nobody panics with it");
    status.end.clone().unwrap_or_else(|| LinkError::lost("the connection has ended"))
}

/// Starts the conversation on a connected stream, within a runtime; `welcomed` resolves when it may be used.
///
/// `counter` counts the stream's bytes.
pub(crate) fn start<S>(
    stream: S,
    counter: Arc<Counter>,
    software: &str,
) -> (Link, oneshot::Receiver<Result<(), LinkError>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (commands, mut command_queue) = mpsc::unbounded_channel();
    let (frames, frame_queue) = mpsc::channel(FRAMES_AHEAD);
    let (reader, writer) = tokio::io::split(stream);
    let room = Budget::new(QUEUED_BYTES_MAX);
    let status = Arc::new(Mutex::new(Status::default()));
    let (welcome, welcomed) = oneshot::channel();
    let mut writing = tokio::spawn(write_frames(writer, frame_queue));
    let config = ClientConfig::new(SoftwareName::lossy(software));
    let driver = Driver {
        exchange: ClientExchange::new(config, Instant::now()),
        status: Arc::clone(&status),
        waiting: HashMap::new(),
        postponed: VecDeque::new(),
        frames_polled: 0,
        shares: VecDeque::new(),
        welcome: Some(welcome),
        counter,
        traffic: Traffic::default(),
    };
    let closed_room = Arc::clone(&room);
    tokio::spawn(async move {
        driver.run(reader, &mut command_queue, frames, &mut writing).await;
        closed_room.close();
        // What is queued goes out, a goodbye above all; then the queue of commands closes, and tells.
        if !writing.is_finished() {
            let _ = tokio::time::timeout(FAREWELL_WAIT, writing).await;
        }
    });
    (Link { commands, room, status }, welcomed)
}

/// A frame on its way out, with the share of the budget that its last byte frees.
type Outgoing = (EncodedFrame, Option<Share>);

async fn write_frames(mut writer: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Outgoing>) -> io::Result<()> {
    while let Some((mut frame, share)) = frames.recv().await {
        writer.write_all_buf(&mut frame).await?;
        drop(share);
        if frames.is_empty() {
            writer.flush().await?;
        }
    }
    writer.shutdown().await
}

struct Driver {
    exchange: ClientExchange,
    status: Arc<Mutex<Status>>,
    waiting: HashMap<StreamId, mpsc::UnboundedSender<Answer>>,
    /// Requests for which too many others are under way.
    postponed: VecDeque<(Box<ClientRequest>, mpsc::UnboundedSender<Answer>)>,
    frames_polled: u64,
    /// Shares of the budget, each with the number of the frame whose writing frees it.
    shares: VecDeque<(u64, Share)>,
    welcome: Option<oneshot::Sender<Result<(), LinkError>>>,
    counter: Arc<Counter>,
    /// Bytes at the last tick.
    traffic: Traffic,
}

impl Driver {
    async fn run(
        mut self,
        mut reader: impl AsyncRead + Unpin,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        frames: mpsc::Sender<Outgoing>,
        writing: &mut tokio::task::JoinHandle<io::Result<()>>,
    ) {
        let mut codec = FrameCodec::new();
        let mut received = BytesMut::new();
        let end = loop {
            if self.exchange.is_closed() && self.exchange.queued_frame_count() == 0 {
                break LinkError::lost("the connection has ended");
            }
            codec.set_phase(self.exchange.frame_phase());
            let deadline = self.exchange.poll_deadline();
            let has_frames = self.exchange.queued_frame_count() > 0;
            tokio::select! {
                frame = read_frame(&mut reader, &mut codec, &mut received) => match frame {
                    Ok(frame) => if let Err(end) = self.on_frame(frame) { break end },
                    Err(error) => break LinkError::lost(error),
                },
                permit = frames.reserve(), if has_frames => match permit {
                    Ok(permit) => permit.send(self.next_frame()),
                    Err(_) => {
                        let error = writing_error(writing).await;
                        break self.last_words(&mut reader, &mut codec, &mut received).await.unwrap_or(error);
                    }
                },
                command = commands.recv(), if !has_frames => match command {
                    Some(command) => self.on_command(command),
                    None => break LinkError::lost("the connection is not needed any more"),
                },
                () = sleep_until(deadline) => if let Err(silent) = self.on_tick() {
                    break LinkError::lost(silent);
                },
            }
        };
        self.status.lock().expect("nobody panics with it").end = Some(end.clone());
        if let Some(welcome) = self.welcome.take() {
            let _ = welcome.send(Err(end));
        }
    }

    /// Why the server ended the connection, if it has said so: what it sent before is still there when writing fails.
    async fn last_words(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        codec: &mut FrameCodec,
        received: &mut BytesMut,
    ) -> Option<LinkError> {
        let listening = async {
            while let Ok(frame) = read_frame(reader, codec, received).await {
                if let Err(end @ LinkError::Failed(_)) = self.on_frame(frame) {
                    return Some(end);
                }
            }
            None
        };
        tokio::time::timeout(LAST_WORDS_WAIT, listening).await.unwrap_or(None)
    }

    /// A frame may take longer than the server may be silent: bytes of it count as a sign of life.
    fn on_tick(&mut self) -> Result<(), ServerSilent> {
        let now = Instant::now();
        let traffic = self.counter.traffic();
        if std::mem::replace(&mut self.traffic, traffic) != traffic {
            self.exchange.on_progress(now);
        }
        self.exchange.on_tick(now)
    }

    fn next_frame(&mut self) -> Outgoing {
        let frame = self.exchange.poll_send().expect("a frame is queued");
        self.frames_polled += 1;
        let frees = self.shares.front().is_some_and(|(number, _)| *number == self.frames_polled);
        let share = if frees { self.shares.pop_front().map(|(_, share)| share) } else { None };
        (frame, share)
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Ask { request, answers } => self.ask(request, answers),
            Command::Put { records, share, number } => {
                let result = self.exchange.put(&records, Instant::now());
                if result.is_ok() {
                    let last_frame = self.frames_polled + self.exchange.queued_frame_count() as u64;
                    self.shares.push_back((last_frame, share));
                }
                let _ = number.send(result.map_err(LinkError::lost));
            }
            Command::Tell(progress) => {
                // It is of no use any more when the session has ended meanwhile.
                let _ = self.exchange.tell(progress, Instant::now());
            }
            Command::Bye => {
                // Whoever says goodbye does not mind that the connection is gone already.
                let _ = self.exchange.bye(Instant::now());
            }
        }
    }

    fn ask(&mut self, request: Box<ClientRequest>, answers: mpsc::UnboundedSender<Answer>) {
        match self.exchange.request(&request, Instant::now()) {
            Ok(stream) => drop(self.waiting.insert(stream, answers)),
            Err(RequestError::TooMuchAtOnce(_)) => self.postponed.push_back((request, answers)),
            Err(error) => drop(answers.send(Err(LinkError::lost(error)))),
        }
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), LinkError> {
        let event = self.exchange.on_frame(frame, Instant::now()).map_err(LinkError::lost)?;
        match event {
            None => {}
            Some(ClientEvent::Welcome(_)) => {
                let welcome = self.welcome.take().expect("the exchange reports it once");
                let _ = welcome.send(Ok(()));
            }
            Some(ClientEvent::Reply { stream, reply }) => {
                let is_last = !matches!(&reply, ServerReply::Objects(objects) if !objects.last);
                if matches!(reply, ServerReply::Begun(_)) {
                    self.status.lock().expect("nobody panics with it").durable_records = 0;
                }
                self.answer(stream, Ok(reply), is_last);
            }
            Some(ClientEvent::Failed { stream, failure }) => {
                self.answer(stream, Err(LinkError::Failed(failure)), true);
            }
            Some(ClientEvent::Durable(count)) => {
                self.status.lock().expect("nobody panics with it").durable_records = count;
            }
            Some(ClientEvent::Refused(ids)) => {
                self.status.lock().expect("nobody panics with it").refused.extend(ids.iter());
            }
            Some(ClientEvent::Closed(failure)) => return Err(LinkError::Failed(failure)),
        }
        Ok(())
    }

    fn answer(&mut self, stream: StreamId, answer: Answer, is_last: bool) {
        // A receiver that has gone away does not want the answer any more.
        if let Some(answers) = self.waiting.get(&stream) {
            let _ = answers.send(answer);
        }
        if is_last {
            self.waiting.remove(&stream);
            for _ in 0..self.postponed.len() {
                let (request, answers) = self.postponed.pop_front().expect("counted");
                self.ask(request, answers);
            }
        }
    }
}

async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    codec: &mut FrameCodec,
    received: &mut BytesMut,
) -> Result<Frame, FrameError> {
    loop {
        if let Some(frame) = codec.decode(received)? {
            return Ok(frame);
        }
        received.reserve(READ_BUFFER_LEN);
        if reader.read_buf(received).await? == 0 {
            return codec.decode_eof(received)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

async fn writing_error(writing: &mut tokio::task::JoinHandle<io::Result<()>>) -> LinkError {
    match writing.await {
        Ok(Err(error)) => LinkError::Lost(Arc::new(error)),
        Ok(Ok(())) => LinkError::lost("the connection has ended"),
        Err(error) => LinkError::lost(error),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
