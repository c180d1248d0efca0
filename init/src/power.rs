//! The power button: input devices that have KEY_POWER.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};

/// linux/input-event-codes.h
const KEY_POWER: u16 = 116;
const EV_KEY: u16 = 1;
/// `struct input_event` on 64-bit: two longs of time, type, code, value.
const EVENT_BYTES: usize = 24;

/// Opens every input device that has a power key.
pub(crate) fn buttons() -> Vec<OwnedFd> {
    let Ok(entries) = std::fs::read_dir("/sys/class/input") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with("event") && has_power_key(name))
        .filter_map(|name| open_device(&name))
        .collect()
}

fn open_device(name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(format!("/dev/input/{name}"), flags, Mode::empty()).ok()
}

fn has_power_key(name: &str) -> bool {
    let keys = std::fs::read_to_string(format!("/sys/class/input/{name}/device/capabilities/key")).unwrap_or_default();
    has_key(&keys, KEY_POWER)
}

/// Whether the bit map of sysfs (hexadecimal longs, the highest first) has a key.
fn has_key(map: &str, key: u16) -> bool {
    let word = map.split_ascii_whitespace().rev().nth(usize::from(key / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).is_some_and(|bits| bits >> (key % 64) & 1 == 1)
}

/// Reads what waits; whether the power key was pressed.
pub(crate) fn was_pressed(device: &OwnedFd) -> bool {
    let mut events = [0u8; EVENT_BYTES * 16];
    let read = rustix::io::read(device, &mut events).unwrap_or(0);
    events[..read].chunks_exact(EVENT_BYTES).any(|event| {
        let number = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
        let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
        number(16) == EV_KEY && number(18) == KEY_POWER && value == 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_key_is_found_in_the_kernels_bit_map() {
        assert!(has_key("10000000000000 0", KEY_POWER), "an ACPI power button");
        assert!(!has_key("8000000000000000 0", KEY_POWER));
        assert!(!has_key("0", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
    }
}
