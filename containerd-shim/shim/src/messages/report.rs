//! What a performer tells the shim: one packet between two processes of this program.

use prost::Message;

use crate::refusal::{Code, Refusal};

/// What a packet begins with.
const MARK: u8 = b'R';

/// How a piece of work went.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Report {
    /// The process that was made.
    #[prost(uint32, tag = "1")]
    pub(crate) pid: u32,
    /// Path of the container's control group.
    #[prost(string, tag = "2")]
    pub(crate) group: String,
    /// Whether its processes outlive its first one, since that leads no process id namespace.
    #[prost(bool, tag = "3")]
    pub(crate) outlive: bool,
    /// Went wrong without undoing the work.
    #[prost(string, repeated, tag = "4")]
    pub(crate) warnings: Vec<String>,
    /// Why nothing was done.
    #[prost(message, optional, tag = "5")]
    pub(crate) failure: Option<super::rpc::Status>,
}

impl Report {
    /// Of work that could not be done.
    pub(crate) fn failed(refusal: &Refusal) -> Report {
        let failure = super::rpc::Status { code: refusal.code as i32, message: refusal.message.clone() };
        Report { failure: Some(failure), ..Report::default() }
    }

    /// As a packet: never empty, since an empty one is the end of the connection.
    pub(crate) fn to_packet(&self) -> Vec<u8> {
        let mut packet = vec![MARK];
        self.encode_raw(&mut packet);
        packet
    }

    /// Out of a packet.
    pub(crate) fn from_packet(packet: &[u8]) -> Option<Report> {
        packet.strip_prefix(&[MARK]).and_then(|bytes| Report::decode(bytes).ok())
    }

    /// Whether the work was done.
    pub(crate) fn result(self) -> Result<Report, Refusal> {
        match self.failure {
            Some(failure) => Err(Refusal { code: Code::of(failure.code), message: failure.message }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_anything_to_say_is_not_taken_for_the_end() {
        let packet = Report::default().to_packet();
        assert_eq!(Report::from_packet(&packet), Some(Report::default()));
        assert_eq!(Report::from_packet(&[]), None);
    }
}
