//! Chooses between hardware acceleration and emulation: acceleration only where it truly works.
//!
//! `/dev/kvm` can exist and open on a machine whose processor has no virtualisation extension; a guest then dies in
//! the hypervisor's emulation. So the device must open *and* the processor must say `vmx` or `svm`.

use std::fs::{self, File};

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// The kernel's hypervisor.
    Kvm,
    /// QEMU's own translator: slower, works everywhere.
    Tcg,
}

/// Whether `/dev/kvm` opened for reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KvmDevice {
    Opens,
    Missing,
}

impl Acceleration {
    /// What works on this machine.
    pub fn detect() -> Self {
        let device = match File::options().read(true).write(true).open("/dev/kvm") {
            Ok(_) => KvmDevice::Opens,
            Err(_) => KvmDevice::Missing,
        };
        choose(device, &fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
    }

    /// The value of QEMU's `-accel`.
    pub fn qemu_name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,tb-size=256",
        }
    }
}

fn choose(device: KvmDevice, cpuinfo: &str) -> Acceleration {
    let extension = cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| matches!(flag, "vmx" | "svm"));
    match device {
        KvmDevice::Opens if extension => Acceleration::Kvm,
        _ => Acceleration::Tcg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_processor_support_is_not_used() {
        let flags = "processor : 0\nflags\t\t: fpu vme sse2 hypervisor\n";
        assert_eq!(choose(KvmDevice::Opens, flags), Acceleration::Tcg);
    }

    #[test]
    fn processor_support_without_a_device_is_not_used() {
        assert_eq!(choose(KvmDevice::Missing, "flags : vmx\n"), Acceleration::Tcg);
    }

    #[test]
    fn both_together_are_used() {
        assert_eq!(choose(KvmDevice::Opens, "flags\t: fpu svm\n"), Acceleration::Kvm);
    }

    #[test]
    fn the_words_elsewhere_in_cpuinfo_do_not_count() {
        let vmx_flags_line = "model name : vmx svm\nflags : fpu\nvmx flags : vnmi\n";
        assert_eq!(choose(KvmDevice::Opens, vmx_flags_line), Acceleration::Tcg);
    }
}
