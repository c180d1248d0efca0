//! What comes from other members: damaged frames are no frames, and a snapshot counts only when all of it is there.
#[path = "support/alone.rs"]
mod alone;

use std::sync::Arc;

use alone::alone;
use bytes::Bytes;
use hull_kv::{
    disk::{Disk, MemoryDisk},
    driver::{Birth, Driver, Identity, Nobody, Start},
    peer::{FRAME_HEADER, Frame, Word},
    shared::Shared,
    snapfile::{Arriving, Encoder, Runs},
};
use hull_kv_core::{Caller, Instant, Store};
use hull_kv_proto::{
    etcdserverpb::PutRequest,
    hullpb::{Forward, Forwarded, command::Op},
};

fn frame() -> (Frame, Vec<u8>) {
    let proposals = vec![Forwarded { id: 7, command: Bytes::from_static(b"a command"), reconfigures: true }];
    let frame = Frame::Word(Word::Forward(Forward { term: 3, proposals }));
    let mut bytes = Vec::new();
    frame.put(&mut bytes);
    (frame, bytes)
}

fn take(bytes: &[u8]) -> Option<Frame> {
    let header: [u8; FRAME_HEADER] = bytes.get(..FRAME_HEADER)?.try_into().ok()?;
    let length = Frame::payload_length(&header).ok()?;
    let payload = bytes.get(FRAME_HEADER..FRAME_HEADER + length)?;
    Frame::take(&header, Bytes::copy_from_slice(payload)).ok()
}

#[test]
fn a_frame_is_what_was_sent_and_with_any_bit_flipped_it_is_none() {
    let (frame, bytes) = frame();
    assert_eq!(take(&bytes), Some(frame));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(take(&flipped), None, "bit {bit} was flipped and nobody noticed");
    }
}

#[test]
fn a_length_that_no_frame_has_is_refused_before_anything_is_read() {
    assert!(Frame::payload_length(&[0xff; FRAME_HEADER]).is_err());
}

/// A leader with some keys, and its snapshot as it goes over the network.
fn snapshot() -> (Driver, Vec<u8>) {
    let mut driver = Driver::open(Arc::new(MemoryDisk::default()), alone()).expect("open");
    driver.campaign();
    for n in 0..200 {
        let put = PutRequest { key: format!("k{n}").into(), value: "value".into(), ..PutRequest::default() };
        driver.propose(Op::Put(put), Caller::Nobody, None);
        driver.turn(Instant(0), &mut Nobody).expect("turn");
    }
    let shared = Arc::clone(driver.shared());
    let mut encoder = Encoder::new(&shared).expect("whole");
    let mut bytes = Vec::new();
    while let Some(piece) = encoder.next(&shared).expect("the same store") {
        bytes.extend(piece);
    }
    (driver, bytes)
}

fn receive(disk: &MemoryDisk, bytes: &[u8]) -> Result<u32, String> {
    let shared = Arc::new(Shared::new(2, Store::new(), Runs::default()));
    let mut arriving = Arriving::begin(Arc::new(disk.clone()), &shared).expect("begin");
    arriving.write(bytes).expect("write");
    let arrived = arriving.finish().map_err(|error| error.to_string())?;
    Ok(arrived.store.hash_kv(0).expect("hash").hash)
}

#[test]
fn a_received_snapshot_is_the_senders_state_and_any_flipped_byte_or_early_end_is_noticed() {
    let (leader, bytes) = snapshot();
    let disk = MemoryDisk::default();
    let expected = leader.shared().store.read().expect("store").hash_kv(0).expect("hash").hash;
    assert_eq!(receive(&disk, &bytes), Ok(expected));
    for at in (0..bytes.len()).step_by(37) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        let why = receive(&disk, &flipped).expect_err("a flipped byte");
        assert!(why.contains("snapshot.in") && why.contains("damaged at byte"), "{why}");
        assert!(receive(&disk, &bytes[..at]).is_err(), "an end after {at} bytes was taken for the whole");
        assert!(disk.list().expect("list").is_empty(), "what is damaged takes no space");
    }
}

#[test]
fn a_power_cut_while_a_snapshot_arrives_leaves_the_member_as_it_was() {
    let (_leader, bytes) = snapshot();
    let disk = MemoryDisk::default();
    let start = || Start {
        identity: Identity { name: "two".into(), client_urls: vec![] },
        birth: Birth::Join { member: 2, cluster: 9, members: Vec::new() },
        ..alone()
    };
    let member = Driver::open(Arc::new(disk.clone()), start()).expect("open");
    let mut arriving = Arriving::begin(Arc::new(disk.clone()), member.shared()).expect("begin");
    arriving.write(&bytes[..bytes.len() / 2]).expect("write");
    disk.sync_names().expect("sync");
    let after = disk.after_power_cut(|_, at_risk| at_risk / 2);
    let member = Driver::open(Arc::new(after.clone()), start()).expect("it starts again");
    assert_eq!(member.shared().store.read().expect("store").usage().keys, 0);
    assert!(!after.list().expect("list").contains(&"snapshot.in".to_owned()), "what is unfinished takes no space");
}
