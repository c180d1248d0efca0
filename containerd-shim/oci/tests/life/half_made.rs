//! What a runtime leaves that is killed while it makes a container.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::common::{Bundle, can_run, text};
use crate::{group, soon, status};

/// A runtime in the middle of making a container, which takes long enough to be killed.
fn half_way(bundle: &mut Bundle) -> std::process::Child {
    let reached = bundle.folder.join("reached");
    let _ = fs::remove_file(&reached);
    let script = format!("touch {}; sleep 30", reached.display());
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    let mut command = bundle.command(&["create", &bundle.id]);
    let runtime = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    bundle.config["hooks"] = json!({});
    soon(|| reached.exists());
    runtime
}

#[test]
fn what_a_killed_runtime_has_half_made_is_removed_by_force() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["wait"]);
    let mut runtime = half_way(&mut bundle);
    runtime.kill().unwrap();
    runtime.wait().unwrap();
    assert!(group(&format!("/{}", bundle.id)).exists());
    assert!(bundle.leave(&["delete", "--force", &bundle.id]));
    assert!(bundle.leaves_nothing());
}

#[test]
fn what_a_killed_runtime_has_half_made_goes_when_nobody_makes_it_any_more() {
    if !can_run() {
        return;
    }
    for words in ["delete", "create"] {
        let mut bundle = Bundle::new(&["wait"]);
        let mut runtime = half_way(&mut bundle);
        let why = |words: &str| text(&bundle.hull(&[words, &bundle.id]).stderr);
        assert!(why("delete").contains("is being created") && why("create").contains("already exists"));
        runtime.kill().unwrap();
        runtime.wait().unwrap();
        // Its process ends by itself.
        soon(|| bundle.leave(&[words, &bundle.id]));
        match words {
            "delete" => assert!(bundle.leaves_nothing()),
            _ => assert_eq!(status(&bundle), "created"),
        }
    }
    // A runtime that ends between the last word of its process and what it would have written is as if it had not heard it.
    let bundle = Bundle::new(&["wait"]);
    assert!(bundle.leave(&["create", &bundle.id]));
    let folder = bundle.folder.join("state").join(&bundle.id);
    let state: Value = serde_json::from_slice(&bundle.hull(&["state", &bundle.id]).stdout).unwrap();
    fs::rename(folder.join("state.json"), folder.join("state.json.new")).unwrap();
    assert!(bundle.leave(&["delete", &bundle.id]) && bundle.leaves_nothing());
    assert!(!std::path::Path::new(&format!("/proc/{}/root", state["pid"])).exists());
    // With another process in its group nobody knows what it is.
    let mut bundle = Bundle::new(&["wait"]);
    let mut runtime = half_way(&mut bundle);
    let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(group(&format!("/{}/cgroup.procs", bundle.id)), other.id().to_string()).unwrap();
    runtime.kill().unwrap();
    runtime.wait().unwrap();
    let why = |words: &str| text(&bundle.hull(&[words, &bundle.id]).stderr);
    soon(|| why("delete").contains("delete it with --force"));
    assert!(why("create").contains("already exists"));
    other.kill().unwrap();
    other.wait().unwrap();
    soon(|| bundle.leave(&["delete", &bundle.id]));
}
