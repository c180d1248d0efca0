//! A bundle in a folder of its own, and the runtime that is tested.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A bundle whose program is the probe.
pub(crate) struct Bundle {
    pub(crate) folder: PathBuf,
    pub(crate) config: Value,
    /// Id of its container, which no other test has.
    pub(crate) id: String,
}

/// Whether this machine can make containers at all; if not, says why the test is skipped.
pub(crate) fn can_run() -> bool {
    let lacks = if !rustix::process::geteuid().is_root() {
        "root"
    } else if !Path::new("/sys/fs/cgroup").exists() {
        "control groups"
    } else if !Command::new("unshare").args(["-mp", "--fork", "true"]).status().is_ok_and(|status| status.success()) {
        "the right to make namespaces"
    } else {
        return true;
    };
    eprintln!("skipped: this machine lacks {lacks}");
    false
}

impl Bundle {
    /// A container that runs the probe with these words.
    pub(crate) fn new(words: &[&str]) -> Bundle {
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let id = format!("hull-oci-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&id);
        fs::create_dir_all(folder.join("rootfs")).unwrap();
        let mut config: Value = {
            let spec = Command::new(binary()).args(["spec", "-b"]).arg(&folder).status().unwrap();
            assert!(spec.success());
            serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
        };
        let probe = folder.join("rootfs/probe");
        fs::copy(Path::new(binary()).parent().unwrap().join("examples/probe"), &probe).unwrap();
        fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).unwrap();
        let args: Vec<&str> = std::iter::once("/probe").chain(words.iter().copied()).collect();
        config["process"]["args"] = json!(args);
        config["process"]["terminal"] = json!(false);
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        Bundle { folder, config, id }
    }

    /// A path in its root file system, from outside.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        self.folder.join("rootfs").join(path)
    }

    /// The runtime with these words, its containers in this bundle's folder.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        fs::write(self.folder.join("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(binary());
        command.arg("--root").arg(self.folder.join("state")).args(words).current_dir(&self.folder);
        command.stdin(Stdio::null());
        command
    }

    /// Runs it and waits.
    pub(crate) fn hull(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs it and leaves what it has made: that must not hold the test's pipes. Whether it succeeded.
    pub(crate) fn leave(&self, words: &[&str]) -> bool {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Runs it in the foreground; what its program said.
    pub(crate) fn run(&self) -> String {
        let output = self.hull(&["run", &self.id]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs it in the foreground, where it must fail; why it did.
    pub(crate) fn refused(&self) -> String {
        let output = self.hull(&["run", &self.id]);
        assert!(!output.status.success(), "it ran: {}", text(&output.stdout));
        assert!(self.leaves_nothing(), "something of it is left");
        text(&output.stderr)
    }

    /// Neither a folder nor a control group of it is there.
    pub(crate) fn leaves_nothing(&self) -> bool {
        let groups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let mut groups =
            groups.map(|entry| entry.path().join(&self.id)).chain([Path::new("/sys/fs/cgroup").join(&self.id)]);
        !self.folder.join("state").join(&self.id).exists() && !groups.any(|group| group.exists())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.hull(&["delete", "--force", &self.id]);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The runtime.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_hull-oci")
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
