//! Fields of `config.json`, each with what it does seen from inside the container, or the field's name in what refuses it.

mod common;

use std::fs;

use common::{Bundle, can_run, text};
use serde_json::{Value, json};

#[test]
fn a_capability_that_cannot_be_given_is_warned_of_and_left_out() {
    if !can_run() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/status"]);
    let names = json!(["CAP_KILL", "CAP_NEW_THING"]);
    bundle.config["process"]["capabilities"] =
        json!({"bounding": names, "permitted": names, "effective": names, "ambient": ["CAP_KILL"]});
    let ran = bundle.hull(&["--log", "log", "--log-format", "json", "run", &bundle.id]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("CapBnd:\t0000000000000020"), "{}", text(&ran.stdout));
    let log = fs::read_to_string(bundle.folder.join("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, said) in lines.iter().zip(["capabilities: CAP_NEW_THING", "capabilities.ambient: CAP_KILL"]) {
        assert_eq!(line["level"], "warning");
        assert!(line["msg"].as_str().unwrap().contains(said) && text(&ran.stderr).contains(said), "{log}");
    }
    assert!(bundle.leave(&["create", &bundle.id]));
    let entered = bundle.hull(&["exec", "--cap", "CAP_OTHER_THING", &bundle.id, "/probe", "true"]);
    assert!(text(&entered.stderr).contains("CAP_OTHER_THING is left out"), "{}", text(&entered.stderr));
}
