//! The systems Hull is compared with: one minimal Debian with etcd and crun, which systemd or busybox init brings up.
//!
//! Left out in their favour: udev, D-Bus, network addresses other than loopback, login prompts, timers, documentation. What the
//! first start of a Debian does once (machine id, `ld.so.cache`, journal catalogue, etcd's data) is done before the measuring.

use super::limits::MEMORY;
use super::machine::{Disk, Machine, Waiting, run};
use super::marks::Missing;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Debian's release; its packages are named in the document with their versions.
const SUITE: &str = "trixie";

/// What is in it beside `minbase`.
const PACKAGES: &str = "systemd-sysv,etcd-server,crun,busybox-static";

/// Folders that no program of the measured job reads.
const DOCUMENTATION: &[&str] =
    &["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists"];

/// Size of the root file system, bytes.
const ROOT_BYTES: u64 = 512 << 20;

const HELLO_SERVICE: &str = include_str!("comparison/hello.service");
const PROBE_SERVICE: &str = include_str!("comparison/probe.service");
const INITTAB: &str = include_str!("comparison/inittab");
const RC_S: &str = include_str!("comparison/rcS");
const BUNDLE: &str = include_str!("comparison/config.json");

/// Which program is PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Init {
    /// Debian's systemd.
    Systemd,
    /// Debian's busybox, as `init` with one script.
    Busybox,
}

impl Init {
    fn program(self) -> &'static str {
        match self {
            Self::Systemd => "/usr/sbin/init",
            Self::Busybox => "/usr/lib/busybox/init",
        }
    }
}

/// Where the system's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// ext4 on a virtio disk, mounted by the kernel: no initramfs to go through.
    OnDisk,
    /// Unpacked from the initramfs.
    InMemory,
}

/// The built images.
#[derive(Debug, Clone)]
pub(super) struct Debian {
    folder: PathBuf,
    /// Names and versions of the packages that matter.
    pub(super) packages: String,
}

impl Debian {
    /// Takes the images from `cache`, or makes them: as root, in two minutes.
    pub(super) fn prepare(cache: &Path, kernel: &Path, hello: &Path, probe: &Path) -> Result<Self, Missing> {
        let base = cache.join(format!("debian-{SUITE}"));
        let hello = read(hello)?;
        let probe = read(probe)?;
        let mut hasher = DefaultHasher::new();
        (SUITE, PACKAGES, HELLO_SERVICE, PROBE_SERVICE, INITTAB, RC_S, BUNDLE, &hello, &probe).hash(&mut hasher);
        let folder = cache.join(format!("comparison-{:016x}", hasher.finish()));
        if !folder.exists() {
            bootstrap(&base)?;
            let building = cache.join(format!("building-{}", std::process::id()));
            let built = build(&base, &building, kernel, &hello, &probe);
            let built = built.and_then(|()| io("rename", &folder, fs::rename(building.join("done"), &folder)));
            let _ = fs::remove_dir_all(&building);
            built?;
        }
        let packages = String::from_utf8_lossy(&read(&folder.join("packages"))?).trim().to_owned();
        Ok(Self { folder, packages })
    }

    /// The machine that boots it.
    pub(super) fn machine(&self, init: Init, root: Root, like: &Machine) -> Machine {
        let program = init.program();
        match root {
            Root::OnDisk => Machine {
                append: format!("root=/dev/vda rootfstype=ext4 rw quiet init={program} bench.mode=boot"),
                disk: Disk::CopyOf(self.folder.join("disk.ext4")),
                waiting: Waiting::Passes,
                ..like.clone()
            },
            Root::InMemory => Machine {
                append: format!("quiet rdinit={program} bench.mode=boot"),
                initramfs: Some(self.folder.join("memory.cpio")),
                ..like.clone()
            },
        }
    }
}

fn bootstrap(base: &Path) -> Result<(), Missing> {
    if base.exists() {
        return Ok(());
    }
    eprintln!("    debootstrap {SUITE} (once on this machine)");
    let unfinished = base.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    io("create", &unfinished, fs::create_dir_all(&unfinished))?;
    let include = format!("--include={PACKAGES}");
    let arguments: [&OsStr; 4] =
        ["--variant=minbase".as_ref(), include.as_ref(), SUITE.as_ref(), unfinished.as_os_str()];
    run("debootstrap", &arguments).map_err(|Missing(reason)| {
        Missing(format!("{reason}; it needs root, the package debootstrap and Debian's archive"))
    })?;
    io("rename", base, fs::rename(&unfinished, base))
}

fn build(base: &Path, building: &Path, kernel: &Path, hello: &[u8], probe: &[u8]) -> Result<(), Missing> {
    let (tree, settled, done) = (building.join("tree"), building.join("settled"), building.join("done"));
    io("create", &done, fs::create_dir_all(&done))?;
    run("cp", &["-a".as_ref(), base.as_os_str(), tree.as_os_str()])?;
    dress(&tree, hello, probe)?;
    let list = "dpkg-query --admindir=\"$0\"/var/lib/dpkg -W -f '${Package} ${Version}, ' systemd etcd-server crun busybox-static";
    let packages = run("sh", &["-c".as_ref(), list.as_ref(), tree.as_os_str()])?;
    put(&done, "packages", packages.trim_end_matches(", ").as_bytes(), 0o644)?;
    let disk = done.join("disk.ext4");
    let file = fs::File::create(&disk);
    io("create", &disk, file.and_then(|file| file.set_len(ROOT_BYTES)))?;
    let make: [&OsStr; 6] =
        ["-q".as_ref(), "-t".as_ref(), "ext4".as_ref(), "-d".as_ref(), tree.as_os_str(), disk.as_os_str()];
    run("mke2fs", &make)?;
    for init in [Init::Systemd, Init::Busybox] {
        eprintln!("    first start of Debian with {}", init.program());
        let mut machine = Machine::new(kernel, "", MEMORY);
        machine.append = format!("root=/dev/vda rootfstype=ext4 rw quiet init={} bench.mode=settle", init.program());
        machine.disk = Disk::Kept(disk.clone());
        machine.waiting = Waiting::Passes;
        machine.console_until_off().map_err(|Missing(reason)| Missing(format!("first start of Debian: {reason}")))?;
    }
    io("create", &settled, fs::create_dir_all(&settled))?;
    let dump = format!("rdump / {}", settled.display());
    run("debugfs", &["-R".as_ref(), dump.as_ref(), disk.as_os_str()])?;
    put(&settled, "etc/default/hello", b"FLAGS=--no-pivot\n", 0o644)?;
    let pack = "cd \"$0\" && rm -rf dev lost+found && mkdir dev && mknod -m 600 dev/console c 5 1 && \
                find . | LC_ALL=C sort | cpio --quiet -o -H newc >\"$1\"";
    run("sh", &["-c".as_ref(), pack.as_ref(), settled.as_os_str(), done.join("memory.cpio").as_os_str()])?;
    Ok(())
}

/// Puts into a fresh Debian what it shall do when it starts.
fn dress(tree: &Path, hello: &[u8], probe: &[u8]) -> Result<(), Missing> {
    let systemd = "etc/systemd/system";
    for folder in DOCUMENTATION
        .iter()
        .copied()
        .chain(["etc/systemd/system/timers.target.wants", "etc/systemd/system/getty.target.wants"])
    {
        let _ = fs::remove_dir_all(tree.join(folder));
    }
    for (path, content, mode) in [
        ("etc/fstab", "", 0o644),
        ("etc/hostname", "bench\n", 0o644),
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644),
        ("etc/resolv.conf", "", 0o644),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444),
        ("etc/default/hello", "FLAGS=\n", 0o644),
        ("etc/inittab", INITTAB, 0o644),
        ("etc/init.d/rcS", RC_S, 0o755),
        ("srv/hello/config.json", BUNDLE, 0o644),
        ("etc/systemd/system/hello.service", HELLO_SERVICE, 0o644),
        ("etc/systemd/system/probe.service", PROBE_SERVICE, 0o644),
    ] {
        put(tree, path, content.as_bytes(), mode)?;
    }
    put(tree, "usr/lib/hull/hull-bench-probe", probe, 0o755)?;
    put(tree, "srv/hello/rootfs/hull-hello", hello, 0o755)?;
    for folder in ["proc", "sys", "dev"] {
        let folder = tree.join("srv/hello/rootfs").join(folder);
        io("create", &folder, fs::create_dir_all(&folder))?;
    }
    for (path, target) in [
        (format!("{systemd}/multi-user.target.wants/hello.service"), "../hello.service"),
        (format!("{systemd}/sysinit.target.wants/probe.service"), "../probe.service"),
        (format!("{systemd}/default.target"), "/usr/lib/systemd/system/multi-user.target"),
        (format!("{systemd}/serial-getty@ttyS0.service"), "/dev/null"),
        ("usr/lib/busybox/init".into(), "/usr/bin/busybox"),
        ("usr/lib/busybox/sh".into(), "/usr/bin/busybox"),
        ("usr/lib/busybox/poweroff".into(), "/usr/bin/busybox"),
    ] {
        let link = tree.join(path);
        let _ = fs::remove_file(&link);
        folder_of(&link)?;
        io("link", &link, symlink(target, &link))?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> Result<(), Missing> {
    let folder = path.parent().unwrap_or(path);
    io("create", folder, fs::create_dir_all(folder))
}

/// Writes a file of the tree; a link in its place is replaced, not followed.
fn put(tree: &Path, path: &str, content: &[u8], mode: u32) -> Result<(), Missing> {
    let path = tree.join(path);
    folder_of(&path)?;
    let _ = fs::remove_file(&path);
    io("write", &path, fs::write(&path, content))?;
    io("chmod", &path, fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
}

fn read(path: &Path) -> Result<Vec<u8>, Missing> {
    io("read", path, fs::read(path))
}

/// Names the object and the operation of an error. Only the last part of the path: the document tells nothing of this machine.
pub(super) fn io<T>(operation: &str, path: &Path, result: std::io::Result<T>) -> Result<T, Missing> {
    let name = path.file_name().unwrap_or(path.as_os_str()).display().to_string();
    result.map_err(|error| Missing::new(format!("{operation} {name}: {error}")))
}
