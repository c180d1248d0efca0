//! Sections of a unified kernel image (UAPI Group specification, "Unified Kernel Image"): a PE file that carries
//! `.linux`, `.initrd`, `.cmdline` and `.osrel`.

use std::fmt;
use std::ops::Range;

use object::pe::ImageNtHeaders64;
use object::read::pe::{ImageNtHeaders as _, ImageOptionalHeader as _};
use object::{LittleEndian, pe};

/// Why a file is not a unified kernel image that can be started from here.
#[allow(missing_docs, reason = "the sentence of a variant explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeError {
    /// Not a 64-bit PE file; `reason` is the parser's.
    NotPe { reason: String },
    /// The section is not there.
    NoSection { name: &'static str },
    /// The section lies outside of the file or its length is zero.
    OutOfFile { name: &'static str },
}

impl fmt::Display for PeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPe { reason } => write!(f, "not a unified kernel image: {reason}"),
            Self::NoSection { name } => write!(f, "unified kernel image has no section {name}"),
            Self::OutOfFile { name } => {
                write!(f, "unified kernel image: section {name} is empty or outside of the file")
            }
        }?;
        f.write_str("; build the release again")
    }
}

impl std::error::Error for PeError {}

/// Where kernel and initramfs lie in a unified kernel image, in bytes from the start of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uki {
    /// The bzImage.
    pub linux: Range<usize>,
    /// The initramfs.
    pub initrd: Range<usize>,
}

impl Uki {
    /// Finds both sections.
    ///
    /// # Errors
    /// Not a PE file, or a section is missing or cut short.
    pub fn parse(file: &[u8]) -> Result<Self, PeError> {
        Ok(Self { linux: section(file, ".linux")?, initrd: section(file, ".initrd")? })
    }
}

/// The bytes of the file that a section holds. The virtual size counts: the raw size is padded (systemd-stub(7)).
///
/// # Errors
/// Not a PE file, or the section is missing or cut short.
pub fn section(file: &[u8], name: &'static str) -> Result<Range<usize>, PeError> {
    let (_, sections) = headers(file)?;
    let header =
        sections.iter().find(|header| header.raw_name() == name.as_bytes()).ok_or(PeError::NoSection { name })?;
    let start = header.pointer_to_raw_data.get(LittleEndian) as usize;
    let raw = header.size_of_raw_data.get(LittleEndian) as usize;
    let size = raw.min(header.virtual_size.get(LittleEndian) as usize);
    let range = start..start.saturating_add(size);
    if size == 0 || range.end > file.len() {
        return Err(PeError::OutOfFile { name });
    }
    Ok(range)
}

/// The first virtual address behind all sections: where a builder adds the next one, in bytes.
///
/// # Errors
/// Not a PE file.
pub fn end_of_sections(file: &[u8]) -> Result<u64, PeError> {
    let (base, sections) = headers(file)?;
    let end = sections
        .iter()
        .map(|header| {
            let address = u64::from(header.virtual_address.get(LittleEndian));
            address + u64::from(header.virtual_size.get(LittleEndian))
        })
        .max();
    Ok(base + end.unwrap_or(0))
}

/// The image base and the section headers.
fn headers(file: &[u8]) -> Result<(u64, Vec<pe::ImageSectionHeader>), PeError> {
    let not_pe = |error: object::read::Error| PeError::NotPe { reason: error.to_string() };
    let dos = pe::ImageDosHeader::parse(file).map_err(not_pe)?;
    let mut offset = dos.nt_headers_offset().into();
    let (nt, _) = ImageNtHeaders64::parse(file, &mut offset).map_err(not_pe)?;
    let sections = nt.sections(file, offset).map_err(not_pe)?;
    Ok((nt.optional_header().image_base(), sections.iter().copied().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest PE file with sections: name, raw offset, raw size, virtual size.
    fn file(sections: &[(&str, u32, u32, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x44..0x46].copy_from_slice(&0x8664_u16.to_le_bytes());
        bytes[0x46] = sections.len() as u8;
        bytes[0x54] = 112; // size of the optional header, without data directories
        bytes[0x58..0x5a].copy_from_slice(&0x20b_u16.to_le_bytes());
        bytes[0x58 + 24..0x58 + 32].copy_from_slice(&0x1_4000_0000_u64.to_le_bytes());
        for (index, (name, offset, raw, size)) in sections.iter().enumerate() {
            let at = 0x58 + 112 + index * 40;
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&size.to_le_bytes());
            bytes[at + 12..at + 16].copy_from_slice(&(0x1000 * (index as u32 + 1)).to_le_bytes());
            bytes[at + 16..at + 20].copy_from_slice(&raw.to_le_bytes());
            bytes[at + 20..at + 24].copy_from_slice(&offset.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn sections_are_found_without_their_padding() {
        let bytes =
            file(&[(".osrel", 0x200, 0x20, 0x10), (".linux", 0x220, 0x20, 0x1f), (".initrd", 0x240, 0x20, 0x20)]);
        assert_eq!(Uki::parse(&bytes), Ok(Uki { linux: 0x220..0x23f, initrd: 0x240..0x260 }));
        assert_eq!(end_of_sections(&bytes), Ok(0x1_4000_3020));
    }

    #[test]
    fn a_missing_empty_or_cut_section_is_named() {
        let missing = file(&[(".linux", 0x220, 0x20, 0x20)]);
        assert_eq!(Uki::parse(&missing), Err(PeError::NoSection { name: ".initrd" }));
        let empty = file(&[(".linux", 0x220, 0, 0x20)]);
        assert_eq!(Uki::parse(&empty), Err(PeError::OutOfFile { name: ".linux" }));
        let cut = file(&[(".linux", 0x3f0, 0x20, 0x20)]);
        assert_eq!(Uki::parse(&cut), Err(PeError::OutOfFile { name: ".linux" }));
    }

    #[test]
    fn no_input_panics() {
        let good = file(&[(".linux", 0x220, 0x20, 0x20), (".initrd", 0x240, 0x20, 0x20)]);
        for length in 0..good.len() {
            let _ = Uki::parse(&good[..length]);
        }
        for index in 0..0x180 {
            let mut changed = good.clone();
            changed[index] = 0xff;
            let _ = Uki::parse(&changed);
            let _ = end_of_sections(&changed);
        }
    }
}
