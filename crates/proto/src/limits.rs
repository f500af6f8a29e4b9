//! Every bound of the protocol in one place. Both ends hold themselves and the other to the same numbers; none of them
//! is negotiated, so no peer can talk the other into more.

use std::time::Duration;

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_LEN: usize = 16;
/// Longest payload (head and body) of a frame once the client is authenticated.
pub const PAYLOAD_LEN_MAX: usize = 16 << 20;
/// Longest payload of a frame before the client is authenticated.
pub const PAYLOAD_LEN_MAX_BEFORE_AUTH: usize = 4 << 10;
/// Longest head of a frame.
pub const HEAD_LEN_MAX: usize = 0xffff;
/// Most bytes that a decoder makes room for ahead of the data, before the client is authenticated.
pub const READ_AHEAD_LEN_BEFORE_AUTH: usize = 64 << 10;
/// The same afterwards: as much as records come in at a time, so that a buffer need not grow, and be copied, on the way.
/// Room that nothing was received into takes addresses and no memory.
pub const READ_AHEAD_LEN: usize = 4 << 20;

/// Longest message of a WebSocket that carries frames; anybody may send one before they are known, so it is short.
pub const WEB_SOCKET_MESSAGE_LEN_MAX: usize = 64 << 10;

/// Bytes of records that a client puts into one frame, unless a single record is longer.
///
/// Small against a pack and a connection's memory, large against the cost of a frame.
pub const PUT_LEN_TARGET: usize = 1 << 20;

/// Most requests of one connection that wait for their answer.
pub const REQUEST_COUNT_MAX: usize = 64;
/// Most payload bytes of the requests of one connection that wait for their answer, together.
pub const REQUEST_LEN_MAX: usize = 16 << 20;

/// Most ids in one `Held`.
pub const HELD_ID_COUNT_MAX: usize = 65_536;
/// Most ids in one `Fetch`.
pub const FETCH_ID_COUNT_MAX: usize = 4096;
/// Most ids in one `Refused`.
pub const REFUSED_ID_COUNT_MAX: usize = 65_536;
/// Most ids in one `Failed`.
pub const MISSING_ID_COUNT_MAX: usize = 4096;
/// Most snapshots in one `SnapshotsAnswer`.
pub const SNAPSHOT_COUNT_MAX: usize = 1000;
/// Most snapshots in one `SnapshotChange`.
pub const CHANGE_COUNT_MAX: usize = 1000;
/// Most entries in one `DriveTrashed`.
pub const DRIVE_TRASH_COUNT_MAX: usize = 1000;
/// Most entries in one `DriveEntries`.
pub const DRIVE_ENTRY_COUNT_MAX: usize = 10_000;

/// Most requests in one `Signatures`.
pub const SIGNATURE_REQUEST_COUNT_MAX: usize = 1024;
/// Most ranges of one request in `Signatures`.
pub const SIGNATURE_RANGE_COUNT_MAX: usize = 4096;
/// Longest basis a signature is made of, in bytes: the longest chunk.
pub const SIGNATURE_BASIS_LEN_MAX: u32 = 4 << 20;
/// Most bytes of signatures that one `Signatures` may ask for, by [`SignatureRequest::answer_len_max`].
///
/// [`SignatureRequest::answer_len_max`]: crate::SignatureRequest::answer_len_max
pub const SIGNATURE_ANSWER_LEN_MAX: usize = 8 << 20;
/// Most bytes of signatures that the requests of one connection may wait for, together.
pub const SIGNATURE_PENDING_LEN_MAX: usize = 32 << 20;

/// Most key slots of a sealed vault.
pub const SLOT_COUNT_MAX: usize = 32;
/// Longest key slot.
pub const SLOT_LEN_MAX: usize = 1024;
/// Longest path on a drive.
pub const PATH_LEN_MAX: usize = 4095;
/// Longest name of one entry on a drive.
pub const NAME_LEN_MAX: usize = 255;

/// Time a client has from its connection being accepted to being authenticated, TLS and HTTP included.
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without a byte in either direction after which a server gives its client up.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Time without a byte in either direction after which a client gives its server up.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time without a frame of its own after which a client sends a `Ping`: well below the 60 s of common proxies.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
