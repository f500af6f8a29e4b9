//! [`Multipart`]: a body of `multipart/form-data` (RFC 7578), part by part, as it comes. Memory: what came last of the body,
//! and the headers of one part.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};

/// Longest headers of a part.
const HEADERS_LEN_MAX: usize = 8 << 10;
const BOUNDARY_LEN_MAX: usize = 70;
/// Time in which something has to come.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum MultipartError {
    #[error("the body is not multipart/form-data with a boundary")]
    NotMultipart,
    #[error("the headers of a part are too long or malformed")]
    Headers,
    #[error("the body was cut off")]
    CutOff,
}

/// A body of several parts.
pub(super) struct Multipart<S> {
    body: S,
    buffer: BytesMut,
    /// What ends a part: the end of a line and the boundary.
    delimiter: Vec<u8>,
    is_in_part: bool,
}

/// What a part says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartHead {
    pub(super) name: Vec<u8>,
    pub(super) filename: Option<Vec<u8>>,
}

impl<E, S: Stream<Item = Result<Bytes, E>> + Unpin> Multipart<S> {
    /// Reads the body of a request with these headers.
    pub(super) fn new(headers: &HeaderMap, body: S) -> Result<Self, MultipartError> {
        let boundary = boundary(headers).ok_or(MultipartError::NotMultipart)?;
        // As if a line had ended before the first boundary.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Ok(Self { body, buffer, delimiter: [b"\r\n--", &boundary[..]].concat(), is_in_part: true })
    }

    /// Goes on to the next part, over what is left of the one before; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<PartHead>, MultipartError> {
        while self.next_bytes().await?.is_some() {}
        self.fill(2).await?;
        if self.buffer.starts_with(b"--") {
            return Ok(None);
        }
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() >= HEADERS_LEN_MAX + 4 {
                return Err(MultipartError::Headers);
            }
            self.read().await?;
        };
        if end > HEADERS_LEN_MAX {
            return Err(MultipartError::Headers);
        }
        let head = head(&self.buffer[..end]).ok_or(MultipartError::Headers)?;
        self.buffer.advance(end + 4);
        self.is_in_part = true;
        Ok(Some(head))
    }

    /// The bytes of the part, as they come.
    pub(super) fn bytes(&mut self) -> impl Stream<Item = Result<Bytes, MultipartError>> + Unpin {
        Box::pin(stream::try_unfold(self, |multipart| async move {
            Ok(multipart.next_bytes().await?.map(|bytes| (bytes, multipart)))
        }))
    }

    async fn next_bytes(&mut self) -> Result<Option<Bytes>, MultipartError> {
        while self.is_in_part {
            if let Some(end) = find(&self.buffer, &self.delimiter) {
                let bytes = self.buffer.split_to(end).freeze();
                self.buffer.advance(self.delimiter.len());
                self.is_in_part = false;
                return Ok(Some(bytes).filter(|bytes| !bytes.is_empty()));
            }
            // The end of what is here may be the beginning of a delimiter.
            let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if sure > 0 {
                return Ok(Some(self.buffer.split_to(sure).freeze()));
            }
            self.read().await?;
        }
        Ok(None)
    }

    async fn fill(&mut self, len: usize) -> Result<(), MultipartError> {
        while self.buffer.len() < len {
            self.read().await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), MultipartError> {
        match tokio::time::timeout(IDLE_MAX, self.body.next()).await {
            Ok(Some(Ok(bytes))) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Ok(Some(Err(_)) | None) | Err(_) => Err(MultipartError::CutOff),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(at) = bytes[start..].iter().position(|byte| *byte == wanted[0]) {
        start += at;
        if bytes[start..].starts_with(wanted) {
            return Some(start);
        }
        start += 1;
    }
    None
}

fn boundary(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (media_type, parameters) = value.split_once(';')?;
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters.as_bytes(), b"boundary")?;
    (1..=BOUNDARY_LEN_MAX).contains(&boundary.len()).then_some(boundary)
}

/// What the headers of a part say, which begin with the end of the delimiter's line.
fn head(bytes: &[u8]) -> Option<PartHead> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    if !lines.next()?.is_empty() {
        return None;
    }
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        if line[..colon].eq_ignore_ascii_case(b"content-disposition") {
            let parameters = line[colon + 1..].trim_ascii().strip_prefix(b"form-data")?;
            let name = parameter(parameters, b"name")?;
            return Some(PartHead { name, filename: parameter(parameters, b"filename") });
        }
    }
    None
}

/// A parameter of a header: a token, or text in quotes in which a backslash may stand before a quote.
fn parameter(parameters: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_ascii_start();
        rest = rest.strip_prefix(b";").unwrap_or(rest).trim_ascii_start();
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let name = rest[..equals].trim_ascii();
        rest = &rest[equals + 1..];
        let mut value = Vec::new();
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let mut end = 0;
            loop {
                match *quoted.get(end)? {
                    b'"' => break,
                    b'\\' if quoted.get(end + 1) == Some(&b'"') => {
                        value.push(b'"');
                        end += 2;
                    }
                    byte => {
                        value.push(byte);
                        end += 1;
                    }
                }
            }
            rest = &quoted[end + 1..];
        } else {
            let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
            value.extend_from_slice(rest[..end].trim_ascii());
            rest = &rest[end..];
        }
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    type Parts = Vec<(String, Option<String>, Vec<u8>)>;

    /// The parts of a body that comes in pieces of these lengths.
    fn read(body: &[u8], piece_lens: &[usize]) -> Result<Parts, MultipartError> {
        let mut pieces = Vec::new();
        let (mut rest, mut lens) = (body, piece_lens.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*lens.next().unwrap()).min(rest.len()));
            pieces.push(Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
            rest = after;
        }
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, "multipart/form-data; boundary=\"XX\"".parse().unwrap())]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut multipart = Multipart::new(&headers, stream::iter(pieces))?;
            let mut parts = Vec::new();
            while let Some(PartHead { name, filename }) = multipart.next().await? {
                let mut whole = Vec::new();
                let mut bytes = multipart.bytes();
                while let Some(bytes) = bytes.next().await {
                    whole.extend_from_slice(&bytes?);
                }
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                parts.push((text(name), filename.map(text), whole));
            }
            Ok(parts)
        })
    }

    fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = b"ignored\r\n".to_vec();
        for (name, bytes) in parts {
            let head = format!(
                "--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\nContent-Type: x/y\r\n\r\n"
            );
            body.extend_from_slice(&[head.as_bytes(), bytes, b"\r\n"].concat());
        }
        [&body[..], b"--XX--\r\nignored"].concat()
    }

    #[test]
    fn heads_are_read() {
        let check = |line: &str, name: &str, filename: Option<&str>| {
            let read = head(format!("\r\nContent-Type: a/b\r\n{line}").as_bytes());
            let expected = PartHead { name: name.into(), filename: filename.map(Into::into) };
            assert_eq!(read, Some(expected), "{line}");
        };
        check("Content-Disposition: form-data; name=\"file\"; filename=\"a b;c.txt\"", "file", Some("a b;c.txt"));
        check("content-disposition:form-data;filename=\"a\\\"b\";name=x", "x", Some("a\"b"));
        check("Content-Disposition: form-data; name=\"\"", "", None);
        for wrong in [
            "Content-Disposition: attachment; name=x",
            "Content-Disposition: form-data",
            "X",
            "Content-Disposition: form-data; name=\"x",
        ] {
            assert_eq!(head(format!("\r\n{wrong}").as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        /// However a body is cut on its way, its parts are the same, also when they hold what looks like a boundary.
        #[test]
        fn parts_come_out_as_they_went_in(
            contents in proptest::collection::vec("[-X\r\na]{0,40}", 0..5),
            lens in proptest::collection::vec(1..50_usize, 1..9),
        ) {
            let contents: Vec<String> = contents.into_iter().map(|text| text.replace("\r\n--XX", "")).collect();
            let parts: Vec<(&str, &[u8])> = contents.iter().map(|text| ("n", text.as_bytes())).collect();
            let expected: Parts =
                contents.iter().map(|text| ("f".into(), Some("n".into()), text.as_bytes().to_vec())).collect();
            prop_assert_eq!(read(&form(&parts), &lens).unwrap(), expected);
        }

        #[test]
        fn no_body_is_a_panic(body in proptest::collection::vec(prop_oneof![Just(b'-'), Just(b'X'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..300)) {
            let _ = read(&body, &[7]);
        }
    }

    #[test]
    fn what_is_cut_off_or_endless_is_told() {
        let whole = form(&[("a", b"12345")]);
        for len in 0..whole.len() - 11 {
            assert!(matches!(read(&whole[..len], &[100]), Err(MultipartError::CutOff)), "{len}");
        }
        let endless = [b"--XX\r\n", &[b'a'; HEADERS_LEN_MAX + 4][..]].concat();
        assert!(matches!(read(&endless, &[1000]), Err(MultipartError::Headers)));
    }
}
