//! [`Producer`]: seals what is sent. In a sealed vault, where nobody else can, it opens each record again before that
//! leaves: failing memory and compressors are what damages backups unseen.

use std::sync::Arc;

use bytes::Bytes;
use object::{ObjectId, SealedRecord};
use vault::{CompressionLevel, EncodedDelta, Keys, Mode, Opened, Opener, PlainObject, SealError, Sealer};

use super::shared::Shared;
use crate::error::ClientError;

/// Seals; one per thread.
pub(crate) struct Producer {
    keys: Arc<Keys>,
    sealer: Sealer,
    /// In a sealed vault.
    opener: Option<Opener>,
}

/// A record just sealed does not hold what went into it.
#[derive(Debug, thiserror::Error)]
#[error("it is not what was sealed; this machine's memory may be failing")]
struct NotAsSealed;

impl Producer {
    pub(crate) fn new(keys: &Arc<Keys>, mode: Mode) -> Self {
        let opener = (mode == Mode::Sealed).then(|| Opener::new(Arc::clone(keys)));
        Self { sealer: new_sealer(keys), keys: Arc::clone(keys), opener }
    }

    /// Seals objects together.
    pub(crate) fn whole(&mut self, objects: &[PlainObject]) -> Result<SealedRecord, ClientError> {
        let record = self.seal(|sealer| sealer.seal(objects))?;
        if let Some(opener) = &mut self.opener {
            check(opener, &record, |opened| matches!(opened, Opened::Objects(found) if found == objects))?;
        }
        Ok(record)
    }

    /// Seals the chunk `id` of these bytes as a delta.
    pub(crate) fn delta(
        &mut self,
        id: &ObjectId,
        bytes: &Bytes,
        delta: &EncodedDelta,
    ) -> Result<SealedRecord, ClientError> {
        let record = self.seal(|sealer| sealer.seal_delta(id, bytes.len(), &delta.bases, &delta.encoded))?;
        if let Some(opener) = &mut self.opener {
            let keys = &self.keys;
            check(opener, &record, |opened| match opened {
                Opened::Delta(found) => {
                    found.encoded == delta.encoded && found.bases == delta.bases && keys.chunk_id(bytes) == *id
                }
                Opened::Objects(_) => false,
            })?;
        }
        Ok(record)
    }

    /// Seals; begins another sealing session when this one is used up.
    fn seal(
        &mut self,
        mut seal: impl FnMut(&mut Sealer) -> Result<SealedRecord, SealError>,
    ) -> Result<SealedRecord, ClientError> {
        match seal(&mut self.sealer) {
            Err(SealError::UsedUp) => {
                self.sealer = new_sealer(&self.keys);
                seal(&mut self.sealer)
            }
            sealed => sealed,
        }
        .map_err(|error| ClientError::Usage(format!("objects cannot be sealed: {error}")))
    }
}

fn new_sealer(keys: &Keys) -> Sealer {
    Sealer::new(keys, Shared::salt(), CompressionLevel::DEFAULT)
}

fn check(opener: &mut Opener, record: &SealedRecord, holds: impl Fn(&Opened) -> bool) -> Result<(), ClientError> {
    let id = record.view().head().members().next().expect("a record has a member").id;
    let damaged = |source: Box<dyn std::error::Error + Send + Sync>| {
        let what = format!("object {}, just sealed,", id.short());
        ClientError::Damaged { what, source }
    };
    match opener.open(record.view()) {
        Ok(opened) if holds(&opened) => Ok(()),
        Ok(_) => Err(damaged(Box::new(NotAsSealed))),
        Err(error) => Err(damaged(Box::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use object::Kind;
    use vault::VaultKey;

    use super::*;

    fn keys() -> Arc<Keys> {
        Arc::new(Keys::new(&VaultKey::from_bytes([1; 32])))
    }

    /// A bit of the chunk flips between the moment it was named and the moment it is sealed.
    #[test]
    fn a_failing_memory_is_noticed_where_nobody_else_could() {
        let keys = keys();
        let bytes = Bytes::from_static(b"what was read and named");
        let mut object = PlainObject::new(&keys, Kind::Data, Vec::new(), bytes.clone());
        let delta = EncodedDelta { bases: vec![keys.chunk_id(b"basis")], encoded: b"copies".to_vec() };
        let mut sealed = Producer::new(&keys, Mode::Sealed);
        assert!(sealed.whole(std::slice::from_ref(&object)).is_ok());
        assert!(sealed.delta(&object.id, &bytes, &delta).is_ok());
        let flipped = Bytes::from_static(b"what was read and nAmed");
        object.body = flipped.clone();
        let whole = sealed.whole(std::slice::from_ref(&object)).unwrap_err();
        assert!(whole.to_string().contains("just sealed"), "{whole}");
        assert!(matches!(sealed.delta(&object.id, &flipped, &delta), Err(ClientError::Damaged { .. })));
        // The server of a managed vault looks itself, before it acknowledges.
        assert!(Producer::new(&keys, Mode::Managed).whole(&[object]).is_ok());
    }
}
