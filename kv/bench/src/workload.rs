//! What etcd's `benchmark` is asked to do, and what is hoped for.

/// A ratio to the second subject that is aimed at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    /// At least so many times its requests a second.
    pub(crate) rate: f64,
    /// At most so much of its processor time.
    pub(crate) processor: Option<f64>,
}

/// One call of the tool.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Members of the cluster it runs against.
    pub(crate) members: usize,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) aim: Aim,
}

impl Workload {
    /// Whether enough clients ask at once to keep the processors busy.
    pub(crate) fn is_bound_by_tool(&self) -> bool {
        !self.arguments.windows(2).any(|pair| pair == ["--clients", "1"])
    }

    /// The value of `--total`.
    pub(crate) fn requests(&self) -> u64 {
        let total = self.arguments.windows(2).find(|pair| pair[0] == "--total");
        total.and_then(|pair| pair[1].parse().ok()).unwrap_or(1)
    }
}

const fn rate(rate: f64) -> Aim {
    Aim { rate, processor: None }
}

/// What puts of many clients are hoped to reach on one member.
const MANY: Aim = Aim { rate: 3.0, processor: Some(0.25) };

/// Puts as etcd's documents measure them: members; clients, connections and requests.
macro_rules! put {
    ($name:literal, $members:literal, $clients:literal, $connections:literal, $total:literal, $aim:expr) => {
        Workload {
            name: $name,
            members: $members,
            arguments: &[
                "put",
                "--clients",
                $clients,
                "--conns",
                $connections,
                "--total",
                $total,
                "--key-space-size",
                "100000",
                "--val-size",
                "256",
            ],
            aim: $aim,
        }
    };
}

/// In the order of the document. Runs that are over in a second, as those of etcd's documents are here, see a store that is
/// nearly empty; the longer ones take etcd 3.4 about ten. Puts come first: the ranges then find keys.
pub(crate) const WORKLOADS: [Workload; 9] = [
    put!("put, 1 client", 1, "1", "1", "20000", rate(1.8)),
    put!("put, 100 clients", 1, "100", "10", "50000", MANY),
    put!("put, 100 clients", 1, "100", "10", "200000", MANY),
    put!("put, 1,000 clients", 1, "1000", "100", "100000", MANY),
    put!("put, 1,000 clients", 1, "1000", "100", "200000", MANY),
    Workload {
        name: "linearizable range, 100 clients",
        members: 1,
        arguments: &["range", "key", "--clients", "100", "--conns", "10", "--total", "100000", "--consistency", "l"],
        aim: rate(4.0),
    },
    Workload {
        name: "lease keep-alive, 100 clients",
        members: 1,
        arguments: &["lease-keepalive", "--clients", "100", "--conns", "10", "--total", "150000"],
        aim: rate(3.0),
    },
    put!("put, 3 nodes, 1,000 clients", 3, "1000", "100", "50000", rate(3.0)),
    put!("put, 3 nodes, 1,000 clients", 3, "1000", "100", "150000", rate(3.0)),
];
