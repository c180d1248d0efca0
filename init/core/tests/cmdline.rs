//! The command line as people type it, good and bad.

use hull_init_core::cmdline::{Config, Form, Key, TABLE, write_document};
use hull_init_core::control::SlotName;

fn parse(line: &str) -> Config {
    Config::parse(line.as_bytes())
}

#[test]
fn an_empty_command_line_is_all_defaults_and_no_complaint() {
    let config = parse("");
    assert_eq!(config.complaints(), []);
    for row in TABLE {
        assert_eq!(config.value(row.key), row.default);
    }
}

#[test]
fn every_default_is_empty_or_a_good_value() {
    for row in TABLE.iter().filter(|row| !row.default.is_empty()) {
        let config = parse(&format!("{}={}", row.name, row.default));
        assert_eq!(config.complaints(), [], "{}", row.name);
    }
}

#[test]
fn others_keys_are_not_looked_at() {
    let config = parse("console=ttyS0 quiet hullx.y=1 panic=5 -- hull");
    assert_eq!(config.complaints(), []);
}

#[test]
fn an_unknown_key_is_named_with_the_key_that_was_meant() {
    let config = parse("hull.nmae=x hull.frobnicate.everything=1");
    assert_eq!(config.complaints().len(), 2);
    assert!(config.complaints()[0].expected.contains("hull.name"), "{}", config.complaints()[0]);
    assert!(config.complaints()[1].expected.contains("no such key"), "{}", config.complaints()[1]);
}

#[test]
fn a_bad_value_leaves_the_default_and_says_what_was_expected() {
    let config = parse("hull.update.deadline=soon hull.kv.listen=2379 hull.state=tape hull.name=-x-");
    assert_eq!(config.complaints().len(), 4);
    assert_eq!(config.update_deadline().as_secs(), 60);
    assert_eq!(config.value(Key::KvListen), "127.0.0.1:2379");
    let first = config.complaints()[0].to_string();
    assert_eq!(first, "command line: hull.update.deadline=soon: expected a whole number from 5 to 3600; 60 applies");
}

#[test]
fn a_bad_value_after_a_good_one_does_not_undo_it() {
    let config = parse("hull.net=off hull.net=ofF");
    assert_eq!(config.value(Key::Net), "off");
    assert_eq!(config.complaints().len(), 1);
    assert!(config.complaints()[0].expected.ends_with("; off applies"), "{}", config.complaints()[0]);
}

#[test]
fn a_complaint_says_what_the_whole_line_comes_to() {
    let said = |line| parse(line).complaints()[0].expected.as_str().rsplit("; ").next().map(str::to_owned).unwrap();
    assert_eq!(said("hull.name=-bad- hull.name=ok"), "ok applies");
    assert_eq!(said("hull.name=-bad-"), "the derived name applies");
}

#[test]
fn the_last_value_applies_but_containers_add_up() {
    let config = parse("hull.name=a hull.name=b hull.run=hello hull.run=web=nginx:1.2,db=pg");
    assert_eq!(config.name(), "b");
    assert_eq!(config.value(Key::Run), "hello,web=nginx:1.2,db=pg");
}

#[test]
fn one_bad_container_does_not_take_the_others_along() {
    let config = parse("hull.run=hello,,we_b=x,web=nginx");
    assert_eq!(config.value(Key::Run), "hello,web=nginx");
    assert_eq!(config.complaints().len(), 2);
}

#[test]
fn quotes_keep_blanks_together() {
    let config = parse("hull.console=\"/bin/sh,-c,echo hi\" \"hull.name=quoted\"");
    assert_eq!(config.console().collect::<Vec<_>>(), ["/bin/sh", "-c", "echo hi"]);
    assert_eq!(config.name(), "quoted");
}

#[test]
fn numbers_outside_their_bounds_are_refused() {
    for (line, key) in [
        ("hull.update.tries=0", Key::UpdateTries),
        ("hull.update.tries=16", Key::UpdateTries),
        ("hull.watchdog=-1", Key::Watchdog),
    ] {
        let config = parse(line);
        assert_eq!(config.complaints().len(), 1, "{line}");
        assert!(!config.is_given(key));
    }
    let huge = parse("hull.watchdog=99999999999999999999999999");
    assert_eq!(huge.complaints().len(), 1);
}

#[test]
fn a_watchdog_of_zero_is_off() {
    assert_eq!(parse("hull.watchdog=0").watchdog(), None);
    assert_eq!(parse("").watchdog().unwrap().as_secs(), 30);
}

#[test]
fn the_slot_of_a_trial_is_read() {
    let config = parse("hull.boot.trial=b hull.boot.hops=2");
    assert_eq!(config.boot_trial(), Some(SlotName::B));
    assert_eq!(config.boot_hops(), 2);
}

#[test]
fn a_full_line_of_rubbish_is_counted_not_lost() {
    let line = "hull.x ".repeat(300);
    let config = parse(&line);
    assert_eq!(config.complaints().len() + config.complaints_lost() as usize, 300);
}

#[test]
fn bytes_that_are_no_text_are_complained_about() {
    let config = Config::parse(b"hull.name=\xff\xfe hull.net=off\n");
    assert_eq!(config.complaints().len(), 1);
    assert_eq!(config.value(Key::Net), "off");
}

#[test]
fn a_single_token_of_two_thousand_bytes_is_survived() {
    let config = parse(&format!("hull.name={} hull.run={}", "x".repeat(2000), "y".repeat(2000)));
    assert_eq!(config.complaints().len(), 1, "{:?}", config.complaints());
    assert_eq!(config.value(Key::Run).len(), 2000);
}

#[test]
fn a_derived_name_never_replaces_a_given_one() {
    let mut config = parse("hull.name=given");
    config.set_derived_name("hull-123456");
    assert_eq!(config.name(), "given");
    let mut config = parse("");
    config.set_derived_name("hull-123456");
    assert_eq!(config.name(), "hull-123456");
}

#[test]
fn the_document_is_what_the_table_says() {
    let mut document = String::new();
    write_document(&mut document).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cmdline.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == document, "docs/cmdline.md is not what `hull-init --print-cmdline-doc` prints");
}

#[test]
fn every_word_of_a_choice_is_accepted() {
    for row in TABLE {
        if let Form::Word(words) = row.form {
            for word in words {
                assert_eq!(parse(&format!("{}={word}", row.name)).complaints(), []);
            }
        }
    }
}
