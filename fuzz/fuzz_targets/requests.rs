//! Any bytes as what HTTP requests say where we read it ourselves: refused, or the same however it came, and never more than
//! was sent.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use server_bin::fuzzing::{self, Part};

#[derive(Arbitrary, Debug)]
enum Job {
    /// A form's body, and the lengths of the pieces it comes in.
    Form {
        content_type: Option<String>,
        body: Vec<u8>,
        piece_lens: Vec<u8>,
    },
    /// A form that is right, with these parts.
    RightForm {
        parts: Vec<(u8, Option<u8>, Vec<u8>)>,
        piece_lens: Vec<u8>,
    },
    Upload {
        metadata: Vec<u8>,
        concat: Option<Vec<u8>>,
        matches: Option<Vec<u8>>,
        checksum: Vec<u8>,
    },
    /// Metadata whose values are base64 of these.
    Metadata {
        path: Option<Vec<u8>>,
        filename: Option<Vec<u8>>,
        mtime: Option<String>,
        conflict: Option<u8>,
    },
    Path(String),
    TreePath(String),
    Secret(String),
    Range {
        range: String,
        size: u64,
    },
    Conditions {
        matches: String,
        excludes: String,
        version: Option<u64>,
    },
    Credentials(String),
    Properties(Vec<u8>),
    Mtime(String),
    SavedAs(Vec<u8>),
    Cursor(String),
    /// The place of a page, of a folder or of a search.
    RightCursor {
        numbers: (u64, Option<u64>),
        path: String,
    },
    Cookies {
        before: String,
        name: bool,
        secret: [u8; 32],
        after: String,
    },
    Host {
        server: String,
        said: String,
    },
    /// What other sites may call themselves.
    StrangeHost(String),
}

fuzz_target!(|job: Job| {
    match job {
        Job::Form { content_type, body, piece_lens } => {
            let content_type = content_type.unwrap_or_else(|| "multipart/form-data; boundary=XX".to_owned());
            let whole = fuzzing::multipart(&content_type, vec![body.clone()]);
            assert_eq!(fuzzing::multipart(&content_type, pieces(&body, &piece_lens)), whole);
            let taken = |(name, filename, bytes): &Part| name.len() + bytes.len() + filename.iter().flatten().count();
            assert!(whole.iter().flatten().map(taken).sum::<usize>() <= body.len());
        }
        Job::RightForm { parts, piece_lens } => {
            let name = |number: u8| format!("n\"{number}").into_bytes();
            let expected: Vec<Part> =
                parts.into_iter().map(|(of, file, bytes)| (name(of), file.map(name), bytes)).collect();
            let mut body = Vec::new();
            for (name, filename, bytes) in &expected {
                let quoted = |name: &[u8]| String::from_utf8_lossy(name).replace('"', "\\\"");
                let file = filename.as_deref().map(|file| format!("; filename=\"{}\"", quoted(file)));
                body.extend_from_slice(
                    format!(
                        "\r\n--a b!\r\nContent-Disposition: form-data; name=\"{}\"{}\r\n\r\n",
                        quoted(name),
                        file.unwrap_or_default()
                    )
                    .as_bytes(),
                );
                body.extend_from_slice(bytes);
            }
            body.extend_from_slice(b"\r\n--a b!--");
            let read = fuzzing::multipart("multipart/form-data; boundary=\"a b!\"", pieces(&body, &piece_lens));
            let looks_like_more = expected.iter().any(|(_, _, bytes)| bytes.windows(6).any(|some| some == b"--a b!"));
            assert!(looks_like_more || read == Ok(expected));
        }
        Job::Upload { metadata, concat, matches, checksum } => {
            let mut said = vec![("upload-metadata", metadata)];
            said.extend(concat.map(|concat| ("upload-concat", concat)));
            said.extend(matches.map(|matches| ("if-match", matches)));
            fuzzing::announced(&said);
            fuzzing::checksum(&checksum);
        }
        Job::Metadata { path, filename, mtime, conflict } => {
            let conflict = conflict.map(|number| ["new-version", "keep-both", "replace"][usize::from(number % 3)]);
            let pairs = [
                ("path", path),
                ("filename", filename),
                ("mtime_ms", mtime.map(String::into_bytes)),
                ("conflict", conflict.map(|word| word.as_bytes().to_vec())),
            ];
            let pairs = pairs.into_iter().filter_map(|(key, value)| Some(format!("{key} {}", base64(&value?))));
            let metadata = pairs.collect::<Vec<_>>().join(",");
            fuzzing::announced(&[("upload-metadata", metadata.into_bytes())]);
        }
        Job::Path(path) => drop(fuzzing::path(&path)),
        Job::TreePath(path) => drop(fuzzing::tree_path(&path)),
        Job::Secret(text) => fuzzing::secret(&text),
        Job::Range { range, size } => {
            fuzzing::range(&range, size);
            fuzzing::range(&format!("bytes={range}"), size);
        }
        Job::Conditions { matches, excludes, version } => drop(fuzzing::conditions(&matches, &excludes, version)),
        Job::Credentials(value) => drop(fuzzing::credentials(&value)),
        Job::Properties(body) => drop(fuzzing::wanted(body)),
        Job::Mtime(said) => drop(fuzzing::mtime(&said)),
        Job::SavedAs(name) => fuzzing::saved_as(&name),
        Job::Cursor(said) => drop(fuzzing::cursor(&said)),
        Job::RightCursor { numbers: (first, second), path } => {
            let second = second.map(|number| format!("{number}.")).unwrap_or_default();
            fuzzing::cursor(&format!("{first}.{second}{path}"));
        }
        Job::Cookies { before, name, secret, after } => {
            let name = if name { "__Host-bk" } else { "bk" };
            let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            fuzzing::cookies(&format!("{before}{name}={secret}{after}"));
        }
        Job::Host { server, said } => {
            fuzzing::host_port(&server);
            fuzzing::host(&server, &said);
        }
        Job::StrangeHost(said) => {
            assert!(!fuzzing::host("backup.test", &format!("{said}.example")));
        }
    }
});

/// Cuts `bytes` into pieces of these lengths, over and over.
fn pieces(bytes: &[u8], lens: &[u8]) -> Vec<Vec<u8>> {
    let mut lens = lens.iter().map(|len| usize::from(*len).max(1)).cycle();
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(lens.next().unwrap_or(7).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces
}

/// RFC 4648, chapter 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().chain(&[0, 0]).take(3).fold(0, |word, byte| word << 8 | usize::from(*byte));
        for sign in 0..4 {
            let is_there = sign <= group.len();
            text.push(if is_there { char::from(ALPHABET[word >> (18 - 6 * sign) & 63]) } else { '=' });
        }
    }
    text
}
