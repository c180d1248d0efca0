//! One line that shows how far something long is; silent for what is quick.

use crate::format::{clip, size};
use crate::limits::{PROGRESS_AFTER, PROGRESS_EVERY};
use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// Progress on standard error: redrawn on a terminal, a line a step elsewhere.
pub(crate) struct Progress {
    started: Instant,
    drawn: Option<Instant>,
    /// The step shown last.
    step: String,
    terminal: bool,
    columns: usize,
}

impl Progress {
    pub(crate) fn new(columns: usize) -> Self {
        Self { started: Instant::now(), drawn: None, step: String::new(), terminal: stderr().is_terminal(), columns }
    }

    /// Tells that `done` of `total` (0 when unknown) of `step` is done.
    pub(crate) fn report(&mut self, step: &str, done: u64, total: u64) {
        let now = Instant::now();
        if now.duration_since(self.started) < PROGRESS_AFTER {
            return;
        }
        if self.terminal {
            if self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= PROGRESS_EVERY) {
                self.drawn = Some(now);
                let _ = write!(stderr(), "\r\x1b[K{}", line(step, done, total, self.columns));
            }
        } else if self.step != step {
            let _ = writeln!(stderr(), "{step}");
        }
        step.clone_into(&mut self.step);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.drawn.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// `writing hull-b  [=========>          ]  43 %  12.0 MiB of 27.9 MiB`
fn line(step: &str, done: u64, total: u64, columns: usize) -> String {
    const BAR: u64 = 20;
    let text = if total == 0 && done == 0 {
        step.to_owned()
    } else if total == 0 {
        format!("{step}  {}", size(done))
    } else {
        let done = done.min(total);
        let filled = usize::try_from(done.saturating_mul(BAR) / total).unwrap_or_default();
        let head = if filled < BAR as usize { ">" } else { "" };
        let bar = format!("{}{head}", "=".repeat(filled));
        let percent = done.saturating_mul(100) / total;
        format!("{step}  [{bar:<20}] {percent:>3} %  {} of {}", size(done), size(total))
    };
    clip(&text, columns.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_total_shows_bar_and_percent() {
        assert_eq!(line("writing hull-b", 50, 100, 80), "writing hull-b  [==========>         ]  50 %  50 B of 100 B");
        assert!(line("writing hull-b", 100, 100, 80).contains("[====================] 100 %"));
    }

    #[test]
    fn an_unknown_total_shows_what_is_done() {
        assert_eq!(line("loading", 2048, 0, 80), "loading  2.0 KiB");
        assert_eq!(line("release 0.2.0 is staged in slot b", 0, 0, 80), "release 0.2.0 is staged in slot b");
    }

    #[test]
    fn more_than_the_total_is_not_more_than_all() {
        assert!(line("x", 300, 100, 80).contains("100 %"));
    }
}
