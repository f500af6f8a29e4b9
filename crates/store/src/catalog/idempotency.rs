//! Answers already given: the same key gets the same answer, whatever happened since.

use rusqlite::{Connection, Transaction};

use crate::catalog::{clock, row};
use crate::commit::Stored;
use crate::ids::VaultKey;
use crate::{IdempotencyKey, StoreError, UnixMs};

/// What a commit answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) received: UnixMs,
    pub(crate) generation: u64,
    pub(crate) stored: Stored,
    /// The snapshot's number in its chain, or the version of each change of a drive.
    pub(crate) numbers: Vec<u64>,
}

const FORMAT: u8 = 1;

impl Answer {
    fn encode(&self) -> Vec<u8> {
        let Stored { bytes, objects, delta_objects } = self.stored;
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.received.0.to_le_bytes());
        for number in [self.generation, bytes, objects, delta_objects].iter().chain(&self.numbers) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, rest) = bytes.split_first()? else { return None };
        let (received, rest) = rest.split_first_chunk::<8>()?;
        let (numbers, []) = rest.as_chunks::<8>() else { return None };
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        Some(Self {
            received: UnixMs(i64::from_le_bytes(*received)),
            generation: numbers.next()?,
            stored: Stored { bytes: numbers.next()?, objects: numbers.next()?, delta_objects: numbers.next()? },
            numbers: numbers.collect(),
        })
    }
}

/// Whether bytes are an answer, which is then the same after it is written again.
#[cfg(fuzzing)]
pub(crate) fn reads(bytes: &[u8]) -> bool {
    let Some(answer) = Answer::decode(bytes) else { return false };
    assert_eq!(answer.encode(), bytes);
    true
}

/// The answer this key got before.
///
/// Fails with [`StoreError::OtherRequest`] when it was asked with another request.
pub(crate) fn find(
    connection: &Connection,
    vault: VaultKey,
    key: IdempotencyKey,
    request_hash: &[u8; 32],
) -> Result<Option<Answer>, StoreError> {
    let sql = "SELECT request_hash, response FROM idempotency WHERE vault = ?1 AND key = ?2";
    let found = row(connection, sql, (vault.0, key.as_bytes()), |row| {
        Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    let Some((asked_hash, response)) = found else { return Ok(None) };
    if asked_hash != *request_hash {
        return Err(StoreError::OtherRequest);
    }
    let answer = Answer::decode(&response);
    answer.map(Some).ok_or_else(|| StoreError::CatalogUnusable { what: "an answer of it cannot be read".to_owned() })
}

/// Keeps an answer.
pub(crate) fn insert(
    tx: &Transaction<'_>,
    vault: VaultKey,
    key: IdempotencyKey,
    request_hash: &[u8; 32],
    answer: &Answer,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5)";
    let created = clock::counted(tx, answer.received)?;
    let parameters = (vault.0, key.as_bytes(), &request_hash[..], answer.encode(), created.0);
    tx.prepare_cached(sql)?.execute(parameters)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip() {
        let answer = Answer {
            received: UnixMs(-5),
            generation: 9,
            stored: Stored { bytes: 1, objects: u64::MAX, delta_objects: 3 },
            numbers: vec![4, 5],
        };
        let bytes = answer.encode();
        assert_eq!(Answer::decode(&bytes), Some(answer));
        for len in 0..bytes.len() - 16 {
            assert_eq!(Answer::decode(&bytes[..len]), None, "{len} bytes");
        }
        assert_eq!(Answer::decode(&[2]), None);
    }
}
