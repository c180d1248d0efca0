//! Device rules as lines of a version 1 group. The kernel keeps a default there and a list of exceptions to it (cgroup-v1/devices.rst): the
//! last rule that matches decides only where each rule adds an exception, or takes whole ones off the list.

use super::Refused;
use super::devices::{ALWAYS, Kind, Rule, Verdict, access, line};
use super::refused::value;

/// What is not as the default says.
struct Exception {
    rule: Rule,
    /// Place of the rule that made it.
    index: usize,
}

/// The lines that mean the same as the rules, each with its file, `devices.allow` or `devices.deny`.
///
/// # Errors
/// Names the rule that would take a part out of what an earlier one says: the kernel would pass over it.
pub fn lines(rules: &[Rule]) -> Result<Vec<(&'static str, String)>, Refused> {
    let everything = |verdict| Rule { verdict, kind: None, major: None, minor: None, access: access::ALL };
    let (mut otherwise, mut exceptions) = (Verdict::Deny, Vec::<Exception>::new());
    // Where nothing is said, nothing is allowed: as with version 2.
    let mut lines = vec![line(&everything(Verdict::Deny))];
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.access != 0) {
        if *rule == everything(rule.verdict) {
            (otherwise, exceptions) = (rule.verdict, Vec::new());
            lines.push(line(rule));
            continue;
        }
        // The kernel takes the kind `a` for everything, whatever is behind it.
        for kind in [Kind::Character, Kind::Block].into_iter().filter(|kind| rule.kind.is_none_or(|own| own == *kind)) {
            let rule = Rule { kind: Some(kind), ..*rule };
            if rule.verdict != otherwise {
                lines.push(line(&rule));
                exceptions.push(Exception { rule, index });
                continue;
            }
            for exception in exceptions.iter_mut().filter(|exception| meet(&exception.rule, &rule)) {
                if !covers(&rule, &exception.rule) {
                    return Err(hole(rules, (index, &rule), exception));
                }
                lines.push(line(&Rule { verdict: rule.verdict, access: rule.access, ..exception.rule }));
                exception.rule.access &= !rule.access;
            }
        }
    }
    if lines.get(1).is_some_and(|(_, line)| line.starts_with('a')) {
        lines.remove(0);
    }
    Ok(lines)
}

/// Whether some access to some device is of both.
fn meet(one: &Rule, other: &Rule) -> bool {
    let same = |one: Option<u32>, other: Option<u32>| one.is_none() || other.is_none() || one == other;
    one.kind == other.kind
        && same(one.major, other.major)
        && same(one.minor, other.minor)
        && one.access & other.access != 0
}

/// Whether every device of the second is of the first, too.
fn covers(whole: &Rule, part: &Rule) -> bool {
    let within = |whole: Option<u32>, part: Option<u32>| whole.is_none() || whole == part;
    within(whole.major, part.major) && within(whole.minor, part.minor)
}

/// Names the later of the two rules that is the specification's own.
fn hole(rules: &[Rule], (index, rule): (usize, &Rule), exception: &Exception) -> Refused {
    let declared = rules.len().saturating_sub(ALWAYS.len());
    let named = if index < declared { index } else { exception.index };
    value(
        format!("linux.resources.devices[{named}]"),
        format!("{} after {}", line(rule).1, line(&exception.rule).1),
        "for control groups of version 1, which cannot punch hole in existing wildcard rule",
    )
}

#[cfg(test)]
mod tests {
    use super::super::{config, devices, read};
    use super::*;

    /// The lines without those of the devices that every container has.
    fn declared(text: &str) -> Result<Vec<String>, String> {
        let rules = devices::rules(&read::json::<Vec<config::DeviceRule>>(text.as_bytes()).unwrap()).unwrap();
        let own = &rules[..rules.len() - ALWAYS.len()];
        lines(&rules).map_err(|refused| refused.to_string())?;
        let lines = lines(own).unwrap_or_default();
        Ok(lines.into_iter().map(|(file, line)| format!("{} {line}", file.trim_start_matches("devices."))).collect())
    }

    #[test]
    fn rules_are_lines_of_a_version_1_group() {
        let text = r#"[{"allow":false},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]"#;
        assert_eq!(declared(text).unwrap(), ["deny a *:* rwm", "allow c 10:229 rw"]);
        let text = r#"[{"allow":true,"type":"b","major":7}]"#;
        assert_eq!(declared(text).unwrap(), ["deny a *:* rwm", "allow b 7:* rwm"]);
    }

    #[test]
    fn a_rule_for_all_kinds_is_one_for_each_of_them() {
        let text = r#"[{"allow":false},{"allow":true,"major":10,"access":"rw"}]"#;
        assert_eq!(declared(text).unwrap(), ["deny a *:* rwm", "allow c 10:* rw", "allow b 10:* rw"]);
        let text = r#"[{"allow":true},{"allow":false,"access":"w"}]"#;
        assert!(declared(text).unwrap_err().contains("hole"), "the default devices could not be written to");
    }

    #[test]
    fn what_is_taken_back_is_taken_off_the_list() {
        let text = r#"[{"allow":false},{"allow":true,"type":"c","major":10,"minor":229},{"allow":true,"type":"c","major":10,"minor":2},
            {"allow":false,"type":"c","major":10,"access":"w"},{"allow":true,"type":"c","major":10,"minor":229,"access":"w"}]"#;
        let expected =
            ["allow c 10:229 rwm", "allow c 10:2 rwm", "deny c 10:229 w", "deny c 10:2 w", "allow c 10:229 w"];
        assert_eq!(declared(text).unwrap()[1..], expected);
        let text = r#"[{"allow":true},{"allow":false,"type":"c","major":10,"minor":229},{"allow":true,"type":"c","major":10}]"#;
        assert_eq!(declared(text).unwrap(), ["allow a *:* rwm", "deny c 10:229 rwm", "allow c 10:229 rwm"]);
    }

    #[test]
    fn what_the_kernel_would_pass_over_is_refused_by_its_rule() {
        for (text, place) in [
            (
                r#"[{"allow":false},{"allow":true,"type":"c","major":10},{"allow":false,"type":"c","major":10,"minor":229}]"#,
                2,
            ),
            (
                r#"[{"allow":true},{"allow":false,"type":"c","major":10},{"allow":true,"type":"c","major":10,"minor":229}]"#,
                2,
            ),
            (r#"[{"allow":false},{"allow":true,"type":"c","minor":1},{"allow":false,"type":"c","major":10}]"#, 2),
            // No terminal would be there.
            (r#"[{"allow":true},{"allow":false,"type":"c"}]"#, 1),
        ] {
            let refused = declared(text).unwrap_err();
            assert!(refused.starts_with(&format!("linux.resources.devices[{place}]: ")), "{refused}");
            assert!(refused.contains("cannot punch hole in existing wildcard rule"), "{refused}");
        }
        let apart = r#"[{"allow":false},{"allow":true,"type":"c","major":10,"access":"r"},{"allow":false,"type":"c","major":10,"minor":229,"access":"w"}]"#;
        assert_eq!(declared(apart).unwrap(), ["deny a *:* rwm", "allow c 10:* r"]);
    }
}
