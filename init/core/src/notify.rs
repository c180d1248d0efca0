//! The sd_notify(3) protocol: what a service tells its supervisor, one datagram of `KEY=VALUE` lines.

/// One line of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'d> {
    /// `READY=1`: serves.
    Ready,
    /// `STOPPING=1`: ends by its own will.
    Stopping,
    /// `STATUS=text`: for people.
    Status(&'d str),
    /// `WATCHDOG=1`: alive.
    Watchdog,
    /// `WATCHDOG=trigger`: found itself broken; handle it as if it had been silent for too long.
    WatchdogTrigger,
    /// `X_HULL_HEALTH=ok`: everything it is responsible for runs.
    Healthy,
    /// `X_HULL_HEALTH=reason`: it does not, and why.
    Unhealthy(&'d str),
}

/// The notices of a datagram; what is not known, not text or not `KEY=VALUE` is skipped, as sd_notify(3) asks.
pub fn parse(datagram: &[u8]) -> impl Iterator<Item = Notice<'_>> {
    datagram.split(|byte| *byte == b'\n').filter_map(|line| {
        let (key, value) = core::str::from_utf8(line).ok()?.split_once('=')?;
        match (key, value) {
            ("READY", "1") => Some(Notice::Ready),
            ("STOPPING", "1") => Some(Notice::Stopping),
            ("STATUS", text) => Some(Notice::Status(text)),
            ("WATCHDOG", "1") => Some(Notice::Watchdog),
            ("WATCHDOG", "trigger") => Some(Notice::WatchdogTrigger),
            ("X_HULL_HEALTH", "ok") => Some(Notice::Healthy),
            ("X_HULL_HEALTH", reason) => Some(Notice::Unhealthy(reason)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(datagram: &[u8]) -> Vec<Notice<'_>> {
        parse(datagram).collect()
    }

    #[test]
    fn one_datagram_may_say_several_things() {
        assert_eq!(all(b"READY=1\nSTATUS=serving a=b\n"), [Notice::Ready, Notice::Status("serving a=b")]);
        assert_eq!(
            all(b"X_HULL_HEALTH=ok\nX_HULL_HEALTH=web crashed"),
            [Notice::Healthy, Notice::Unhealthy("web crashed")]
        );
        assert_eq!(all(b"WATCHDOG=1\nWATCHDOG=trigger"), [Notice::Watchdog, Notice::WatchdogTrigger]);
    }

    #[test]
    fn what_is_not_known_is_skipped() {
        assert_eq!(all(b""), []);
        assert_eq!(all(b"READY=0\nREADY\nMAINPID=1\n\xff\xfe=1\nSTOPPING=1"), [Notice::Stopping]);
    }
}
