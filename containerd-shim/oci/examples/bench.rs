//! `make bench-oci`: what the runtime costs beside others, interleaved on the same machine: `bench RUNTIME...` prints a table of medians.
//!
//! Times are from the start of the command to its end, as whoever calls a runtime waits for it. Memory is the most that the runtime and
//! its children had resident at once, by getrusage(2).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

/// Samples of each number; the medians of fewer wander.
const SAMPLES: usize = 100;

/// Containers at once.
const CROWD: usize = 100;

/// What is measured of each runtime, in the order of the table.
const ROWS: [&str; 6] = [
    "run",
    "create + start + delete",
    "exec",
    "100 containers at once",
    "peak memory of run, KiB",
    "size of the program, KiB",
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, runtime, bundle] = words.as_slice()
        && verb == "memory"
    {
        call(runtime, Path::new(bundle), &["run", "hull-bench-memory"]);
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
        println!("{}", usage.map_or(0, |usage| usage.max_rss()));
        return;
    }
    let runtimes = words;
    let bundle = bundle(&["/probe", "true"], "true");
    let waiting = bundle_of_the_waiting();
    let mut samples = vec![vec![Vec::new(); ROWS.len()]; runtimes.len()];
    for runtime in &runtimes {
        call(runtime, &waiting, &["run", "-d", "hull-bench-waits"]);
        call(runtime, &waiting, &["exec", "hull-bench-waits", "/probe", "true"]);
        call(runtime, &waiting, &["delete", "-f", "hull-bench-waits"]);
    }
    for round in 0..SAMPLES {
        for (runtime, samples) in runtimes.iter().zip(&mut samples) {
            let id = format!("hull-bench-{round}");
            samples[0].push(call(runtime, &bundle, &["run", &id]));
            let made = call(runtime, &bundle, &["create", &id]) + call(runtime, &bundle, &["start", &id]);
            until_stopped(runtime, &id);
            samples[1].push(made + call(runtime, &bundle, &["delete", &id]));
            let waits = format!("hull-bench-waits-{round}");
            call(runtime, &waiting, &["run", "-d", &waits]);
            samples[2].push(call(runtime, &waiting, &["exec", &waits, "/probe", "true"]));
            call(runtime, &waiting, &["delete", "-f", &waits]);
            samples[4].push(memory(runtime, &bundle));
        }
    }
    for (runtime, samples) in runtimes.iter().zip(&mut samples) {
        samples[3].extend((0..3).map(|_| crowd(runtime, &bundle)));
        samples[5].push(fs::metadata(runtime).map_or(0.0, |found| found.len() as f64 / 1024.0));
    }
    print_table(&runtimes, &mut samples);
    for folder in [bundle, waiting] {
        let _ = fs::remove_dir_all(folder);
    }
}

fn print_table(runtimes: &[String], samples: &mut [Vec<Vec<f64>>]) {
    let name = |runtime: &String| Path::new(runtime).file_name().unwrap_or_default().to_string_lossy().into_owned();
    println!(
        "| median of {SAMPLES}, ms unless it says otherwise | {} |",
        runtimes.iter().map(name).collect::<Vec<_>>().join(" | ")
    );
    println!("|---|{}", "---|".repeat(runtimes.len()));
    for (row, what) in ROWS.iter().enumerate() {
        let cells: Vec<String> =
            samples.iter_mut().map(|samples| format!("{:.2}", median(&mut samples[row]))).collect();
        println!("| {what} | {} |", cells.join(" | "));
    }
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// A bundle without a terminal, whose rules every runtime of the table takes.
fn bundle(words: &[&str], name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hull-bench-{}-{name}", std::process::id()));
    fs::create_dir_all(folder.join("rootfs")).expect("create the bundle");
    let probe = std::env::current_exe().expect("find this program").with_file_name("probe");
    fs::copy(probe, folder.join("rootfs/probe")).expect("copy the probe");
    let who = hull_oci_core::oci::template::For::Root;
    let hierarchy = hull_oci_core::oci::cgroup::Hierarchy::Absent;
    let mut config: Value = hull_oci_core::oci::template::template(who, &hierarchy);
    config["ociVersion"] = json!("1.0.2");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(words);
    fs::write(folder.join("config.json"), config.to_string()).expect("write config.json");
    folder
}

fn bundle_of_the_waiting() -> PathBuf {
    bundle(&["/probe", "wait"], "wait")
}

/// Milliseconds that a command took.
fn call(runtime: &str, bundle: &Path, words: &[&str]) -> f64 {
    let mut command = Command::new(runtime);
    command.args(words).current_dir(bundle).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let before = Instant::now();
    let status = command.status().expect("execute the runtime");
    let took = before.elapsed().as_secs_f64() * 1000.0;
    assert!(status.success(), "{runtime} {words:?}: {status}");
    took
}

/// A program that has ended may still be on its way out: deleting it is not to wait for that.
fn until_stopped(runtime: &str, id: &str) {
    loop {
        let output = Command::new(runtime).args(["state", id]).output().expect("execute the runtime");
        if String::from_utf8_lossy(&output.stdout).contains("stopped") {
            return;
        }
    }
}

/// Milliseconds until all of a crowd have run.
fn crowd(runtime: &str, bundle: &Path) -> f64 {
    let before = Instant::now();
    let start = |number: usize| {
        let mut command = Command::new(runtime);
        command.args(["run", &format!("hull-bench-crowd-{number}")]).current_dir(bundle);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("execute the runtime")
    };
    let crowd: Vec<_> = (0..CROWD).map(start).collect();
    for mut one in crowd {
        assert!(one.wait().expect("wait for a runtime").success(), "{runtime}: one of the crowd failed");
    }
    before.elapsed().as_secs_f64() * 1000.0
}

/// KiB, measured in a process of its own: the kernel keeps one number for all children.
fn memory(runtime: &str, bundle: &Path) -> f64 {
    let own = std::env::current_exe().expect("find this program");
    let output = Command::new(own).args(["memory", runtime]).arg(bundle).output().expect("execute this program");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(f64::NAN)
}
