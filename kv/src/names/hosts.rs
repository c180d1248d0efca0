//! /etc/hosts: an address a line, and its names behind it (hosts(5)).
use super::host::Address;

/// The addresses of a name, as they stand in the file. Capital letters and a dot at the end make no difference.
pub(super) fn addresses(text: &str, name: &str) -> Vec<Address> {
    // Some files are block lists of a hundred thousand lines.
    fn bare(name: &str) -> &str {
        name.strip_suffix('.').unwrap_or(name)
    }
    let of_line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = Address::of(words.next()?)?;
        words.any(|known| bare(known).eq_ignore_ascii_case(bare(name))).then_some(address)
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# 10.0.0.9 db\n127.0.0.1\tlocalhost\n\n10.0.0.1  a.example.org a Alias # b\n10.0.0.2 b\n\
        ::2 B.\nfe80::1%eth0 c\n10.0.0 d\n10.0.0.4\ne 10.0.0.5\n10.0.0.6 last";

    fn found(name: &str) -> Vec<String> {
        addresses(FILE, name).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_has_the_addresses_of_all_its_lines() {
        assert_eq!(found("b"), ["10.0.0.2", "::2"]);
        assert_eq!(found("c"), ["fe80::1%eth0"]);
        assert_eq!(found("last"), ["10.0.0.6"]);
    }

    #[test]
    fn aliases_capitals_and_a_last_dot_are_the_same_name() {
        for name in ["a", "A.EXAMPLE.ORG", "a.example.org.", "alias"] {
            assert_eq!(found(name), ["10.0.0.1"], "{name}");
        }
    }

    #[test]
    fn comments_and_lines_without_an_address_name_nobody() {
        for name in ["db", "d", "e", "10.0.0.5", "#", "example.org"] {
            assert_eq!(found(name), [""; 0], "{name}");
        }
    }
}
