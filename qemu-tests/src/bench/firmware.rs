//! How long the firmware takes until it enters the kernel: measured with a kernel of thirty instructions that says the time.

use super::machine::Machine;
use super::marks::Missing;
use std::path::Path;

/// Where the boot protocol's real-mode entry is in a bzImage, bytes: behind the boot sector.
const ENTRY: usize = 0x200;

/// Where the code starts, behind the protocol's header.
const CODE: usize = 0x280;

/// Sectors of real-mode code behind the boot sector.
const SETUP_SECTORS: u8 = 1;

/// 16-bit code: reads the time-stamp counter and writes it, between `T` and `E`, to the first serial port.
const PROGRAM: &[u8] = &[
    0xfa, // cli
    0x0f, 0x31, // rdtsc
    0x66, 0x89, 0xc3, // mov ebx, eax
    0x66, 0x89, 0xd1, // mov ecx, edx
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'T', 0xee, // mov al, 'T'; out dx, al
    0x88, 0xd8, 0xee, 0x66, 0xc1, 0xeb, 0x08, // mov al, bl; out dx, al; shr ebx, 8
    0x88, 0xd8, 0xee, 0x66, 0xc1, 0xeb, 0x08, //
    0x88, 0xd8, 0xee, 0x66, 0xc1, 0xeb, 0x08, //
    0x88, 0xd8, 0xee, 0x66, 0xc1, 0xeb, 0x08, //
    0x88, 0xc8, 0xee, 0x66, 0xc1, 0xe9, 0x08, // mov al, cl; out dx, al; shr ecx, 8
    0x88, 0xc8, 0xee, 0x66, 0xc1, 0xe9, 0x08, //
    0x88, 0xc8, 0xee, 0x66, 0xc1, 0xe9, 0x08, //
    0x88, 0xc8, 0xee, 0x66, 0xc1, 0xe9, 0x08, //
    0xb0, b'E', 0xee, // mov al, 'E'; out dx, al
    0xf4, 0xeb, 0xfd, // hlt, again and again
];

/// A file that QEMU takes for a Linux kernel. Layout: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
fn image() -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[0x1f1] = SETUP_SECTORS;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    // A short jump from the entry over the header; the distance counts from behind the jump.
    image[ENTRY..ENTRY + 2].copy_from_slice(&[0xeb, (CODE - ENTRY - 2) as u8]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020c_u16.to_le_bytes());
    image[0x211] = 1; // LOADED_HIGH: the rest goes to 1 MiB, as with a real kernel.
    image[CODE..CODE + PROGRAM.len()].copy_from_slice(PROGRAM);
    image
}

/// The moment between `T` and `E` on the console, where each character stands for one byte.
fn moment(console: &str) -> Option<u64> {
    let bytes: Vec<u8> = console.chars().map(|character| character as u8).collect();
    let said = bytes.windows(10).rfind(|said| said[0] == b'T' && said[9] == b'E')?;
    Some(u64::from_le_bytes(said[1..9].try_into().ok()?))
}

/// Nanoseconds of guest time from switching on to the first instruction of a kernel, on a machine like the measured ones.
pub(super) fn kernel_entry(folder: &Path, like: &Machine) -> Result<u64, Missing> {
    let kernel = folder.join("says-the-time");
    std::fs::write(&kernel, image()).map_err(|error| Missing::new(format!("write the measuring kernel: {error}")))?;
    let machine = Machine { kernel, initramfs: None, ..like.clone() };
    let console = machine.console_when(|console| moment(console).is_some())?;
    moment(&console).ok_or_else(|| Missing::new("the measuring kernel said nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_read_between_its_two_letters() {
        let bytes = [b"noiseT".as_slice(), &0x0102_0304_a5a6_a7a8_u64.to_le_bytes(), b"E"].concat();
        let console: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        assert_eq!(moment(&console), Some(0x0102_0304_a5a6_a7a8));
    }

    #[test]
    fn the_jump_over_the_header_lands_on_the_code() {
        let image = image();
        assert_eq!(ENTRY + 2 + usize::from(image[ENTRY + 1]), CODE);
        assert_eq!(image[CODE], PROGRAM[0]);
    }
}
