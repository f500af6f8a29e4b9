//! The bytes of a catalog backup: a plain header and the sealed catalog, in frames of 1 MiB, as `docs/formats.md` gives
//! them. Nothing can be changed, cut off, swapped or added without the opening failing.

use std::io::{self, ErrorKind, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use store::StoreId;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"DBCATBK\n";
const FORMAT: u32 = 1;
const HEADER_LEN: usize = 80;
const FRAME_LEN: usize = 1 << 20;
const TAG_LEN: usize = 16;

/// What stands before the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) created_ms: u64,
    pub(super) generation: u64,
    pub(super) store: StoreId,
    /// Random: the key of this one backup is derived from it.
    pub(super) salt: [u8; 32],
}

impl Header {
    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.created_ms.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..48].copy_from_slice(self.store.as_bytes());
        bytes[48..].copy_from_slice(&self.salt);
        bytes
    }
}

/// Seals what `plain` reads.
pub(super) fn seal(header: &Header, key: &[u8; 32], plain: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let header = header.encode();
    let key = cipher(key);
    out.write_all(&header)?;
    let mut frame = read_frame(plain, FRAME_LEN)?;
    for index in 0u64.. {
        let next = if frame.len() == FRAME_LEN { read_frame(plain, FRAME_LEN)? } else { Vec::new() };
        let is_last = next.is_empty();
        key.seal_in_place_append_tag(nonce(index, is_last), Aad::from(header), &mut frame)
            .map_err(|_| io::Error::other("a frame cannot be sealed"))?;
        out.write_all(&frame)?;
        if is_last {
            break;
        }
        frame = next;
    }
    Ok(())
}

/// Opens what [`seal`] made; `key_of` derives the key from the salt. What was written before an error is not to be used.
///
/// # Errors
/// `InvalidData` for anything that [`seal`] did not make with this key.
pub(super) fn open(
    key_of: impl FnOnce(&[u8; 32]) -> Zeroizing<[u8; 32]>,
    sealed: &mut dyn Read,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut header = [0; HEADER_LEN];
    sealed.read_exact(&mut header).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => invalid("it is too short"),
        _ => error,
    })?;
    if &header[..8] != MAGIC {
        return Err(invalid("it is not a catalog backup"));
    }
    if header[8..12] != FORMAT.to_le_bytes() {
        return Err(invalid("its format is not known to this version"));
    }
    let key = cipher(&key_of(header[48..].first_chunk().expect("the header has 80 bytes")));
    let mut frame = read_frame(sealed, FRAME_LEN + TAG_LEN)?;
    for index in 0u64.. {
        let next =
            if frame.len() == FRAME_LEN + TAG_LEN { read_frame(sealed, FRAME_LEN + TAG_LEN)? } else { Vec::new() };
        let is_last = next.is_empty();
        let plain = key
            .open_in_place(nonce(index, is_last), Aad::from(header), &mut frame)
            .map_err(|_| invalid("it was changed, or sealed under another master key"))?;
        out.write_all(plain)?;
        if is_last {
            break;
        }
        frame = next;
    }
    Ok(())
}

/// The next `len` bytes, or what is left.
fn read_frame(source: &mut dyn Read, len: usize) -> io::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(len + TAG_LEN);
    source.take(len as u64).read_to_end(&mut frame)?;
    Ok(frame)
}

/// Every frame of a backup has a number of its own, and the last one is marked; every backup has a key of its own.
fn nonce(index: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    bytes[8] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { created_ms: 5, generation: 6, store: StoreId::from_bytes([7; 16]), salt: [8; 32] }
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal(&header(), &[1; 32], &mut &plain[..], &mut out).unwrap();
        out
    }

    fn opened(sealed: &[u8], key: u8) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        open(|_| Zeroizing::new([key; 32]), &mut &sealed[..], &mut out)?;
        Ok(out)
    }

    #[test]
    fn what_is_sealed_opens() {
        for len in [0, 1, FRAME_LEN - 1, FRAME_LEN, FRAME_LEN + 1, 3 * FRAME_LEN] {
            let plain: Vec<u8> = (0..=250).cycle().take(len).collect();
            assert_eq!(opened(&sealed(&plain), 1).unwrap(), plain, "{len} bytes");
        }
    }

    #[test]
    fn changes_cuts_additions_and_swaps_are_found() {
        let plain = vec![3; 2 * FRAME_LEN + 10];
        let sealed = sealed(&plain);
        let frame = FRAME_LEN + TAG_LEN;
        let mut wrong: Vec<Vec<u8>> = (0..HEADER_LEN)
            .chain([HEADER_LEN + 5, sealed.len() - 1])
            .map(|at| {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                changed
            })
            .collect();
        wrong.extend(
            [0, 10, HEADER_LEN, HEADER_LEN + frame, HEADER_LEN + 2 * frame, sealed.len() - 1]
                .map(|len| sealed[..len].to_vec()),
        );
        wrong.push([&sealed[..], b"x"].concat());
        let mut swapped = sealed.clone();
        swapped[HEADER_LEN..HEADER_LEN + 2 * frame].rotate_left(frame);
        wrong.push(swapped);
        for wrong in wrong {
            assert_eq!(opened(&wrong, 1).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        assert_eq!(opened(&sealed, 2).unwrap_err().kind(), ErrorKind::InvalidData, "another master key");
    }
}
