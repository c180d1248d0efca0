//! Errors, in the shape of runc's: to standard error, and to the log that the caller reads.

use std::fs::OpenOptions;
use std::io::Write;

use hull_oci_core::oci::process::Missed;
use hull_runtime::clock;

use crate::options::{Flag, Format, Global};

/// Writes a line to standard output. A reader that has gone, as `head` does, needs no more of it.
macro_rules! say {
    ($($arguments:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($arguments)*)));
    }};
}

/// Writes to standard output without an end of the line.
macro_rules! say_as_is {
    ($($arguments:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!($($arguments)*));
    }};
}

pub(crate) use {say, say_as_is};

/// Says what went wrong.
pub(crate) fn error(global: &Global, text: &str) {
    tell(global, "error", text);
}

/// Says what is not as it should be, and goes on.
pub(crate) fn warning(global: &Global, text: &str) {
    tell(global, "warning", text);
}

/// Says which capabilities are not given.
pub(crate) fn missed(global: &Global, missed: &[Missed]) {
    missed.iter().for_each(|missed| warning(global, &missed.to_string()));
}

/// Says what is done, where that is asked for.
pub(crate) fn debug(global: &Global, text: &str) {
    if global.detail == Flag::Set {
        tell(global, "debug", text);
    }
}

fn tell(global: &Global, level: &str, text: &str) {
    let line = line(global.format, level, text, &clock::now());
    let Some(path) = &global.log else {
        eprintln!("{line}");
        return;
    };
    // Only why it fails: what is written here before the program is executed is among the program's own output (go-runc gives both
    // the same streams).
    if level == "error" {
        eprintln!("hull-oci: {text}");
    }
    let opened = OpenOptions::new().append(true).create(true).open(path);
    // A log that cannot be written to changes nothing about what has happened.
    let _ = opened.and_then(|mut file| writeln!(file, "{line}"));
}

fn line(format: Format, level: &str, text: &str, now: &str) -> String {
    match format {
        Format::Json => serde_json::json!({"level": level, "msg": text, "time": now}).to_string(),
        Format::Text => format!("time={now:?} level={level} msg={text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_is_in_it() {
        assert_eq!(line(Format::Text, "error", "a \"b\"\nc", "T"), r#"time="T" level=error msg="a \"b\"\nc""#);
        assert_eq!(line(Format::Json, "error", "a\nb", "T"), r#"{"level":"error","msg":"a\nb","time":"T"}"#);
    }
}
