//! Hooks: when they are executed, what they are told, and what follows from their failures.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::common::{Bundle, can_run};

#[test]
fn hooks_are_executed_at_all_six_points_in_order() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    let log = bundle.folder.join("log");
    let shell = |name: &str| {
        let script =
            format!("read state; s=${{state#*\\\"status\\\":\\\"}}; echo {name} ${{s%%\\\"*}} >> {}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["hooks"] = json!({
        "prestart": shell("prestart"),
        "createRuntime": shell("createRuntime"),
        "createContainer": shell("createContainer"),
        "startContainer": [{"path": "/probe", "args": ["probe", "write", "/started", "yes"]}],
        "poststart": shell("poststart"),
        "poststop": shell("poststop")
    });
    bundle.run();
    assert_eq!(fs::read_to_string(bundle.inside("started")).unwrap(), "yes");
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "prestart created\ncreateRuntime creating\ncreateContainer creating\npoststart running\npoststop stopped\n"
    );
}

#[test]
fn a_hook_that_fails_leaves_nothing_of_the_container() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["true"]);
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    assert!(bundle.refused().contains("hooks.createRuntime[0] /bin/false"));
}

#[test]
fn a_hook_that_fails_after_the_start_or_the_end_stops_nothing() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["exit", "5"]);
    let done = bundle.folder.join("done");
    let hook = |name: String, code: u8| {
        let script = format!("echo {name} >> {}; exit {code}", done.display());
        json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
    };
    let three =
        |name: &str| json!([hook(format!("{name}1"), 3), hook(format!("{name}2"), 0), hook(format!("{name}3"), 4)]);
    bundle.config["hooks"] = json!({"poststart": three("start"), "poststop": three("stop")});
    let order = "start1\nstart2\nstart3\nstop1\nstop2\nstop3\n";
    let ways: [&[&[&str]]; 2] = [&[&["run"]], &[&["create"], &["start"], &["delete", "--force"]]];
    for steps in ways {
        let _ = (fs::remove_file(&done), fs::remove_file(bundle.folder.join("log")));
        for words in steps {
            let words = [&["--log", "log"], *words, &[&bundle.id[..]]].concat();
            let ended = bundle.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert_eq!(ended.code(), Some(if words.contains(&"run") { 5 } else { 0 }), "{words:?}");
        }
        assert_eq!(fs::read_to_string(&done).unwrap(), order);
        let log = fs::read_to_string(bundle.folder.join("log")).unwrap();
        assert_eq!(log.matches("level=warning").count(), 4, "{log}");
        for place in ["poststart[0]", "poststart[2]", "poststop[0]", "poststop[2]"] {
            assert!(log.contains(&format!("hooks.{place} /bin/sh")), "{place}: {log}");
        }
        assert!(bundle.leaves_nothing());
    }
}

#[test]
fn a_hook_in_the_container_is_told_that_it_is_created() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/said"]);
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["hooks"] = json!({"startContainer": [{"path": "/probe", "args": ["probe", "told", "/said"]}]});
    let state: Value = serde_json::from_str(&bundle.run()).unwrap();
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &json!(1)), "{state}");
}

#[test]
fn a_hook_in_the_container_has_the_variables_of_its_program() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/said"]);
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["process"]["env"].as_array_mut().unwrap().push(json!("ONE=two"));
    let hook = json!({"path": "/probe", "args": ["probe", "keep", "ONE", "/said"]});
    bundle.config["hooks"] = json!({"startContainer": [hook]});
    assert_eq!(bundle.run(), "two");
    bundle.config["hooks"]["startContainer"][0]["env"] = json!(["OTHER=x"]);
    assert_eq!(bundle.run(), "");
}
