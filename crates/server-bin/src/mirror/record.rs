//! [`Record`]: what a mirror put into a folder, so that it can tell its own files from everybody else's.
//!
//! One line for each entry, in the order of a walk. A run writes a new record beside the one before, each line *before* the
//! entry comes to be; when the run is over, the new one takes the old one's place. A run that was cut off leaves both, and
//! what either says is the mirror's ([`Record::settle`]). A line that cannot be understood ends a record: what it would
//! have told of counts as somebody else's, which is kept.

use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::str::FromStr;

use host_fs::{FileKind, RestoreDir, Stat};
use object::hex;
use vault::Timestamp;

const FIRST_LINE: &str = "delta-backup mirror 1";
const LAST_LINE: &str = "end";
/// Longest line: paths of trees may be far longer than a system call takes.
const LINE_LEN_MAX: u64 = 1 << 20;

/// What an entry is: equal marks, equal entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// As the file system tells it.
    pub(crate) kind: FileKind,
    /// Bytes of a file or of what a link says; 0 for everything else.
    pub(crate) size: u64,
    /// Of a directory no matter.
    pub(crate) mtime: Timestamp,
    /// What is in it: of a file the id of its content.
    pub(crate) content: [u8; 32],
    /// What its metadata are: a hash of them.
    pub(crate) metadata: [u8; 16],
}

impl Mark {
    /// What it is of and how long: a forged tree may say several lengths of one content, and each has to be looked at.
    pub(super) fn holds(&self) -> ([u8; 32], u64) {
        (self.content, self.size)
    }

    /// Whether what is there can be what the mirror put there.
    pub(crate) fn is_of(&self, stat: &Stat) -> bool {
        let is_alike = stat.kind == self.kind && self.size == shown_size(stat);
        is_alike && (self.kind == FileKind::Directory || stat.mtime == self.mtime)
    }

    /// Whether what is there can be what the mirror was making when it was cut off: what has no content is there before it
    /// has its time.
    pub(crate) fn is_begun(&self, stat: &Stat) -> bool {
        let has_content = matches!(self.kind, FileKind::File | FileKind::Directory);
        !has_content && stat.kind == self.kind && self.size == shown_size(stat)
    }

    /// The same entry as it is on the disk: file systems round times.
    pub(crate) fn as_found(self, stat: &Stat) -> Self {
        Self { size: shown_size(stat), mtime: stat.mtime, ..self }
    }
}

/// What a mark has of a size: those of pipes and devices mean nothing.
fn shown_size(stat: &Stat) -> u64 {
    match stat.kind {
        FileKind::File | FileKind::Symlink => stat.size,
        _ => 0,
    }
}

/// A path, and what the mirror may have put there: one thing, or, after a run that was cut off, one of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Names with `/` between them, below the folder of the record.
    pub(crate) path: Vec<u8>,
    /// At least one.
    pub(crate) marks: Vec<Mark>,
}

/// The record of one tree, in a folder of the mirror's own.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    folder: RestoreDir,
    name: String,
}

impl Record {
    /// The record `name`, which need not be there, in `folder`.
    pub(crate) fn new(folder: &RestoreDir, name: &str) -> Self {
        Self { folder: folder.clone(), name: name.to_owned() }
    }

    /// Brings together what a run that was cut off left; whether there was any.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn settle(&self) -> io::Result<bool> {
        let cut_off = self.path("new");
        if !fs::exists(&cut_off)? {
            return Ok(false);
        }
        let both = self.path("both");
        let (mut before, mut new) = (RecordReader::open(&self.path("txt"))?, RecordReader::open(&cut_off)?);
        let mut writer = RecordWriter::create(both, self.path("txt"))?;
        loop {
            let order = match (before.peek()?, new.peek()?) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(new)) => walk_order(&before.path, &new.path),
            };
            let first = if order.is_le() { before.next()? } else { None };
            let second = if order.is_ge() { new.next()? } else { None };
            for Recorded { path, marks } in first.into_iter().chain(second) {
                marks.iter().try_for_each(|mark| writer.put(&path, mark))?;
            }
        }
        writer.finish(false)?;
        fs::remove_file(cut_off)?;
        Ok(true)
    }

    /// Reads what is there; nothing, when no run came to an end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn read(&self) -> io::Result<RecordReader> {
        RecordReader::open(&self.path("txt"))
    }

    /// Begins a new one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&self) -> io::Result<RecordWriter> {
        RecordWriter::create(self.path("new"), self.path("txt"))
    }

    /// Whether a run came to its end with everything where it belongs, and none was begun since.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn is_complete(&self) -> io::Result<bool> {
        if fs::exists(self.path("new"))? {
            return Ok(false);
        }
        let mut end = [0; LAST_LINE.len() + 2];
        let mut file = match open(&self.path("txt")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let len = file.metadata()?.len();
        let Some(at) = len.checked_sub(end.len() as u64) else { return Ok(false) };
        io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
        file.read_exact(&mut end)?;
        Ok(&end == b"\nend\n")
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn remove(&self) -> io::Result<()> {
        // The new one first: what is left when this is cut off is a record.
        ["both", "new", "txt"].into_iter().try_for_each(|ending| remove(&self.path(ending)))
    }

    fn path(&self, ending: &str) -> PathBuf {
        path_in(&self.folder, &format!("{}.{ending}", self.name))
    }
}

/// The path of a file in a directory that is held open, whatever its own path is by now.
pub(crate) fn path_in(folder: &RestoreDir, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_fd().as_raw_fd()))
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

fn remove(path: &PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Paths in the order of a walk that goes through directories by name and into each where it stands.
pub(crate) fn walk_order(a: &[u8], b: &[u8]) -> Ordering {
    // No name holds a NUL, so a slash can come before everything that a name holds.
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(rank).cmp(b.iter().map(rank))
}

/// Reads a record, path by path.
pub(crate) struct RecordReader {
    /// `None` at its end.
    lines: Option<BufReader<File>>,
    ahead: Option<(Vec<u8>, Mark)>,
    peeked: Option<Recorded>,
}

impl RecordReader {
    /// One that tells of nothing.
    pub(crate) fn empty() -> Self {
        Self { lines: None, ahead: None, peeked: None }
    }

    pub(super) fn open(path: &PathBuf) -> io::Result<Self> {
        let mut reader = match open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::empty()),
            file => Self { lines: Some(BufReader::with_capacity(64 << 10, file?)), ahead: None, peeked: None },
        };
        match reader.line()? {
            Some(first) if first == FIRST_LINE.as_bytes() => reader.advance(b"")?,
            _ => reader.lines = None,
        }
        Ok(reader)
    }

    /// The next path, without taking it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn peek(&mut self) -> io::Result<Option<&Recorded>> {
        if self.peeked.is_none() {
            self.peeked = self.take_group()?;
        }
        Ok(self.peeked.as_ref())
    }

    /// The next path; `None` behind the last.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn next(&mut self) -> io::Result<Option<Recorded>> {
        self.peek()?;
        Ok(self.peeked.take())
    }

    /// What it says of `path`; what is before that is passed over.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn at(&mut self, path: &[u8]) -> io::Result<Option<Recorded>> {
        while let Some(next) = self.peek()? {
            match walk_order(&next.path, path) {
                Ordering::Less => drop(self.next()?),
                Ordering::Equal => return self.next(),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    fn take_group(&mut self) -> io::Result<Option<Recorded>> {
        let Some((path, mark)) = self.ahead.take() else { return Ok(None) };
        let mut marks = vec![mark];
        self.advance(&path)?;
        while self.ahead.as_ref().is_some_and(|(next, _)| *next == path) {
            let (_, mark) = self.ahead.take().expect("it is there");
            if !marks.contains(&mark) {
                marks.push(mark);
            }
            self.advance(&path)?;
        }
        Ok(Some(Recorded { path, marks }))
    }

    /// Reads the next line, which must not come before `path`.
    fn advance(&mut self, path: &[u8]) -> io::Result<()> {
        self.ahead = self.line()?.and_then(|line| parse(&line)).filter(|(next, _)| walk_order(path, next).is_le());
        if self.ahead.is_none() {
            self.lines = None;
        }
        Ok(())
    }

    /// The next line, if it is whole.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let mut line = Vec::new();
        lines.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
        Ok((line.pop() == Some(b'\n')).then_some(line))
    }
}

/// Writes a record.
pub(crate) struct RecordWriter {
    out: BufWriter<File>,
    path: PathBuf,
    into: PathBuf,
}

impl RecordWriter {
    pub(super) fn create(path: PathBuf, into: PathBuf) -> io::Result<Self> {
        remove(&path)?;
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let mut out = BufWriter::with_capacity(64 << 10, file);
        writeln!(out, "{FIRST_LINE}")?;
        Ok(Self { out, path, into })
    }

    /// Adds what is, or is about to be, at `path`. Paths come in the order of a walk, several times perhaps.
    ///
    /// # Errors
    /// When the disk refuses; with `InvalidInput` when the path is too long for a record.
    pub(crate) fn put(&mut self, path: &[u8], mark: &Mark) -> io::Result<()> {
        let line = print(path, mark);
        if line.len() as u64 > LINE_LEN_MAX {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the path is too long for a mirror"));
        }
        self.out.write_all(&line)
    }

    /// Makes sure that a process that reads the record after this one died finds all of it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Puts it in the place of the one before; `is_complete` says that everything is where it belongs.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn finish(mut self, is_complete: bool) -> io::Result<()> {
        if is_complete {
            writeln!(self.out, "{LAST_LINE}")?;
        }
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.path, &self.into)
    }
}

const KINDS: [(FileKind, u8); 7] = [
    (FileKind::File, b'f'),
    (FileKind::Directory, b'd'),
    (FileKind::Symlink, b'l'),
    (FileKind::Fifo, b'p'),
    (FileKind::Socket, b's'),
    (FileKind::CharDevice, b'c'),
    (FileKind::BlockDevice, b'b'),
];

/// A line, with its end.
fn print(path: &[u8], mark: &Mark) -> Vec<u8> {
    let Mark { kind, size, mtime, content, metadata } = mark;
    let letter = KINDS.iter().find(|(known, _)| known == kind).expect("all kinds have a letter").1;
    let (content, metadata) = (hex::encode(content), hex::encode(metadata));
    let letter = char::from(letter);
    let mut line = format!("{letter} {size} {} {} {content} {metadata} ", mtime.secs, mtime.nanos).into_bytes();
    for byte in path {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

/// What a line without its end says; `None` when it cannot be understood.
fn parse(line: &[u8]) -> Option<(Vec<u8>, Mark)> {
    let mut fields = line.splitn(7, |byte| *byte == b' ');
    let mut field = || fields.next();
    let &[letter] = field()? else { return None };
    let kind = KINDS.iter().find(|(_, known)| *known == letter)?.0;
    let (size, secs, nanos) = (number(field()?)?, number(field()?)?, number(field()?)?);
    if nanos >= 1_000_000_000 {
        return None;
    }
    let mark =
        Mark { kind, size, mtime: Timestamp { secs, nanos }, content: unhex(field()?)?, metadata: unhex(field()?)? };
    let mut path = Vec::new();
    let mut bytes = field()?.iter();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'\\' => b'\\',
                _ => return None,
            },
            byte => *byte,
        });
    }
    path.split(|byte| *byte == b'/').all(vault::Entry::is_name).then_some((path, mark))
}

fn number<N: FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn unhex<const LEN: usize>(text: &[u8]) -> Option<[u8; LEN]> {
    hex::decode(std::str::from_utf8(text).ok()?)
}
