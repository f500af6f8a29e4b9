//! [`remember`]: what is kept of each chunk of a hot file, so that the next change of it can be sent as a delta.
//!
//! In a managed vault that is every chunk's signature: the server rebuilds a delta against any chunk. In a sealed vault a
//! delta stands on whole chunks only, and nobody but the client that sent a chunk knows whether it is stored whole. So
//! there a signature is kept of what this client has sent whole; of what it has sent as a delta the bases are kept, with
//! their signatures, and the next version of that chunk becomes a delta against the same bases. New bytes travel in
//! supplements, which are bases from then on: that keeps a small edit small however many came before it. Of a chunk that
//! was there already nothing is known, and its first change is sent whole.

use vault::{Mode, PlainObject};

use super::window::FileContext;
use crate::session::Session;
use crate::signature_cache::{BasisChunk, Form, KeptSignature};

/// What this backup did with a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing: the vault held it.
    Held,
    /// It was sent, as it is or as a delta.
    Sent(Form),
}

/// Keeps the signature of the supplement that was sent with `chunk`, for [`remember`] to find.
pub(crate) fn remember_supplement(session: &Session, file: &FileContext, chunk: BasisChunk, supplement: &PlainObject) {
    let (mode, keys) = (session.mode(), session.keys());
    if let Some(memory) = file.memory() {
        let level = mode.supplement_level(supplement.body.len());
        // Its own first byte begins a block; the chunk it came with says where in the file it belongs.
        let place = (supplement.id, chunk.offset.next_multiple_of(u64::from(level.block_len().bytes())));
        memory.add_signature(&KeptSignature::compute(keys, mode, level, place, &supplement.body));
    }
}

/// Keeps what is known of `chunk`, if its file is worth it.
pub(crate) fn remember(session: &Session, file: &FileContext, chunk: BasisChunk, bytes: &[u8], fate: &Fate) {
    let Some(memory) = file.memory() else {
        return;
    };
    let (mode, keys) = (session.mode(), session.keys());
    let last = file.remembered.as_ref();
    let kept = |id| last.and_then(|last| last.kept_signature(keys, id));
    let form = match (mode, fate) {
        (Mode::Managed, _) => Form::Plain,
        (Mode::Sealed, Fate::Sent(form)) => form.clone(),
        (Mode::Sealed, Fate::Held) => last.map_or(Form::Plain, |last| last.form(&chunk.id)),
    };
    memory.add_chunk(chunk, &form);
    if let Form::Delta { bases } = &form {
        for basis in bases.iter().filter(|basis| !memory.has_signature(basis)) {
            if let Some(kept) = kept(basis) {
                memory.add_signature(&kept);
            }
        }
        return;
    }
    let known = kept(&chunk.id);
    let may_be_basis = mode == Mode::Managed || known.is_some() || *fate == Fate::Sent(Form::Plain);
    match known.filter(|known| known.is_laid_out_for(mode, chunk.offset)) {
        Some(known) => memory.add_signature(&known),
        None if may_be_basis => {
            let place = (chunk.id, chunk.offset);
            memory.add_signature(&KeptSignature::compute(keys, mode, mode.cached_level(), place, bytes));
        }
        None => {}
    }
}
