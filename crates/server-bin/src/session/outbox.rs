//! [`Outbox`]: frames on their way to the client.

use std::collections::VecDeque;
use std::io;

use bytes::Buf;
use proto::EncodedFrame;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;

/// Frames on their way to the client, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<(EncodedFrame, Option<OwnedSemaphorePermit>)>,
    len: usize,
    needs_flush: bool,
}

impl Outbox {
    /// Adds a frame; `slot` is given back when it has been written.
    pub(super) fn push(&mut self, frame: EncodedFrame, slot: Option<OwnedSemaphorePermit>) {
        self.len += frame.remaining();
        self.frames.push_back((frame, slot));
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether everything is with the system.
    pub(super) fn is_done(&self) -> bool {
        self.frames.is_empty() && !self.needs_flush
    }

    /// Writes some of it. Given up halfway, it goes on from there at the next call.
    ///
    /// # Errors
    /// When the connection failed.
    pub(super) async fn write_some(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let Some((frame, _)) = self.frames.front_mut() else {
            writer.flush().await?;
            self.needs_flush = false;
            return Ok(());
        };
        let written = writer.write_buf(frame).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.len -= written;
        self.needs_flush = true;
        if !frame.has_remaining() {
            self.frames.pop_front();
        }
        Ok(())
    }
}
