//! Runs inside a measured machine, beside whatever is measured: asks the store and the example until they answer, and says
//! on the serial port at which guest instruction that was.
//!
//! `hull-bench-probe [PROGRAM [ARGUMENT...]]`: what to do comes from `bench.mode=` on the kernel's command line, and the
//! program, when given, is how this system is switched off.
//!
//! Where the example shows the store's value, it also declares a few containers and says how long they took to run.
//!
//! With `bench.profile=1` it also says what each cgroup's processes have used of the processor, and repeats the kernel's log.
//!
//! Output, one `hull-bench NAME VALUE` a line: moments as ticks of the time-stamp counter, sizes in KiB. The same program does
//! the same in every system that is compared, and prints only when everything has been measured.

mod container;
mod http;
mod kernel;
mod profile;
mod sys;

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use sys::tsc;

/// Pause between two questions. Also bounds how far the guest's clock jumps when everything else waits for the disk.
const PAUSE: Duration = Duration::from_millis(1);

/// How many questions are asked before giving up: ten times what the slowest system needs.
const PATIENCE: u32 = 30_000;

/// After SIGTERM the store is asked this many more times. More would not help: the node stops the store only when the probe is gone.
const FAREWELL: u32 = 2;

/// Questions without an answer, one after the other, after which the store is taken to have stopped.
const SILENCE: u32 = 5;

/// `/config/hello/greeting` and `measured`, in base64, as etcd's JSON gateway wants them.
const PUT: &str = r#"{"key":"L2NvbmZpZy9oZWxsby9ncmVldGluZw==","value":"bWVhc3VyZWQ="}"#;
const RANGE: &str = r#"{"key":"L2NvbmZpZy9oZWxsby9ncmVldGluZw=="}"#;
const VALUE_IN_BASE64: &str = "bWVhc3VyZWQ=";
const VALUE: &str = "measured";

/// Where the second release is: the folder that the machine shares with its host.
const RELEASE: &str = "/run/host";

/// The command line client of the measured node.
const HULLCTL: &str = "/usr/bin/hullctl";

/// What this machine was started for.
enum Mode {
    /// Measure the start, then wait to be switched off by the host.
    Boot,
    /// The same, then go on until the example shows the store's value.
    Value,
    /// Let everything come up once and switch the machine off in order, so that later starts find what they keep.
    Settle,
    /// After the start, stage the release of the shared folder and swap to it.
    Swap,
    /// The start of the release that was swapped to.
    Trial,
}

fn mode() -> Result<Mode, String> {
    let word = kernel::option("bench.mode").unwrap_or_default();
    match word.as_str() {
        "boot" => Ok(Mode::Boot),
        "value" => Ok(Mode::Value),
        "settle" => Ok(Mode::Settle),
        "swap" if kernel::option("hull.boot.trial").is_some() => Ok(Mode::Trial),
        "swap" => Ok(Mode::Swap),
        _ => Err(format!("bench.mode={word:?}: expected boot, value, settle or swap")),
    }
}

fn main() -> ExitCode {
    let begun = tsc::now();
    let off: Vec<String> = std::env::args().skip(1).collect();
    if off.first().is_some_and(|word| word == container::NOW) {
        println!("{begun}");
        return ExitCode::SUCCESS;
    }
    let Ok(mut port) = OpenOptions::new().write(true).open("/dev/ttyS0") else { return ExitCode::FAILURE };
    match mode().and_then(|mode| measure(&mode, &mut port, begun, &off)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            say(&mut port, "failed", reason);
            ExitCode::FAILURE
        }
    }
}

fn measure(mode: &Mode, port: &mut File, begun: u64, off: &[String]) -> Result<(), String> {
    let store = match mode {
        Mode::Trial => until("the store answers a range", || range_answers().then_some(()))?,
        _ => until("the store answers a put and a range", || put_and_range().then_some(()))?,
    };
    // Any status: beside a store that does not know the example's question, the example answers that it has no value.
    let example = until("the example answers", || http::ask(http::EXAMPLE, &http::get("/")).map(drop));
    let value = match mode {
        Mode::Value if example.is_ok() => Some(until("the example shows the store's value", || {
            http::ask(http::EXAMPLE, &http::get("/")).filter(|answer| answer.shows(VALUE)).map(drop)
        })?),
        _ => None,
    };
    let start = kernel::start()?;
    say(port, "begin", matches!(mode, Mode::Trial).then_some("trial").unwrap_or("first"));
    say(port, "clock", start.clock);
    say(port, "pid1", start.pid_1.ok_or("the kernel's log does not say when PID 1 started")?);
    say(port, "probe", begun);
    say(port, "store", store);
    match &example {
        Ok(example) => say(port, "example", example),
        Err(reason) => say(port, "without", reason),
    }
    if let Some(value) = value {
        say(port, "value", value);
    }
    for (name, path, key) in [
        ("pid1-resident", "/proc/1/status", "VmRSS"),
        ("pid1-anonymous", "/proc/1/status", "RssAnon"),
        ("memory-total", "/proc/meminfo", "MemTotal"),
        ("memory-available", "/proc/meminfo", "MemAvailable"),
    ] {
        if let Some(kib) = kernel::kib(path, key) {
            say(port, name, kib);
        }
    }
    if kernel::option("bench.profile").is_some() {
        profile::say(|name, value| say(port, name, value));
    }
    if value.is_some() {
        say(port, "bare-start", container::bare()?);
        say(port, "container-start", container::declared()?);
    }
    match mode {
        Mode::Boot | Mode::Value | Mode::Trial => say(port, "end", "measured"),
        Mode::Settle => switch_off(port, off)?,
        Mode::Swap => swap(port)?,
    }
    Ok(())
}

/// Writes one line on the serial port, at once, so that it survives whatever comes next.
fn say(port: &mut File, name: &str, value: impl Display) {
    // The host takes a line that is missing as a measurement that is missing, so nothing is to be done here.
    let _ = port.write_all(format!("\nhull-bench {name} {value}\n").as_bytes());
}

/// Asks until there is an answer, and gives the tick at which it was there.
fn until(what: &str, mut ask: impl FnMut() -> Option<()>) -> Result<u64, String> {
    for _ in 0..PATIENCE {
        if ask().is_some() {
            return Ok(tsc::now());
        }
        thread::sleep(PAUSE);
    }
    Err(format!("waited in vain until {what}"))
}

fn range_answers() -> bool {
    http::ask(http::STORE, &http::post("/v3/kv/range", RANGE)).is_some_and(|answer| answer.shows(VALUE_IN_BASE64))
}

fn put_and_range() -> bool {
    http::ask(http::STORE, &http::post("/v3/kv/put", PUT)).is_some_and(|answer| answer.shows("")) && range_answers()
}

fn switch_off(port: &mut File, off: &[String]) -> Result<(), String> {
    let (program, arguments) = off.split_first().ok_or("settle: no program given that switches the machine off")?;
    say(port, "end", "settled");
    run(program, arguments).map(|_| ())
}

/// Runs a program to its end; its output when it succeeded.
fn run<S: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[S]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("start {program}: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().replace('\n', " | ");
    if output.status.success() { Ok(text) } else { Err(format!("{program}: {}: {text}", output.status)) }
}

fn ask_for_swap() -> Result<Child, String> {
    Command::new(HULLCTL)
        .args(["update", "swap"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("start {HULLCTL}: {error}"))
}

/// Stages and swaps, and asks the store until it stops. The line `last` is the last thing this system says.
fn swap(port: &mut File) -> Result<(), String> {
    let stopping = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stopping))
        .map_err(|error| format!("catch SIGTERM: {error}"))?;
    run(HULLCTL, &["update", "stage", RELEASE])?;
    let asked = tsc::now();
    let mut client = ask_for_swap()?;
    let (mut last, mut silent, mut farewell) = (asked, 0, 0);
    for _ in 0..PATIENCE {
        if range_answers() {
            (last, silent) = (tsc::now(), 0);
        } else {
            silent += 1;
        }
        farewell += u32::from(stopping.load(Ordering::Relaxed));
        if silent >= SILENCE || farewell >= FAREWELL {
            say(port, "asked", asked);
            say(port, "last", last);
            return Ok(());
        }
        // A refusal while the staging is still being put away: ask again. One because the node stops changes nothing.
        if silent == 0 && client.try_wait().is_ok_and(|status| status.is_some_and(|status| !status.success())) {
            client = ask_for_swap()?;
        }
        thread::sleep(PAUSE);
    }
    // The node may end the client together with everything else, so how that ended says nothing unless the store goes on.
    let _ = client.kill();
    let output = client.wait_with_output().map_err(|error| format!("wait for {HULLCTL}: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
    Err(format!("asked for a swap, and the store never stopped; {HULLCTL}: {}: {errors}", output.status))
}
