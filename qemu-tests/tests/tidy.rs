//! The rules of the rooms, kept by a test: where `unsafe` may stand, what a core may touch, who may depend on whom.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that decide and touch nothing.
const CORES: &[&str] = &["init/core", "kv/core", "containerd-shim/core"];

/// Rooms that do: nothing may depend on them.
const SHELLS: &[&str] = &[
    "hull-init",
    "hull-kv",
    "hull-launcher",
    "hull-oci",
    "hull-shim",
    "hullctl",
    "hull-image",
    "hull-qemu-tests",
    "hull-hello",
];

/// Crates whose direct dependencies end up in the image, each with a line of reason in docs/dependencies.md.
const IN_THE_IMAGE: &[&str] = &[
    "init",
    "init/core",
    "kv",
    "kv/core",
    "kv/proto",
    "kv/wire",
    "containerd-shim",
    "containerd-shim/core",
    "containerd-shim/runtime",
    "ctl",
    "examples/hello",
];

/// What a core may not say: I/O, clocks, randomness, the environment.
const IMPURE: &[&str] = &[
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "rand::",
    "getrandom::",
];

/// What would make a core impure by its Cargo.toml alone.
const IMPURE_CRATES: &[&str] = &["tokio", "rustix", "libc", "nix", "rand", "getrandom", "mio", "socket2"];

/// A file longer than this has two rooms behind one wall.
const LONGEST_FILE: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name();
            if entry.file_type().unwrap().is_dir() {
                if !["target", "out", ".git", "generated", "third_party"].contains(&name.to_str().unwrap()) {
                    walk(&entry.path(), files);
                }
            } else if entry.path().extension().is_some_and(|end| end == "rs") {
                files.push(entry.path());
            }
        }
    }
    let mut files = Vec::new();
    walk(&root(), &mut files);
    assert!(files.len() > 20, "only {} files found: the test looks in the wrong place", files.len());
    let name = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Code without comments and without what follows `#[cfg(test)]`.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or("")))
}

fn in_a_core(name: &str) -> bool {
    CORES.iter().any(|core| name.starts_with(&format!("{core}/src/")))
}

/// The direct dependencies of a crate, without those for tests and builds.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let Some(section) = table.get("dependencies").and_then(toml::Value::as_table) else { return BTreeSet::new() };
    section.keys().cloned().collect()
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent = rust_files().into_iter().filter(|(_, text)| !text.starts_with("//!"));
    report(
        silent
            .map(|(name, _)| format!("{name}: the first line is not a `//!` that says what the file is for"))
            .collect(),
    );
}

#[test]
fn no_file_has_grown_two_rooms() {
    let long = rust_files().into_iter().map(|(name, text)| (name, text.lines().count()));
    report(long.filter(|(_, n)| *n > LONGEST_FILE).map(|(name, n)| format!("{name}: {n} lines")).collect());
}

#[test]
fn unsafe_stands_only_in_sys() {
    let mut broken = Vec::new();
    for (name, text) in rust_files() {
        if name.contains("/sys/") || name.ends_with("/sys.rs") || name.ends_with("tidy.rs") {
            continue;
        }
        for (number, line) in code(&text) {
            if line.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-')).any(|word| word == "unsafe") {
                broken.push(format!("{name}:{number}: `unsafe` outside sys/"));
            }
        }
    }
    report(broken);
}

#[test]
fn the_cores_touch_nothing() {
    let mut broken = Vec::new();
    for (name, text) in rust_files().into_iter().filter(|(name, _)| in_a_core(name)) {
        for (number, line) in code(&text) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{name}:{number}: a core says `{word}`"));
            }
        }
    }
    for core in CORES {
        for name in dependencies(core).iter().filter(|name| IMPURE_CRATES.contains(&name.as_str())) {
            broken.push(format!("{core}/Cargo.toml: a core depends on {name}"));
        }
        let lib = fs::read_to_string(root().join(core).join("src/lib.rs")).unwrap();
        if !lib.contains("#![forbid(unsafe_code)]") {
            broken.push(format!("{core}/src/lib.rs: does not forbid unsafe code"));
        }
    }
    report(broken);
}

#[test]
fn nothing_depends_on_a_shell_and_pid_1_on_no_runtime() {
    let mut broken = Vec::new();
    for folder in IN_THE_IMAGE.iter().chain(&["initramfs"]) {
        for shell in dependencies(folder).iter().filter(|name| SHELLS.contains(&name.as_str())) {
            broken.push(format!("{folder}/Cargo.toml: depends on the shell {shell}"));
        }
    }
    for name in
        dependencies("init").iter().filter(|name| ["tokio", "async-std", "smol", "futures"].contains(&name.as_str()))
    {
        broken.push(format!("init/Cargo.toml: PID 1 depends on the runtime {name}"));
    }
    report(broken);
}

#[test]
fn every_dependency_of_the_image_has_its_reason() {
    let text = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let reasons: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut used = BTreeSet::new();
    for folder in IN_THE_IMAGE {
        used.extend(dependencies(folder).into_iter().filter(|name| !name.starts_with("hull-")));
    }
    report(
        used.iter()
            .filter(|name| !reasons.contains(name.as_str()))
            .map(|name| format!("{name}: no reason in docs/dependencies.md"))
            .collect(),
    );
}

#[test]
fn nothing_is_left_for_later() {
    let mut broken = Vec::new();
    for (name, text) in rust_files().into_iter().filter(|(name, _)| !name.ends_with("tidy.rs")) {
        for (number, line) in text.lines().enumerate() {
            for word in ["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX", "#[ignore"] {
                if line.contains(word) {
                    broken.push(format!("{name}:{}: {word}", number + 1));
                }
            }
        }
    }
    report(broken);
}
