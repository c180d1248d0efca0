//! `--config-file`: settings in etcd's YAML. Its files are flat: a setting a line, two sections of settings for TLS, and lists, which are
//! what a flag has commas for. That much of YAML is read here; whatever else a line may be is refused by its number.
use super::ConfigError;

/// A section, and what the flags of its settings begin with.
const SECTIONS: [(&str, Side); 2] =
    [("client-transport-security", Side::Clients), ("peer-transport-security", Side::Peers)];

/// Whose TLS a section is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Clients,
    Peers,
}

impl Side {
    /// The flag of a section's setting.
    fn flag(self, key: &str) -> String {
        match (self, key) {
            (Self::Clients, "client-cert-auth" | "cert-file" | "key-file" | "trusted-ca-file" | "auto-tls") => {
                key.into()
            }
            (Self::Clients, key) => format!("client-{key}"),
            (Self::Peers, "allowed-cn" | "allowed-hostname") => format!("peer-cert-{key}"),
            (Self::Peers, key) => format!("peer-{key}"),
        }
    }
}

/// Flags and their values, in the order of the file.
///
/// # Errors
/// A line that is not like those above.
pub(super) fn settings(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut section = None;
    for (at, line) in text.lines().enumerate() {
        let line = without_comment(line);
        let content = line.trim();
        if content.is_empty() || content == "---" {
            continue;
        }
        let wrong = || ConfigError(format!("--config-file, line {}: {content}: NAME: VALUE was expected", at + 1));
        let indented = line.starts_with([' ', '\t']);
        if let Some(item) = content.strip_prefix("- ") {
            let (_, list) = found.last_mut().ok_or_else(wrong)?;
            let comma = if list.is_empty() { "" } else { "," };
            *list = format!("{list}{comma}{}", unquoted(item));
            continue;
        }
        let (key, value) = content.split_once(':').ok_or_else(wrong)?;
        if !value.is_empty() && !value.starts_with([' ', '\t']) {
            return Err(wrong());
        }
        if !indented {
            section = SECTIONS.iter().find(|(name, _)| *name == key).map(|(_, side)| *side);
            if section.is_some() {
                continue;
            }
        }
        let flag = match section {
            Some(side) if indented => side.flag(key),
            None if !indented => key.to_owned(),
            _ => return Err(wrong()),
        };
        found.push((flag, list_or_one(value.trim())));
    }
    Ok(found)
}

/// A comment begins the line, or stands behind a space.
fn without_comment(line: &str) -> &str {
    if line.starts_with('#') {
        return "";
    }
    line.split(" #").next().unwrap_or_default()
}

fn list_or_one(value: &str) -> String {
    match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(list) => list.split(',').map(|item| unquoted(item.trim())).collect::<Vec<_>>().join(","),
        None => unquoted(value).to_owned(),
    }
}

/// Without quotes; nothing, in words.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let inner = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    match inner('"').or_else(|| inner('\'')) {
        Some(inner) => inner,
        None if value == "null" || value == "~" => "",
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_own_example_is_read() {
        let text = "# This is the configuration file for the etcd server.\n\
            name: 'default'\n\ndata-dir:\nquota-backend-bytes: 0\nlisten-client-urls: http://localhost:2379\n\
            cors:\nclient-transport-security:\n  # Path to the client server TLS cert file.\n  cert-file: \"a b.pem\"\n  \
            client-cert-auth: false\n  crl-file: x\npeer-transport-security:\n  trusted-ca-file: ca.pem\n  \
            allowed-cn: etcd\nself-signed-cert-validity: 1 # year\nlog-outputs: [stderr, 'b']\ncipher-suites:\n- one\n  - two\n";
        let found = settings(text).expect("settings");
        let of = |flag: &str| found.iter().find(|(known, _)| known == flag).map(|(_, value)| value.as_str());
        assert_eq!((of("name"), of("data-dir"), of("cors")), (Some("default"), Some(""), Some("")));
        assert_eq!(of("listen-client-urls"), Some("http://localhost:2379"));
        assert_eq!((of("cert-file"), of("client-cert-auth")), (Some("a b.pem"), Some("false")));
        assert_eq!((of("client-crl-file"), of("peer-trusted-ca-file")), (Some("x"), Some("ca.pem")));
        assert_eq!((of("peer-cert-allowed-cn"), of("self-signed-cert-validity")), (Some("etcd"), Some("1")));
        assert_eq!((of("log-outputs"), of("cipher-suites")), (Some("stderr,b"), Some("one,two")));
    }

    #[test]
    fn a_line_of_another_kind_is_refused_by_its_number() {
        for text in ["name: a\nwhat", "name: a\n  nested: b", "name: a\nurl=http://x", "- a"] {
            let refused = settings(text).expect_err("refused").to_string();
            assert!(refused.contains("NAME: VALUE was expected") && refused.contains("line "), "{text}: {refused}");
        }
    }
}
