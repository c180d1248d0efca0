//! The corpus of the fuzz targets (`kv/fuzz`), and damaged variants of it, through every decoder that sees the network or the disk.
#[path = "../fuzz/src/lib.rs"]
#[allow(missing_docs, unreachable_pub, reason = "the targets are a library elsewhere")]
mod targets;

use std::{fs, path::PathBuf};

/// Damaged variants of one file. A fuzzer makes millions; these keep what is known to be right.
const VARIANTS: usize = 300;

/// Words that number fields often break at.
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("file").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
}

/// One to four changes: a bit, an edge, a cut, a piece doubled, or a piece of another file.
fn damage(bytes: &[u8], other: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    for _ in 0..rng.usize(1..=4) {
        if damaged.is_empty() {
            damaged.push(rng.u8(..));
        }
        let at = rng.usize(..damaged.len());
        match rng.u8(..6) {
            0 => damaged[at] ^= 1 << rng.u8(..8),
            1 => damaged[at] = EDGES[rng.usize(..EDGES.len())],
            2 => damaged.truncate(at),
            3 => {
                let piece = damaged[at..(at + rng.usize(..16)).min(damaged.len())].to_vec();
                damaged.splice(at..at, piece);
            }
            4 if !other.is_empty() => {
                let from = rng.usize(..other.len());
                let piece = &other[from..(from + rng.usize(..32)).min(other.len())];
                damaged.splice(at..at, piece.iter().copied());
            }
            _ => {
                damaged.remove(at);
            }
        }
    }
    damaged
}

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "no corpus for {target}");
    let variants = std::env::var("HULL_VARIANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(VARIANTS);
    let mut rng = fastrand::Rng::with_seed(1);
    for (path, bytes) in &corpus {
        run(bytes);
        for variant in 0..variants {
            let other = &corpus[rng.usize(..corpus.len())].1;
            let damaged = damage(bytes, other, &mut rng);
            let kept = damaged.clone();
            if std::panic::catch_unwind(move || run(&damaged)).is_err() {
                let at = std::env::temp_dir().join(format!("hull-kv-{target}"));
                fs::write(&at, kept).expect("keep it");
                panic!("{target}: variant {variant} of {} is in {}", path.display(), at.display());
            }
        }
    }
}

#[test]
fn frames_of_other_members_damaged_in_any_way_are_refused_or_whole() {
    replay("frame", targets::frame);
    replay("peer_words", targets::peer_words);
}

#[test]
fn what_a_client_of_http2_sends_damaged_in_any_way_ends_no_more_than_its_connection() {
    replay("http2", targets::http2);
}

#[test]
fn certificates_damaged_in_any_way_are_read_or_refused() {
    replay("certificate", targets::certificate);
}

#[test]
fn answers_of_name_servers_damaged_in_any_way_are_refused_or_hold_addresses() {
    replay("dns", targets::dns);
}

#[test]
fn the_state_machine_takes_any_command() {
    replay("commands", targets::commands);
}

#[test]
fn requests_of_clients_damaged_in_any_way_are_answered_or_refused() {
    replay("request", targets::request);
    replay("json", targets::json);
}

#[test]
fn files_of_the_disk_damaged_in_any_way_are_read_or_refused() {
    replay("log", targets::log);
    replay("snapshot", targets::snapshot);
    replay("arriving", targets::arriving);
    replay("database", targets::database);
    replay("etcd_log", targets::etcd_log);
}

#[test]
fn any_command_line_is_understood_or_refused() {
    replay("flags", targets::flags);
}
