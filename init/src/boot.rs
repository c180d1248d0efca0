//! The boot, as a list. Every step that fails says why and what to do, and the boot goes as far as it can.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hull_init_core::cmdline::{Config, Level, StateWish};
use hull_init_core::control::{RunningRoot, SlotName, State, cut, line};
use hull_init_core::manifest::Manifest;
use hull_init_core::services::{self, StateNeed};
use hull_init_core::supervisor::Event;
use rustix::mount::MountFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::disk::trouble::Trouble;
use crate::disk::{self, NoRoot, Root, RootChoice};
use crate::node::Trial;
use crate::pid1::Pid1;
use crate::{cgroups, mounts};

type Step = fn(&mut Pid1) -> Result<(), Trouble>;

/// What needs no root.
const BEFORE_THE_ROOT: &[(&str, Step)] = &[
    ("mount the API file systems", api_file_systems),
    ("open the kernel log and the console", logs),
    ("let a panic reset the machine", panics),
    ("read the kernel command line", command_line),
    ("read the manifest of the initramfs", manifest),
    ("make the control groups", control_groups),
    ("bring up the loopback", loopback),
    ("set the host name", host_name),
    ("listen on the control socket", control_socket),
];

/// What needs the root; what the services do not wait for comes after their start.
const IN_THE_ROOT: &[(&str, Step)] = &[
    ("take up the services", take_up_services),
    ("start the services", start_services),
    ("tell what an earlier system left", look_back),
    ("share the host's files", host_share),
    ("look for power buttons", buttons),
    ("arm the hardware watchdog", hardware_watchdog),
    ("move PID 1 into its own control group", own_group),
];

/// Time between two looks for a disk, in ms, as long as there is none.
const SEARCH_EVERY_MS: u64 = 1_000;
/// Longest time between two attempts to open a slot of a disk that is there, in ms: each may leave errors in the kernel's log.
const LONGEST_PAUSE_MS: u64 = 60_000;
/// How long the first look waits for a disk whose driver is still probing.
const FIRST_SEARCH: Duration = Duration::from_millis(1_500);

/// Boots. Comes back with a running node, or with one that looks for a root.
pub(crate) fn boot(pid1: &mut Pid1) {
    run(pid1, BEFORE_THE_ROOT);
    if let Err(why) = find_root(pid1, FIRST_SEARCH) {
        stay_without_root(pid1, why);
    }
}

fn run(pid1: &mut Pid1, steps: &[(&str, Step)]) {
    for (what, step) in steps {
        timed(pid1, what, |pid1| {
            if let Err(trouble) = step(pid1) {
                pid1.note(format_args!("{what}: {trouble}"));
            }
        });
    }
}

/// Does something and says at `hull.log.level=debug` how long it took.
fn timed<T>(pid1: &mut Pid1, what: &str, step: impl FnOnce(&mut Pid1) -> T) -> T {
    let micros = || {
        let time = clock_gettime(ClockId::Boottime);
        time.tv_sec * 1_000_000 + time.tv_nsec / 1000
    };
    let begun = micros();
    let done = step(pid1);
    pid1.log.say(Level::Debug, format_args!("{what}: {} us", micros() - begun));
    done
}

/// Why the node has no root.
enum Rootless {
    /// There is none to be found yet: a disk may still appear.
    NotFound(String),
    /// There is a disk and none of its slots can be opened now: a disk may get over it, or another one appear.
    NotOpened(String),
    /// It was found and is no root: looking again finds the same.
    Unusable(String),
}

/// The node stays up without a root: it says why, looks for a disk, and obeys the power button and the watchdog.
fn stay_without_root(pid1: &mut Pid1, why: Rootless) {
    let (Rootless::NotFound(reason) | Rootless::NotOpened(reason) | Rootless::Unusable(reason)) = &why;
    pid1.node.root = RunningRoot::Missing { reason: line(reason) };
    if pid1.shutdown.is_some() {
        return; // a trial that failed is on its way back, and has told why
    }
    pid1.note(format_args!("{reason}"));
    pid1.find_buttons();
    pid1.arm_watchdog();
    pid1.console.line(format_args!("\r\n  Hull {}: no root file system", pid1.node.version));
    pid1.console.line(format_args!("  {reason}"));
    match why {
        Rootless::NotFound(_) => {
            pid1.console.line(format_args!("  The node looks for a disk every second; the power button turns it off."));
            pid1.search_again_in(SEARCH_EVERY_MS);
        }
        Rootless::NotOpened(_) => {
            pid1.console.line(format_args!(
                "  The node tries again, every {} s in the end; the power button turns it off.",
                LONGEST_PAUSE_MS / 1000
            ));
            pid1.search_again_in(SEARCH_EVERY_MS);
        }
        Rootless::Unusable(_) => {
            pid1.console
                .line(format_args!("  Boot the other slot with hull.boot.slot=, or attach another disk and reset."));
        }
    }
}

/// The loop asks for another look.
pub(crate) fn search_again(pid1: &mut Pid1) {
    let pause_ms = pid1.begin_search();
    match find_root(pid1, Duration::ZERO) {
        Ok(()) => {
            pid1.console.line(format_args!("  a disk with a system was found"));
        }
        Err(Rootless::NotFound(reason)) => {
            pid1.node.root = RunningRoot::Missing { reason: line(&reason) };
            pid1.search_again_in(SEARCH_EVERY_MS);
        }
        Err(Rootless::NotOpened(reason)) => {
            pid1.node.root = RunningRoot::Missing { reason: line(&reason) };
            pid1.search_again_in((2 * pause_ms).min(LONGEST_PAUSE_MS));
        }
        Err(why) => stay_without_root(pid1, why),
    }
}

/// Opens the root, mounts the state, enters, and does what comes then.
fn find_root(pid1: &mut Pid1, wait: Duration) -> Result<(), Rootless> {
    let RootChoice { root, notes, system } =
        match timed(pid1, "open the root", |pid1| disk::open_root(&pid1.config, wait)) {
            Ok(choice) => choice,
            Err(NoRoot::NoDisk { reason }) => return Err(Rootless::NotFound(reason)),
            Err(NoRoot::NoSlot { reason }) => return Err(Rootless::NotOpened(reason)),
        };
    for note in &notes {
        pid1.remark(format_args!("{note}"));
    }
    let (device, running) = take_choice(pid1, root);
    timed(pid1, "mount the state", |pid1| state(pid1, &running, system));
    if let Err(trouble) = timed(pid1, "enter the root", |_| enter(&device)) {
        crate::trial::look_back(pid1, &running);
        if let Trial::Running { slot, .. } = pid1.node.trial {
            pid1.fail_trial(slot, format_args!("{trouble}"));
        }
        let reason = match (&pid1.node.trial, &running) {
            (Trial::None, RunningRoot::Slot { slot, .. }) => {
                disk::leave_slot(&pid1.config, *slot, &trouble.to_string())
            }
            _ => trouble.to_string(),
        };
        return Err(Rootless::Unusable(reason));
    }
    pid1.node.root = running;
    run(pid1, IN_THE_ROOT);
    Ok(())
}

fn enter(device: &Path) -> Result<(), Trouble> {
    keep_boot_files()?;
    mounts::mount_root(device)?;
    mounts::enter_root()
}

/// What was chosen, and whether it is on trial from now on.
fn take_choice(pid1: &mut Pid1, root: Root) -> (PathBuf, RunningRoot) {
    let hash = manifest_of("/hull/manifest").map(|manifest| manifest.root.root_hash.to_string()).unwrap_or_default();
    let root_hash = cut(&hash);
    match root {
        Root::Embedded { device } => (device, RunningRoot::Embedded { root_hash }),
        Root::Slot { device, slot, trial } => {
            let slot = if slot == 'b' { SlotName::B } else { SlotName::A };
            if matches!(trial, disk::Trial::Running) {
                let limit = pid1.config.update_deadline().as_millis() as u64;
                pid1.node.trial = Trial::Running { slot, deadline: pid1.node.started.plus(limit) };
            }
            (device, RunningRoot::Slot { slot, root_hash })
        }
    }
}

/// Whether the kernel hurries when it waits for all processors (RCU grace periods: mounts, control groups): milliseconds each in a
/// boot, but it disturbs a running system.
#[derive(Clone, Copy)]
pub(crate) enum Hurry {
    /// While nothing else runs: boot and shutdown.
    Boot,
    /// The node is up.
    No,
}

/// Sets it; a kernel that cannot be told takes its time.
pub(crate) fn hurry(hurry: Hurry) {
    let value: &[u8] = match hurry {
        Hurry::Boot => b"1",
        Hurry::No => b"0",
    };
    let _ = crate::files::write("/sys/kernel/rcu_expedited", value);
}

fn api_file_systems(pid1: &mut Pid1) -> Result<(), Trouble> {
    for trouble in mounts::mount_api() {
        pid1.note(format_args!("{trouble}"));
    }
    hurry(Hurry::Boot);
    Ok(())
}

fn logs(pid1: &mut Pid1) -> Result<(), Trouble> {
    pid1.console.open();
    pid1.log.open().map_err(|error| Trouble::new("open", "/dev/kmsg", error, "build the kernel with PRINTK"))
}

/// A panic must never freeze the machine: if nobody said after how many seconds it resets, five.
fn panics(_: &mut Pid1) -> Result<(), Trouble> {
    const PANIC: &str = "/proc/sys/kernel/panic";
    let mut buffer = [0; 16];
    let remedy = "mount /proc";
    let now = crate::files::read(PANIC, &mut buffer).map_err(|error| Trouble::new("read", PANIC, error, remedy))?;
    if now.trim_ascii() == b"0" {
        crate::files::write(PANIC, b"5").map_err(|error| Trouble::new("write", PANIC, error, remedy))?;
    }
    crate::sys::reboot::ctrl_alt_del_asks()
        .map_err(|error| Trouble::new("take over", "Ctrl-Alt-Del", error, "it resets at once"))
}

fn command_line(pid1: &mut Pid1) -> Result<(), Trouble> {
    let text =
        fs::read("/proc/cmdline").map_err(|error| Trouble::new("read", "/proc/cmdline", error, "defaults apply"))?;
    pid1.config = Config::parse(&text);
    pid1.log.set_level(pid1.config.log_level());
    for index in 0..pid1.config.complaints().len() {
        pid1.log.error(format_args!("{}", pid1.config.complaints()[index]));
    }
    match pid1.config.complaints_lost() {
        0 => {}
        lost => pid1.log.error(format_args!("command line: {lost} more complaints")),
    }
    Ok(())
}

fn manifest_of(path: &str) -> Result<Manifest, Trouble> {
    let remedy = "build the initramfs with hull-image";
    let text = fs::read_to_string(path).map_err(|error| Trouble::new("read", path, error, remedy))?;
    Manifest::parse(&text).map_err(|error| Trouble::new("parse", path, error, remedy))
}

fn manifest(pid1: &mut Pid1) -> Result<(), Trouble> {
    pid1.node.version = cut("unknown");
    let manifest = manifest_of("/hull/manifest")?;
    pid1.node.version = cut(&manifest.version.to_string());
    Ok(())
}

fn control_groups(_: &mut Pid1) -> Result<(), Trouble> {
    cgroups::prepare()
        .map_err(|error| Trouble::new("prepare", "/sys/fs/cgroup", error, "services run without limits of their own"))
}

fn loopback(_: &mut Pid1) -> Result<(), Trouble> {
    crate::sys::loopback::bring_up()
        .map_err(|error| Trouble::new("bring up", "lo", error, "build the kernel with NET and INET"))
}

fn host_name(pid1: &mut Pid1) -> Result<(), Trouble> {
    let derived = derived_name();
    pid1.config.set_derived_name(&derived);
    pid1.node.name = cut(pid1.config.name());
    rustix::system::sethostname(pid1.node.name.as_bytes())
        .map_err(|error| Trouble::new("set", "host name", error, "it stays as it is"))
}

/// `hull-` and the last three bytes of the first network card's address, or `hull` on a machine without one.
fn derived_name() -> String {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return "hull".to_owned() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    // Interfaces without a device behind them (lo, dummy0) have no address, or another one at every boot.
    let is_card = |name: &&String| Path::new(&format!("/sys/class/net/{name}/device")).exists();
    for name in names.iter().filter(is_card) {
        let address = fs::read_to_string(format!("/sys/class/net/{name}/address")).unwrap_or_default();
        let digits: String = address.chars().filter(char::is_ascii_hexdigit).collect();
        if digits.len() == 12 && digits.bytes().any(|digit| digit != b'0') {
            return format!("hull-{}", &digits[6..]);
        }
    }
    "hull".to_owned()
}

fn control_socket(pid1: &mut Pid1) -> Result<(), Trouble> {
    let remedy = "hullctl on the node will not work";
    for folder in ["/run/hull", "/run/hull/notify", "/run/hull/boot", "/run/hull/containers"] {
        fs::create_dir_all(folder).map_err(|error| Trouble::new("make", folder, error, remedy))?;
    }
    use std::os::unix::fs::PermissionsExt;
    let private = fs::set_permissions("/run/hull/boot", fs::Permissions::from_mode(0o700));
    private.map_err(|error| Trouble::new("make private", "/run/hull/boot", error, remedy))?;
    pid1.open_control().map_err(|error| Trouble::new("listen", hull_init_core::control::SOCKET, error, remedy))
}

/// The child modes need the manifest and the keys after the initramfs was emptied.
fn keep_boot_files() -> Result<(), Trouble> {
    for name in ["manifest", "root.json"] {
        let (from, to) = (format!("/hull/{name}"), format!("/run/hull/boot/{name}"));
        match fs::copy(&from, &to) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {} // whoever needs it says that it is missing
            Err(error) => return Err(Trouble::new("copy", &from, error, "give the machine more memory")),
        }
    }
    Ok(())
}

/// Mounts /var: the state partition, or memory.
fn state(pid1: &mut Pid1, running: &RunningRoot, system: Option<disk::table::Disk>) {
    let wish = pid1.config.state();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let found = match (wish, running) {
        (StateWish::Memory, _) | (_, RunningRoot::Embedded { .. } | RunningRoot::Missing { .. }) => Ok(State::Memory),
        (StateWish::Disk, RunningRoot::Slot { .. }) => state_on_disk(pid1, flags, system).map(|()| State::Disk),
    };
    pid1.node.state = found.unwrap_or_else(|reason| {
        pid1.note(format_args!(
            "degraded: {reason}; state goes to memory and services that need their old state are held back"
        ));
        State::Degraded { reason: line(&reason) }
    });
    if pid1.node.state != State::Disk
        && let Err(trouble) = mounts::mount_on("tmpfs", "/var", "tmpfs", flags, "mode=0755")
    {
        pid1.note(format_args!("{trouble}"));
    }
    for folder in ["/var/lib", "/var/lib/hull", "/var/lib/hull/init", "/var/tmp"] {
        if let Err(error) = fs::create_dir_all(folder) {
            pid1.note(format_args!("make {folder}: {error}; free some space on the state partition"));
        }
    }
}

fn state_on_disk(pid1: &mut Pid1, flags: MountFlags, system: Option<disk::table::Disk>) -> Result<(), String> {
    let found = disk::grow_and_find_state(system)?;
    for note in &found.notes {
        pid1.remark(format_args!("{note}"));
    }
    let device = found.device.to_string_lossy();
    let options = format!("errors=remount-ro,resuid={}", hull_init_core::limits::STORE_UID);
    mounts::mount_on(&device, "/var", "ext4", flags | MountFlags::NOATIME, &options)
        .map_err(|trouble| trouble.to_string())?;
    pid1.node.grown = matches!(found.grown, disk::Grown::Resize).then_some(crate::node::StateGrown);
    Ok(())
}

fn host_share(pid1: &mut Pid1) -> Result<(), Trouble> {
    let Some(tag) = pid1.config.host_share().map(str::to_owned) else { return Ok(()) };
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mounts::mount_on(&tag, "/run/host", "9p", flags, "trans=virtio,version=9p2000.L,msize=131072")
}

fn take_up_services(pid1: &mut Pid1) -> Result<(), Trouble> {
    const FILE: &str = "/usr/lib/hull/services.bin";
    let bytes = fs::read(FILE).map_err(|error| Trouble::new("read", FILE, error, "stage another release"));
    crate::sys::alloc::trim(); // so that the logs get fresh pages, which do not count until they are written
    let mut built_in = crate::table::built_in(&pid1.config).into_iter();
    built_in.next().into_iter().for_each(|network| pid1.add_service(network));
    let mut broken = bytes.as_ref().err().map(ToString::to_string);
    for service in services::decode(bytes.as_deref().unwrap_or_default()) {
        match service {
            Ok(service) => pid1.add_service(service),
            Err(error) => broken = Some(Trouble::new("decode", FILE, error, "stage another release").to_string()),
        }
    }
    built_in.for_each(|service| pid1.add_service(service));
    pid1.hold_console();
    if let State::Degraded { reason } = pid1.node.state.clone() {
        hold_back_persistent(pid1, &reason);
    }
    let Some(broken) = broken else { return Ok(()) };
    match pid1.node.trial {
        Trial::Running { slot, .. } => pid1.fail_trial(slot, format_args!("{broken}")),
        _ => pid1.note(format_args!("{broken}")),
    }
    Ok(())
}

fn hold_back_persistent(pid1: &mut Pid1, reason: &str) {
    for index in 0..pid1.table.entries.len() {
        let entry = &mut pid1.table.entries[index];
        if entry.service.state == StateNeed::Persistent {
            entry.reason = hull_init_core::control::format_line(format_args!(
                "it needs its old state: {reason}; repair or replace the disk, or boot with hull.state=memory"
            ));
            pid1.supervisor.hold(hull_init_core::supervisor::Id(index as u8));
        }
    }
}

fn start_services(pid1: &mut Pid1) -> Result<(), Trouble> {
    pid1.step(Event::Tick);
    Ok(())
}

fn look_back(pid1: &mut Pid1) -> Result<(), Trouble> {
    let running = pid1.node.root.clone();
    crate::trial::look_back(pid1, &running);
    Ok(())
}

fn own_group(_: &mut Pid1) -> Result<(), Trouble> {
    cgroups::enter_own()
        .map_err(|error| Trouble::new("enter", "/sys/fs/cgroup/hull.init", error, "PID 1 stays in the root group"))
}

fn buttons(pid1: &mut Pid1) -> Result<(), Trouble> {
    pid1.find_buttons();
    Ok(())
}

fn hardware_watchdog(pid1: &mut Pid1) -> Result<(), Trouble> {
    pid1.arm_watchdog();
    Ok(())
}
