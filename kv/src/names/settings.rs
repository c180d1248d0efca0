//! /etc/resolv.conf: who is asked, and for which names (resolv.conf(5)).
use std::time::Duration;

use super::host::{self, Address};

/// Servers beyond are not asked, as by glibc (MAXNS) and Go.
const MOST_SERVERS: usize = 3;
/// The largest `ndots`, as of glibc (RES_MAXNDOTS) and Go.
const MOST_DOTS: u32 = 15;
/// The largest `timeout` in seconds, as of glibc (RES_MAXRETRANS).
const MOST_SECONDS: u32 = 30;
/// The largest `attempts`, as of glibc (RES_MAXRETRY).
const MOST_ATTEMPTS: u32 = 5;

/// Which server is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Listed,
    /// `rotate`
    Any,
}

/// How servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// By a datagram, and again on a connection if the answer does not fit into one.
    Udp,
    /// `use-vc`
    Tcp,
}

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    Both,
    /// `no-aaaa`
    V4,
}

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// At least one.
    pub(super) servers: Vec<Address>,
    search: Vec<String>,
    /// Names with so many dots are first looked up as they are.
    dots: usize,
    /// How long one server is waited for.
    pub(super) timeout: Duration,
    /// How often each server is asked.
    pub(super) attempts: usize,
    pub(super) first: First,
    pub(super) transport: Transport,
    pub(super) families: Families,
}

impl Settings {
    /// The settings of a file on the machine with this name. What is not understood is passed over, as by everybody.
    pub(super) fn of(text: &str, own_name: &str) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            search: own_name.split_once('.').map(|(_, domain)| domain.to_owned()).into_iter().collect(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            first: First::Listed,
            transport: Transport::Udp,
            families: Families::Both,
        };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if settings.servers.len() < MOST_SERVERS => {
                    settings.servers.extend(words.next().and_then(Address::of));
                }
                Some("domain") => settings.search = words.take(1).map(str::to_owned).collect(),
                Some("search") => settings.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| settings.set(word)),
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.extend(Address::loopback());
        }
        settings
    }

    fn set(&mut self, option: &str) {
        let (name, number) = option.split_once(':').unwrap_or((option, ""));
        match (name, number.parse::<u32>()) {
            ("ndots", Ok(dots)) => self.dots = dots.min(MOST_DOTS) as usize,
            ("timeout", Ok(seconds)) => self.timeout = Duration::from_secs(seconds.clamp(1, MOST_SECONDS).into()),
            ("attempts", Ok(attempts)) => self.attempts = attempts.clamp(1, MOST_ATTEMPTS) as usize,
            ("rotate", _) => self.first = First::Any,
            ("use-vc", _) => self.transport = Transport::Tcp,
            ("no-aaaa", _) => self.families = Families::V4,
            _ => {}
        }
    }

    /// The full names that a name may stand for, in the order in which they are asked for.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let suffixes = self.search.iter().map(|suffix| suffix.trim_matches('.')).filter(|suffix| !suffix.is_empty());
        let mut names: Vec<String> =
            suffixes.map(|suffix| format!("{name}.{suffix}")).filter(|name| host::is_name(name)).collect();
        let as_it_is = if name.matches('.').count() >= self.dots { 0 } else { names.len() };
        names.insert(as_it_is, name.to_owned());
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(file: &str, name: &str) -> Vec<String> {
        Settings::of(file, "node.own.net").candidates(name)
    }

    fn servers(file: &str) -> Vec<String> {
        Settings::of(file, "node").servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_file_this_machine_is_asked() {
        let settings = Settings::of("", "node");
        assert_eq!(servers(""), ["127.0.0.1", "::1"]);
        assert_eq!((settings.dots, settings.timeout, settings.attempts), (1, Duration::from_secs(5), 2));
        assert_eq!((settings.first, settings.transport), (First::Listed, Transport::Udp));
        assert_eq!((settings.families, settings.search), (Families::Both, vec![]));
    }

    #[test]
    fn the_first_three_servers_count_and_what_is_none_does_not() {
        let file = "# nameserver 9.9.9.9\nnameserver 10.0.0.1\nnameserver none\nnameserver fe80::1%eth0\n; x\n\
            nameserver\t10.0.0.3 # third\nnameserver 10.0.0.4\nsortlist 10.0.0.0\nunheard of\n\u{fffd}\n";
        assert_eq!(servers(file), ["10.0.0.1", "fe80::1%eth0", "10.0.0.3"]);
    }

    #[test]
    fn options_have_the_limits_of_everybody_else() {
        let file = "options ndots:99 timeout:99 attempts:99 rotate use-vc no-aaaa edns0 unheard-of\n";
        let settings = Settings::of(file, "node");
        assert_eq!((settings.dots, settings.timeout, settings.attempts), (15, Duration::from_secs(30), 5));
        assert_eq!((settings.first, settings.transport), (First::Any, Transport::Tcp));
        assert_eq!(settings.families, Families::V4);
        let settings = Settings::of("options timeout:0 attempts:0 ndots:0", "node");
        assert_eq!((settings.dots, settings.timeout, settings.attempts), (0, Duration::from_secs(1), 1));
        let settings = Settings::of("options timeout:x attempts:-1 ndots:", "node");
        assert_eq!((settings.dots, settings.timeout, settings.attempts), (1, Duration::from_secs(5), 2));
    }

    #[test]
    fn a_short_name_is_looked_up_below_the_suffixes_first_and_a_long_one_last() {
        let file = "search a.org b.org. .\noptions ndots:2";
        assert_eq!(candidates(file, "db"), ["db.a.org", "db.b.org", "db"]);
        assert_eq!(candidates(file, "db.x"), ["db.x.a.org", "db.x.b.org", "db.x"]);
        assert_eq!(candidates(file, "db.x.y"), ["db.x.y", "db.x.y.a.org", "db.x.y.b.org"]);
    }

    #[test]
    fn a_name_with_a_last_dot_is_whole() {
        assert_eq!(candidates("search a.org", "db."), ["db"]);
    }

    #[test]
    fn the_last_of_domain_and_search_counts_and_without_either_the_machines_own_domain() {
        assert_eq!(candidates("search a.org\ndomain b.org", "db"), ["db.b.org", "db"]);
        assert_eq!(candidates("domain b.org\nsearch a.org", "db"), ["db.a.org", "db"]);
        assert_eq!(candidates("", "db"), ["db.own.net", "db"]);
        assert_eq!(Settings::of("", "node").candidates("db"), ["db"]);
    }

    #[test]
    fn a_suffix_that_makes_no_name_is_left_out() {
        let long = "x".repeat(64);
        assert_eq!(candidates(&format!("search ü {long} a.org"), "db"), ["db.a.org", "db"]);
    }
}
