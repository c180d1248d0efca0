//! Where output goes: text for people or JSON, colours only where they are wanted.

use crate::args::{Cli, Output};
use crate::failure::Failure;
use crate::limits::COLUMNS;
use rustix::termios::tcgetwinsize;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

/// Whether control sequences for colour are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// They are.
    Colour,
    /// They are not.
    Plain,
}

/// What a piece of text means; colour follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
}

impl Paint {
    /// Colours only on a terminal, and not with `NO_COLOR` set to anything (<https://no-color.org>).
    fn choose(terminal: bool, no_color: Option<&OsStr>) -> Self {
        if terminal && no_color.is_none_or(OsStr::is_empty) { Self::Colour } else { Self::Plain }
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        match self {
            Self::Colour if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// Standard output and error of one call.
pub(crate) struct Screen {
    pub(crate) output: Output,
    pub(crate) paint: Paint,
    /// Columns to fit into.
    pub(crate) columns: usize,
}

impl Screen {
    pub(crate) fn of(cli: &Cli) -> Self {
        let no_color = std::env::var_os("NO_COLOR");
        let columns = tcgetwinsize(stdout()).map_or(0, |size| usize::from(size.ws_col));
        Self {
            output: cli.output,
            paint: Paint::choose(stdout().is_terminal(), no_color.as_deref()),
            columns: if columns < 20 { COLUMNS } else { columns },
        }
    }

    /// Prints text that ends with its own line feed.
    ///
    /// A reader that went away (`hullctl logs kv | head`) ends the call quietly.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => {
                Err(Failure::new("write", "standard output", error, "free some space, or redirect elsewhere"))
            }
        }
    }

    /// Prints `value` as JSON, or what `text` makes of the same facts.
    pub(crate) fn show(&mut self, value: &Value, text: impl FnOnce(&Self) -> String) -> Result<(), Failure> {
        let text = match self.output {
            Output::Json => format!("{value:#}\n"),
            Output::Text => text(self),
        };
        self.print(&text)
    }

    /// Prints a refusal to standard error; as JSON when that was asked for.
    pub(crate) fn fail(&self, failure: &Failure) {
        let text = match self.output {
            Output::Json => {
                let parts = serde_json::json!({
                    "object": failure.object, "operation": failure.operation,
                    "cause": failure.cause, "remedy": failure.remedy,
                });
                format!("{:#}", serde_json::json!({ "error": parts }))
            }
            Output::Text => {
                let no_color = std::env::var_os("NO_COLOR");
                let paint = Paint::choose(stderr().is_terminal(), no_color.as_deref());
                format!("{} {failure}", paint.tone(Tone::Bad, "error:"))
            }
        };
        // Nobody is left to tell if even this cannot be written.
        let _ = writeln!(stderr(), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_and_not_with_no_color() {
        assert_eq!(Paint::choose(true, None), Paint::Colour);
        assert_eq!(Paint::choose(true, Some(OsStr::new(""))), Paint::Colour);
        assert_eq!(Paint::choose(true, Some(OsStr::new("1"))), Paint::Plain);
        assert_eq!(Paint::choose(false, None), Paint::Plain);
    }

    #[test]
    fn plain_text_has_no_control_sequences() {
        assert_eq!(Paint::Plain.tone(Tone::Bad, "x"), "x");
        assert_eq!(Paint::Colour.tone(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
