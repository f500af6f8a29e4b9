//! What decoding costs in memory: in proportion to the bytes that are there, whatever lengths they announce.
//!
//! A test binary of its own with one test, because it counts the allocations of the whole process.

use std::alloc::System;

use bytes::{Bytes, BytesMut};
use proto::{ClientMessage, Frame, FrameCodec, FramePhase, ServerMessage, Side};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio_util::codec::Decoder;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Numbers that a list, text or count could have; as the codec writes them.
const NUMBERS: [&[u8]; 6] = [
    &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xfd, 0, 0, 0, 0, 1, 0, 0, 0],
    &[0xfc, 0xff, 0xff, 0xff, 0xff],
    &[0xfc, 0, 0, 0, 1],
    &[0xfb, 0x00, 0x04],
];

/// Bytes allocated for each byte of payload, and for any message at all (errors are made of text).
const PER_BYTE: usize = 64;
const PER_MESSAGE: usize = 4096;

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

fn golden_frames() -> Vec<Frame> {
    let lines = include_str!("golden/frames-v1.txt").lines();
    let frames = lines.map(|line| {
        let mut codec = FrameCodec::new();
        codec.set_phase(FramePhase::AfterAuth);
        codec.decode(&mut BytesMut::from(&unhex(line.split_once(' ').unwrap().1)[..])).unwrap().unwrap()
    });
    frames.collect()
}

#[track_caller]
fn check(frame: Frame) {
    let allowed = PER_MESSAGE + PER_BYTE * frame.payload_len();
    let message_type = frame.message_type;
    let region = Region::new(ALLOCATOR);
    match message_type.sender() {
        Side::Client => drop(ClientMessage::decode(frame)),
        Side::Server => drop(ServerMessage::decode(frame)),
    }
    let allocated = region.change().bytes_allocated;
    assert!(allocated <= allowed, "{message_type}: {allocated} bytes allocated, {allowed} allowed");
}

#[test]
fn memory_follows_the_bytes_received() {
    for frame in golden_frames() {
        check(frame.clone());
        for number in NUMBERS {
            for at in 0..frame.head.len() {
                let head = [&frame.head[..at], number, &frame.head[at + 1..]].concat();
                check(Frame { head: Bytes::from(head), ..frame.clone() });
            }
            for at in 0..frame.body.len() {
                let body = [&frame.body[..at], number, &frame.body[at + 1..]].concat();
                check(Frame { body: Bytes::from(body), ..frame.clone() });
            }
        }
        // The most elements that fit: lists of the shortest.
        for filler in [0, 1] {
            let mut head = frame.head.to_vec();
            head.resize(60_000, filler);
            check(Frame { head: head.into(), ..frame.clone() });
            let mut body = frame.body.to_vec();
            body.resize(60_000, filler);
            check(Frame { body: body.into(), ..frame.clone() });
        }
    }
}
