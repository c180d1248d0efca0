//! Why a slot is bad: kept on the state partition, because attribute bits have no room for words.
//!
//! `/var/lib/hull/init/trial` is written before a swap jumps and names the slot on trial. What ends a trial writes its reason there.
//! The next boot moves it to `bad-a` or `bad-b`, where it stays until the slot gets another release.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use hull_init_core::slots::{SlotName, State};

use super::trouble::Trouble;

const FOLDER: &str = "/var/lib/hull/init";
const TRIAL: &str = "trial";

/// What is said when the trial itself could not say anything.
const SILENT: &str = "it ended without a word: its kernel or PID 1 panicked or hung, or the power was cut";

/// A trial is about to begin. `release` is its version.
pub(crate) fn begin_trial(slot: SlotName, release: &str) -> Result<(), Trouble> {
    write(TRIAL, &format!("{slot} {release}\n"))
}

/// The running trial fails because of `reason`; call before the reset.
pub(crate) fn fail_trial(slot: SlotName, release: &str, reason: &str) -> Result<(), Trouble> {
    write(TRIAL, &format!("{slot} {release}\n{}\n", one_line(reason)))
}

/// The running trial is proved.
pub(crate) fn end_trial(slot: SlotName) {
    let _ = fs::remove_file(path(TRIAL)); // not there after a boot-time trial
    forget(slot);
}

/// The slot gets another release.
pub(crate) fn forget(slot: SlotName) {
    let _ = fs::remove_file(path(&bad(slot))); // usually not there
}

/// Why a slot is bad, if that was noted.
pub(crate) fn why_bad(slot: SlotName) -> Option<String> {
    fs::read_to_string(path(&bad(slot))).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Looks whether a trial ended before this boot, and gives the line that tells people. `state` says what the table has of a slot,
/// `kernel` what the last kernel left in pstore, if anything.
pub(crate) fn explain_last_trial(state: impl Fn(SlotName) -> Option<State>, kernel: Option<&str>) -> Option<String> {
    let text = fs::read_to_string(path(TRIAL)).ok()?;
    let mut lines = text.lines();
    let mut head = lines.next().unwrap_or_default().split(' ');
    let slot = SlotName::parse(head.next()?)?;
    let release = head.next().unwrap_or("?");
    if !matches!(state(slot), Some(State::Spent { .. })) {
        return None; // not jumped to yet, tries left, or proved
    }
    let reason = match (lines.next().filter(|line| !line.is_empty()), kernel) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(kernel)) => format!("its kernel's last words: {}", one_line(kernel)),
        (None, None) => SILENT.to_owned(),
    };
    let line = format!("release {release} in slot {slot} failed its trial: {reason}");
    let kept = write(&bad(slot), &format!("{reason}\n"));
    if kept.is_ok() {
        let _ = fs::remove_file(path(TRIAL)); // it would only be told again
    }
    Some(line)
}

/// The first line of the panic that pstore kept from the kernel before this one.
pub(crate) fn last_kernel_s_words() -> Option<String> {
    let entries = fs::read_dir("/sys/fs/pstore").ok()?;
    let mut texts = entries.flatten().filter_map(|entry| fs::read(entry.path()).ok());
    texts.find_map(|bytes| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let at = text.find("Kernel panic").or_else(|| text.find("BUG: ")).or_else(|| text.find("Oops"))?;
        text[at..].lines().next().map(str::to_owned)
    })
}

fn write(name: &str, text: &str) -> Result<(), Trouble> {
    let target = path(name);
    let temporary = path(&format!("{name}.new"));
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(FOLDER)?;
        let mut file = fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &target)?;
        fs::File::open(FOLDER)?.sync_all()
    };
    write().map_err(|error| Trouble::new("write", target.display(), error, "check the state partition"))
}

fn bad(slot: SlotName) -> String {
    format!("bad-{slot}")
}

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
