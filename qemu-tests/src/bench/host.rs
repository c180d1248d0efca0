//! The machine the benchmark ran on, and the sizes of what was built: facts for the document.

use super::limits::target;
use super::machine::run;
use super::marks::Missing;
use std::fs;
use std::path::Path;

/// What the numbers were measured on and with.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) qemu: String,
    pub(super) kernel: String,
}

impl Host {
    /// Looks at this machine; `kernel` is the guests' bzImage.
    pub(super) fn find(kernel: &Path) -> Self {
        let unknown = || "unknown".to_owned();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let version = run("qemu-system-x86_64", &["--version".as_ref()]).ok();
        let version = version.as_deref().and_then(|text| text.lines().next()).map(str::to_owned);
        Self {
            processor: model.map_or_else(unknown, |(_, model)| model.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            qemu: version.unwrap_or_else(unknown),
            kernel: fs::read(kernel).ok().and_then(|image| kernel_version(&image)).unwrap_or_else(unknown),
        }
    }
}

/// The version that a bzImage tells: Documentation/arch/x86/boot.rst, field `kernel_version`; its first word.
fn kernel_version(image: &[u8]) -> Option<String> {
    let pointer = u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?);
    let text = image.get(usize::from(pointer) + 0x200..)?;
    let end = text.iter().position(|byte| matches!(byte, 0 | b' '))?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// A size beside what it must not exceed.
#[derive(Debug, Clone)]
pub(super) struct Size {
    pub(super) name: &'static str,
    pub(super) bytes: Result<u64, Missing>,
    pub(super) limit: u64,
}

/// Sizes of the images as shipped, in the folder `out`.
pub(super) fn sizes(out: &Path) -> Vec<Size> {
    let of = |name: &str| {
        super::comparison::io("look at", Path::new(name), fs::metadata(out.join(name)).map(|found| found.len()))
    };
    let (kernel, initramfs, root) = (of("kernel/virt/bzImage"), of("initramfs.cpio.zst"), of("root.img"));
    let all = match (&kernel, &initramfs, &root) {
        (Ok(kernel), Ok(initramfs), Ok(root)) => Ok(kernel + initramfs + root),
        (Err(missing), ..) | (_, Err(missing), _) | (.., Err(missing)) => Err(missing.clone()),
    };
    vec![
        Size { name: "initramfs", bytes: initramfs, limit: target::INITRAMFS },
        Size { name: "kernel (virt bzImage, signed)", bytes: kernel, limit: target::KERNEL },
        Size { name: "kernel + initramfs + root image", bytes: all, limit: target::ALL },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_bzimage_is_its_first_word() {
        let mut image = vec![0; 0x400];
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x300 + 12].copy_from_slice(b"6.12.9-h (b)");
        assert_eq!(kernel_version(&image).as_deref(), Some("6.12.9-h"));
    }
}
