//! The settings that make several members one cluster.
use super::{ConfigError, Setting, listen_address, split};
use crate::{driver::Timing, http::Address};

/// How the members find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `--initial-advertise-peer-urls`
    pub peer_urls: Vec<String>,
    /// `--listen-peer-urls`; `None`: where `peer_urls` say, once there is another member.
    pub listen: Option<Vec<Address>>,
    /// `--initial-cluster`: names and their addresses, this member among them.
    pub first: Vec<(String, Vec<String>)>,
    /// `--initial-cluster-state`
    pub state: State,
    /// `--initial-cluster-token`
    pub token: String,
    /// `--heartbeat-interval` and `--election-timeout`
    pub timing: Timing,
}

/// What a member without data finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The cluster begins now.
    New,
    /// The cluster exists and has added this member.
    Existing,
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        flag: "initial-advertise-peer-urls",
        variable: "ETCD_INITIAL_ADVERTISE_PEER_URLS",
        default: "http://localhost:2380",
        help: "where peers reach this member; part of its identity",
    },
    Setting {
        flag: "listen-peer-urls",
        variable: "ETCD_LISTEN_PEER_URLS",
        default: "",
        help: "where to listen for peers (default: where they reach it, once there are any)",
    },
    Setting {
        flag: "initial-cluster",
        variable: "ETCD_INITIAL_CLUSTER",
        default: "",
        help: "the first members, NAME=URL,NAME=URL,... (default: this one alone)",
    },
    Setting {
        flag: "initial-cluster-state",
        variable: "ETCD_INITIAL_CLUSTER_STATE",
        default: "new",
        help: "new, or existing for a member that was added to a running cluster",
    },
    Setting {
        flag: "initial-cluster-token",
        variable: "ETCD_INITIAL_CLUSTER_TOKEN",
        default: "etcd-cluster",
        help: "tells this cluster from others; part of its identity",
    },
    Setting {
        flag: "heartbeat-interval",
        variable: "ETCD_HEARTBEAT_INTERVAL",
        default: "100",
        help: "milliseconds between two heartbeats of the leader",
    },
    Setting {
        flag: "election-timeout",
        variable: "ETCD_ELECTION_TIMEOUT",
        default: "1000",
        help: "milliseconds without a leader before an election",
    },
];

/// Longest election time (milliseconds): etcd's.
const MAX_ELECTION_MS: u64 = 50_000;

impl Cluster {
    pub(super) fn from_values(name: &str, get: &impl Fn(&str) -> String) -> Result<Self, ConfigError> {
        let mut first = first_members(&get("initial-cluster"))?;
        let mut peer_urls: Vec<String> = split(&get("initial-advertise-peer-urls")).collect();
        let own = first.iter().find(|(other, _)| other == name).map(|(_, urls)| urls.clone());
        match own {
            None if first.is_empty() => first.push((name.to_owned(), peer_urls.clone())),
            None => {
                return Err(ConfigError(format!(
                    "--initial-cluster names {}, but not this member, --name {name}",
                    first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
                )));
            }
            // The flag's default stands for "not said".
            Some(urls) if peer_urls == ["http://localhost:2380"] => peer_urls = urls,
            Some(urls) if same(&urls, &peer_urls) => {}
            Some(urls) => {
                return Err(ConfigError(format!(
                    "--initial-cluster says {name}={}, but --initial-advertise-peer-urls says {}",
                    urls.join(","),
                    peer_urls.join(",")
                )));
            }
        }
        let listen = get("listen-peer-urls");
        let listen = Some(listen).filter(|urls| !urls.is_empty());
        Ok(Self {
            listen: listen
                .map(|urls| split(&urls).map(|url| listen_address("listen-peer-urls", &url)).collect())
                .transpose()?,
            state: match get("initial-cluster-state").as_str() {
                "new" => State::New,
                "existing" => State::Existing,
                other => {
                    return Err(ConfigError(format!("--initial-cluster-state {other}: new or existing was expected")));
                }
            },
            token: get("initial-cluster-token"),
            timing: timing(&get("heartbeat-interval"), &get("election-timeout"))?,
            peer_urls,
            first,
        })
    }

    /// Where peers are listened for.
    ///
    /// # Errors
    /// The advertised address is a name, so `--listen-peer-urls` must say it.
    pub fn listen_addresses(&self) -> Result<Vec<Address>, ConfigError> {
        match &self.listen {
            Some(addresses) => Ok(addresses.clone()),
            None => self.peer_urls.iter().map(|url| listen_address("listen-peer-urls", url)).collect(),
        }
    }
}

fn same(a: &[String], b: &[String]) -> bool {
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort_unstable();
        urls
    };
    sorted(a) == sorted(b)
}

/// `a=http://1.2.3.4:2380,b=...`; a name that stands twice has two addresses.
fn first_members(list: &str) -> Result<Vec<(String, Vec<String>)>, ConfigError> {
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    for pair in split(list) {
        let (name, url) = pair
            .split_once('=')
            .ok_or_else(|| ConfigError(format!("--initial-cluster {pair}: NAME=URL was expected")))?;
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, urls)) => urls.push(url.to_owned()),
            None => members.push((name.to_owned(), vec![url.to_owned()])),
        }
    }
    Ok(members)
}

fn timing(heartbeat: &str, election: &str) -> Result<Timing, ConfigError> {
    let number = |flag: &str, text: &str| {
        text.parse::<u64>()
            .ok()
            .filter(|ms| *ms > 0)
            .ok_or_else(|| ConfigError(format!("--{flag} {text}: milliseconds above 0 were expected")))
    };
    let (heartbeat_ms, election_ms) = (number("heartbeat-interval", heartbeat)?, number("election-timeout", election)?);
    if election_ms < 5 * heartbeat_ms || election_ms > MAX_ELECTION_MS {
        return Err(ConfigError(format!(
            "--election-timeout {election_ms}: between five heartbeats ({}) and {MAX_ELECTION_MS} ms was expected",
            5 * heartbeat_ms
        )));
    }
    Ok(Timing { heartbeat_ms, election_ms })
}
