//! `/livez` and `/readyz`, as etcd has them since 3.5.11: named checks, each with a path of its own; `?exclude=NAME` leaves some out,
//! `?verbose` tells of each. What failed is always told.
use std::fmt::Write as _;

use http::{Response, StatusCode};
use hull_kv_proto::etcdserverpb::AlarmType;
use tonic::body::Body;

use super::{queried, text};
use crate::{api::Api, lock::read};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// No member was found to hold other data.
    DataCorruption,
    /// This member answers from what it has.
    SerializableRead,
    /// The cluster agrees on what is new.
    LinearizableRead,
}

const LIVE: [Check; 1] = [Check::SerializableRead];
const READY: [Check; 3] = [Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
        }
    }

    async fn run(self, api: &Api) -> Result<(), String> {
        match self {
            Self::DataCorruption => {
                let corrupt = !read(&api.shared.store).alarms().of_kind(AlarmType::Corrupt.into()).is_empty();
                if corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
            }
            // That the lock is had is the answer.
            Self::SerializableRead => {
                drop(read(&api.shared.store));
                Ok(())
            }
            Self::LinearizableRead => api.agrees().await.map_err(|status| format!("range error: {}", status.message())),
        }
    }
}

/// The answer to a path of one of the two; `None`: it is none.
pub(super) async fn answer(api: &Api, path: &str, query: &str) -> Option<Response<Body>> {
    let (all, rest): (&[Check], &str) = match path.strip_prefix("/livez") {
        Some(rest) => (&LIVE, rest),
        None => (&READY, path.strip_prefix("/readyz")?),
    };
    let checks: Vec<Check> = match rest.strip_prefix('/') {
        None if rest.is_empty() => {
            all.iter().copied().filter(|check| !queried(query, "exclude", check.name())).collect()
        }
        None => return None,
        Some(one) => vec![*all.iter().find(|check| check.name() == one)?],
    };
    let (mut told, mut failed) = (String::new(), false);
    for check in checks {
        // Writing to a String cannot fail.
        let _ = match check.run(api).await {
            Ok(()) => writeln!(told, "[+]{} ok", check.name()),
            Err(why) => {
                failed = true;
                writeln!(told, "[-]{} failed: {why}", check.name())
            }
        };
    }
    let verbose = query.split('&').any(|pair| pair.split('=').next() == Some("verbose"));
    Some(match (failed, verbose) {
        (true, _) => text(StatusCode::SERVICE_UNAVAILABLE, told.trim_end()),
        (false, true) => text(StatusCode::OK, told + "ok"),
        (false, false) => text(StatusCode::OK, "ok"),
    })
}
