//! One measured machine: QEMU counting instructions, watched by its serial port until the probe has said everything.

use super::limits::{PATIENCE, POLL};
use super::marks::{self, Missing};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How guest time passes while the guest waits. While it computes, one instruction is one nanosecond, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The clock jumps to the next timer (`sleep=off`): exact, and wrong as soon as a disk is waited for.
    Jumps,
    /// The clock follows the host's (`sleep=on`): a disk takes as long as the host's takes.
    Passes,
}

/// The machine's disk.
#[derive(Debug, Clone)]
pub(super) enum Disk {
    /// Nothing but processor, memory and serial port.
    None,
    /// A copy of this image, thrown away afterwards.
    CopyOf(PathBuf),
    /// This image itself: what the machine writes stays.
    Kept(PathBuf),
}

/// What is started.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) kernel: PathBuf,
    pub(super) initramfs: Option<PathBuf>,
    pub(super) append: String,
    pub(super) disk: Disk,
    pub(super) memory_mib: u32,
    pub(super) waiting: Waiting,
    /// A folder of the host that the machine may read.
    pub(super) share: Option<PathBuf>,
    pub(super) patience: Duration,
    /// Seed of the machine's random numbers: another one for each run, so that the medians are over kernels at different addresses.
    pub(super) seed: u64,
}

/// QEMU that ends with its owner.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    /// A machine with this kernel and command line, no disk, and the usual patience.
    pub(super) fn new(kernel: &Path, append: &str, memory_mib: u32) -> Self {
        Self {
            kernel: kernel.into(),
            initramfs: None,
            append: append.into(),
            disk: Disk::None,
            memory_mib,
            waiting: Waiting::Jumps,
            share: None,
            patience: PATIENCE,
            seed: 1,
        }
    }

    /// Starts it and gives its console when the probe has ended, or the machine has.
    pub(super) fn console(&self) -> Result<String, Missing> {
        self.watch(marks::ended)
    }

    /// Starts it and gives its console once the machine has switched itself off.
    pub(super) fn console_until_off(&self) -> Result<String, Missing> {
        self.watch(|_| false)
    }

    /// Starts it and gives its console as soon as `enough` says so.
    pub(super) fn console_when(&self, enough: impl Fn(&str) -> bool) -> Result<String, Missing> {
        self.watch(enough)
    }

    /// Starts it and gives its console, a character a byte, as soon as `enough` of it is there.
    fn watch(&self, enough: impl Fn(&str) -> bool) -> Result<String, Missing> {
        let folder =
            TempDir::with_prefix("hull-bench-").map_err(|error| Missing::new(format!("make a folder: {error}")))?;
        let serial = folder.path().join("serial");
        fs::write(&serial, "").map_err(|error| Missing::new(format!("make the serial port's file: {error}")))?;
        let mut qemu = self.start(folder.path(), &serial)?;
        let end = Instant::now() + self.patience;
        loop {
            // Before the look at the console, so that the last words are not missed.
            let off = qemu.0.try_wait().map_err(|error| Missing::new(format!("look at QEMU: {error}")))?;
            let console = fs::read(&serial).map_err(|error| Missing::new(format!("read the serial port: {error}")))?;
            let console: String = console.iter().map(|byte| char::from(*byte)).collect();
            if let Some(failure) = marks::failure(&console) {
                return Err(failure);
            }
            if enough(&console) || off.is_some_and(|status| status.success()) {
                return Ok(console);
            }
            if let Some(status) = off {
                return Err(Missing::new(format!("qemu-system-x86_64 ended: {status}; {}", last_words(&console))));
            }
            if Instant::now() >= end {
                let seconds = self.patience.as_secs();
                return Err(Missing::new(format!(
                    "nothing more within {seconds} s of real time; {}",
                    last_words(&console)
                )));
            }
            thread::sleep(POLL);
        }
    }

    fn start(&self, folder: &Path, serial: &Path) -> Result<Qemu, Missing> {
        let disk = self.disk_file(folder)?;
        let mut arguments =
            words("-machine q35 -accel tcg -cpu max -smp 1 -nodefaults -no-user-config -display none -no-reboot");
        // A fixed date: reading the real one takes a different number of instructions each time.
        arguments.extend(words("-rtc base=2027-01-01T00:00:00,clock=vm -device i6300esb -action watchdog=reset"));
        arguments.extend(words(match self.waiting {
            Waiting::Jumps => "-icount shift=0,sleep=off",
            Waiting::Passes => "-icount shift=0,sleep=on",
        }));
        arguments.extend(words(&format!(
            "-m {} -seed {} -serial file:{}",
            self.memory_mib,
            self.seed,
            serial.display()
        )));
        arguments.extend(["-kernel".into(), self.kernel.display().to_string(), "-append".into(), self.append.clone()]);
        if let Some(initramfs) = &self.initramfs {
            arguments.extend(["-initrd".into(), initramfs.display().to_string()]);
        }
        if let Some(disk) = disk {
            arguments.extend(words(&format!("-drive file={},if=virtio,format=raw,cache=writeback", disk.display())));
            arguments
                .extend(words("-netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci"));
        }
        if let Some(share) = &self.share {
            let share = share.display();
            arguments
                .extend(words(&format!("-virtfs local,path={share},mount_tag=host,security_model=none,readonly=on")));
        }
        // A swap restarts the machine when the trial fails, and that must not look like the end of it.
        if self.share.is_some() {
            arguments.retain(|argument| argument != "-no-reboot");
        }
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        child.map(Qemu).map_err(|error| Missing::new(format!("start qemu-system-x86_64: {error}")))
    }

    fn disk_file(&self, folder: &Path) -> Result<Option<PathBuf>, Missing> {
        match &self.disk {
            Disk::None => Ok(None),
            Disk::Kept(path) => Ok(Some(path.clone())),
            Disk::CopyOf(path) => {
                let copy = folder.join("disk");
                run("cp", &["--sparse=always".as_ref(), path.as_os_str(), copy.as_os_str()])?;
                Ok(Some(copy))
            }
        }
    }
}

/// The longest piece of a console that a reason repeats, characters.
const LAST_WORDS: usize = 200;

/// The last line of a console, without what steers a terminal, for a reason why nothing was measured.
fn last_words(console: &str) -> String {
    let plain = strip_ansi_escapes::strip_str(console);
    match plain.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => format!("the console ends with: {}", line.chars().take(LAST_WORDS).collect::<String>()),
        None => "the console stayed empty".into(),
    }
}

/// Runs a program of the host; what it wrote is the reason when it fails.
pub(super) fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<String, Missing> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Missing::new(format!("start {program}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().last().unwrap_or("it says nothing");
    Err(Missing::new(format!("{program}: {}: {last}", output.status)))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(Into::into).collect()
}
