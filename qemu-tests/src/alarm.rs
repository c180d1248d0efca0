//! What a healthy node never prints: seen on a console, it fails the test unless the test declared it.

/// A kind of line that means something broke inside the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The kernel gave up.
    KernelPanic,
    /// The kernel caught a fault of its own.
    Oops,
    /// A kernel assertion, or a lock-up.
    Bug,
    /// A kernel warning with a stack trace.
    Warning,
    /// A block of the root did not match its hash.
    VerityCorruption,
    /// ext4 or erofs found its own structures broken.
    FileSystemError,
    /// A program of ours panicked.
    ProgramPanic,
    /// A task hung, or a processor stalled.
    Hang,
    /// The kernel killed a process for memory.
    OutOfMemory,
}

/// Text that raises an alarm, most specific first.
const SIGNS: &[(&str, Alarm)] = &[
    ("Kernel panic - not syncing", Alarm::KernelPanic),
    ("Oops: ", Alarm::Oops),
    ("general protection fault", Alarm::Oops),
    ("Unable to handle kernel", Alarm::Oops),
    // With what stands before it: a word that only ends in these letters is none.
    ("] BUG: ", Alarm::Bug),
    ("kernel BUG at", Alarm::Bug),
    ("WARNING: CPU", Alarm::Warning),
    ("WARNING: possible", Alarm::Warning),
    ("EXT4-fs error", Alarm::FileSystemError),
    ("panicked at", Alarm::ProgramPanic),
    ("blocked for more than", Alarm::Hang),
    ("self-detected stall", Alarm::Hang),
    ("Out of memory: Killed process", Alarm::OutOfMemory),
    ("Memory cgroup out of memory", Alarm::OutOfMemory),
];

impl Alarm {
    /// The alarm that a console line raises, if any.
    pub fn in_line(line: &str) -> Option<Self> {
        if line.contains("verity") && line.contains("corrupted") {
            return Some(Self::VerityCorruption);
        }
        if line.contains("erofs") && line.contains("corrupt") {
            return Some(Self::FileSystemError);
        }
        if line.starts_with("BUG: ") {
            return Some(Self::Bug);
        }
        SIGNS.iter().find(|(sign, _)| line.contains(sign)).map(|(_, alarm)| *alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kernels_print_when_they_break_is_recognised() {
        for (line, alarm) in [
            ("[    1.2] Kernel panic - not syncing: Attempted to kill init!", Alarm::KernelPanic),
            ("[    3.1] Oops: 0002 [#1] SMP NOPTI", Alarm::Oops),
            ("BUG: kernel NULL pointer dereference, address: 0", Alarm::Bug),
            ("WARNING: CPU: 0 PID: 1 at fs/ext4/inode.c:1", Alarm::Warning),
            ("device-mapper: verity: 254:2: data block 7 is corrupted", Alarm::VerityCorruption),
            ("thread 'main' panicked at init/src/main.rs:3", Alarm::ProgramPanic),
            ("EXT4-fs error (device vda4): ext4_lookup", Alarm::FileSystemError),
        ] {
            assert_eq!(Alarm::in_line(line), Some(alarm), "{line}");
        }
    }

    #[test]
    fn an_ordinary_boot_raises_none() {
        for line in [
            "Linux version 6.12.0 (gcc) #1 SMP",
            "DEBUG: nothing of interest",
            "device-mapper: verity: sha256 using shash",
            "panic=10 on the command line",
        ] {
            assert_eq!(Alarm::in_line(line), None, "{line}");
        }
    }
}
