//! A containerd of the test's own: its root, state and socket in a folder, with an image of static busybox, and the shim that is tested.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use sha2::{Digest, Sha256};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The image's name.
pub(crate) const IMAGE: &str = "hull.test/box:1";

/// What the image's shell finds.
const PROGRAMS: &[&str] = &["sh", "true", "cat", "sleep", "echo", "dd", "tty", "id", "kill", "head", "wc", "yes"];

/// Where Debian's busybox-static is.
const BUSYBOX: &str = "/bin/busybox";

/// Whether this machine can run the test; if not, says why it is skipped.
pub(crate) fn can_run() -> bool {
    let has =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let lacks = if !rustix::process::geteuid().is_root() {
        "root"
    } else if !has("containerd") || !has("ctr") {
        "containerd and ctr: install the package containerd"
    } else if !Path::new(BUSYBOX).exists() {
        "busybox: install the package busybox-static"
    } else if !Command::new("unshare").args(["-mp", "--fork", "true"]).status().is_ok_and(|status| status.success()) {
        "the right to make namespaces"
    } else {
        return true;
    };
    eprintln!("skipped: this machine lacks {lacks}");
    false
}

/// The shim that is tested.
pub(crate) fn shim() -> &'static str {
    env!("CARGO_BIN_EXE_containerd-shim-hull-v2")
}

/// A containerd, ended with all its containers at the end of the test.
pub(crate) struct Daemon {
    pub(crate) folder: PathBuf,
    process: Option<Child>,
}

impl Daemon {
    /// A new one, with the image.
    pub(crate) fn new() -> Daemon {
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("hull-shim-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).unwrap();
        std::os::unix::fs::symlink(shim(), folder.join("bin/containerd-shim-hull-v2")).unwrap();
        let text = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            text("root"),
            text("state"),
            text("c.sock")
        );
        fs::write(folder.join("config.toml"), config).unwrap();
        let mut daemon = Daemon { folder, process: None };
        daemon.start();
        let archive = image(&daemon.folder);
        let imported = daemon.ctr(&["image", "import", archive.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", text_of(&imported.stderr));
        daemon
    }

    /// Starts it, or starts it again, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap());
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new("containerd");
        command.arg("-c").arg(self.folder.join("config.toml")).env("PATH", path).process_group(0);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        while !self.ctr(&["version"]).status.success() {
            assert!(
                process.try_wait().unwrap().is_none(),
                "containerd does not start: see {}/log",
                self.folder.display()
            );
        }
        self.process = Some(process);
    }

    /// Kills it, and nothing else.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// A client with these words.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.folder.join("c.sock")).args(words).stdin(Stdio::null());
        command
    }

    /// Runs it and waits.
    pub(crate) fn ctr(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// As [`Daemon::ctr`], and it must succeed. What it said.
    pub(crate) fn must(&self, words: &[&str]) -> String {
        let output = self.ctr(words);
        assert!(output.status.success(), "ctr {words:?}: {}", text_of(&output.stderr));
        text_of(&output.stdout)
    }

    /// An id that no other test has.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.folder.file_name().unwrap().to_str().unwrap())
    }

    /// A client that runs a container in the foreground and removes it.
    pub(crate) fn runs(&self, options: &[&str], id: &str, words: &[&str]) -> Command {
        let mut command = self.command(&["run", "--rm", "--runtime", "io.containerd.hull.v2"]);
        command.args(options).args([IMAGE, id]).args(words);
        command
    }

    /// Starts a container in the background.
    pub(crate) fn detach(&self, options: &[&str], id: &str, words: &[&str]) {
        let run = ["run", "-d", "--runtime", "io.containerd.hull.v2"];
        let words: Vec<&str> = run.iter().chain(options).chain(&[IMAGE, id]).chain(words).copied().collect();
        // Its streams would be held by the container's.
        let status = self.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "ctr {words:?}");
    }

    /// Process id and status of a task, nothing when there is none.
    pub(crate) fn task(&self, id: &str) -> Option<(i32, String)> {
        let list = self.must(&["task", "ls"]);
        let line = list.lines().find(|line| line.split_ascii_whitespace().next() == Some(id))?;
        let mut words = line.split_ascii_whitespace().skip(1);
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    }

    /// Waits until a task has this status.
    pub(crate) fn wait_for(&self, id: &str, status: &str) {
        while self.task(id).is_none_or(|(_, is)| is != status) {}
    }

    /// The bundle of a container.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.folder.join("state/io.containerd.runtime.v2.task/default").join(id)
    }

    /// Process id of the shim of a container.
    pub(crate) fn shim_of(&self, id: &str) -> i32 {
        fs::read_to_string(self.bundle(id).join("shim.pid")).unwrap().parse().unwrap()
    }

    /// Listens to events.
    pub(crate) fn events(&self) -> Events {
        let path = self.folder.join("events");
        let file = fs::File::create(&path).unwrap();
        let child = self.command(&["events"]).stdout(file).spawn().unwrap();
        let events = Events { path, child };
        // It listens when it hears something.
        while events.lines().is_empty() {
            let label = format!("{}={}", self.id("label"), events.child.id());
            self.must(&["image", "label", IMAGE, &label]);
        }
        events
    }

    /// Whether nothing is left of its containers: no mount, no shim, no state.
    pub(crate) fn leaves_nothing(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let prefix = self.id("");
        let states = fs::read_dir("/run/containerd/hull/default").into_iter().flatten().flatten();
        let states = states.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count();
        !mounts.contains(self.folder.to_str().unwrap()) && states == 0
    }
}

/// What the daemon tells.
pub(crate) struct Events {
    path: PathBuf,
    child: Child,
}

impl Events {
    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.path).unwrap().lines().map(str::to_owned).collect()
    }

    /// Topics of a container's events so far, without what is in front of the last part.
    pub(crate) fn of(&self, id: &str) -> Vec<String> {
        let quoted = format!("{id:?}");
        let task = |line: &String| line.contains(&quoted) && line.contains(" /tasks/");
        let topic =
            |line: String| line.split(" /tasks/").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        self.lines().into_iter().filter(task).filter_map(topic).collect()
    }

    /// Waits for an event of a container. All until then.
    pub(crate) fn wait_for(&self, id: &str, topic: &str) -> Vec<String> {
        loop {
            let topics = self.of(id);
            if topics.iter().any(|known| known == topic) {
                return topics;
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.is_none() && !std::thread::panicking() {
            self.start();
        }
        let list = text_of(&self.ctr(&["container", "ls", "-q"]).stdout);
        for id in list.lines() {
            let _ = self.ctr(&["task", "rm", "-f", id]);
            let _ = self.ctr(&["container", "rm", id]);
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Text that a program wrote.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes an OCI archive: one layer, busybox and its names.
fn image(folder: &Path) -> PathBuf {
    let (layout, root) = (folder.join("layout"), folder.join("layer"));
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    for name in ["bin", "tmp", "etc"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    for name in PROGRAMS {
        fs::hard_link(root.join("bin/busybox"), root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    let tar = |from: &Path, to: &Path| {
        assert!(Command::new("tar").arg("-C").arg(from).arg("-cf").arg(to).arg(".").status().unwrap().success());
    };
    tar(&root, &folder.join("layer.tar"));
    let blob = |kind: &str, bytes: Vec<u8>| {
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let size = bytes.len();
        fs::write(layout.join("blobs/sha256").join(&digest), bytes).unwrap();
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": size})
    };
    let layer = blob("layer.v1.tar", fs::read(folder.join("layer.tar")).unwrap());
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}
    });
    let config = blob("config.v1+json", config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]
    });
    let mut manifest = blob("manifest.v1+json", manifest.to_string().into_bytes());
    manifest["annotations"] = json!({"io.containerd.image.name": IMAGE});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let archive = folder.join("image.tar");
    tar(&layout, &archive);
    archive
}
