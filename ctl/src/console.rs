//! The operator's console: verbs read line by line, without a shell.
//!
//! Each line runs in a child of its own, so that Ctrl-C ends a verb and never the console.

use crate::args::Cli;
use crate::failure::Failure;
use crate::limits::HISTORY;
use clap::CommandFactory;
use rustix::process::{Pid, Signal, kill_process};
use rustyline::completion::{Completer, Pair};
use rustyline::config::Config;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};
use signal_hook::consts::{SIGINT, SIGQUIT, SIGTSTP};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PROMPT: &str = "hull> ";

/// This program, whatever it is called and wherever it lies.
const MYSELF: &str = "/proc/self/exe";

/// Reads and performs lines until the input ends.
pub(crate) fn run() -> Result<(), Failure> {
    // A handler, not SIG_IGN: children start with the default action again.
    let interrupted = Arc::new(AtomicBool::new(false));
    for (signal, flag) in [
        (SIGINT, Arc::clone(&interrupted)),
        (SIGQUIT, Arc::new(AtomicBool::new(false))),
        (SIGTSTP, Arc::new(AtomicBool::new(false))),
    ] {
        signal_hook::flag::register(signal, flag)
            .map_err(|error| Failure::new("catch", "Ctrl-C", error, "report this"))?;
    }
    let config = Config::builder().auto_add_history(true).build();
    let history = MemHistory::with_config(&Config::builder().max_history_size(HISTORY).map_err(unusable)?.build());
    let mut editor: Editor<Verbs, MemHistory> = Editor::with_history(config, history).map_err(unusable)?;
    editor.set_helper(Some(Verbs));
    println!("Hull's console: `help` lists what you can type, Tab completes it.");
    loop {
        // While a line is read, Ctrl-C is a byte and no signal: from here on the flag is about the verb that follows.
        interrupted.store(false, Ordering::SeqCst);
        match editor.readline(PROMPT) {
            Ok(line) => match parse(&line) {
                Line::Empty => {}
                Line::Leave => return Ok(()),
                Line::Unclosed => eprintln!(
                    "error: read the line: a quote is not closed\n  close it, or type \\\" for a quote itself"
                ),
                Line::Verb(words) => perform(&words, &interrupted),
            },
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(unusable(error)),
        }
    }
}

fn unusable(error: ReadlineError) -> Failure {
    Failure::new("read from", "the console", error, "give hullctl console a terminal")
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Empty,
    /// `exit`
    Leave,
    /// A quote is not closed.
    Unclosed,
    /// Words for hullctl.
    Verb(Vec<String>),
}

fn parse(line: &str) -> Line {
    let Some(mut words) = shlex::split(line) else { return Line::Unclosed };
    if words.first().is_some_and(|word| word == "hullctl") {
        words.remove(0);
    }
    match words.first().map(String::as_str) {
        None => Line::Empty,
        Some("exit" | "quit" | "logout") => Line::Leave,
        Some("?") => Line::Verb(vec!["help".into()]),
        Some(_) => Line::Verb(words),
    }
}

/// Runs one verb to its end; how it ended is on the screen already.
fn perform(words: &[String], interrupted: &AtomicBool) {
    if words.first().is_some_and(|word| word == "console") {
        eprintln!("error: start console: this is the console\n  type a verb, or `help`");
        return;
    }
    let program = std::fs::read_link(MYSELF).unwrap_or_else(|_| Path::new(MYSELF).to_owned());
    let ended = Command::new(program).args(words).spawn().and_then(|mut verb| {
        // A Ctrl-C that came before the verb was a program of its own met this console's handler: it is passed on.
        if interrupted.load(Ordering::SeqCst) {
            let _ = kill_process(Pid::from_child(&verb), Signal::INT);
        }
        verb.wait()
    });
    if let Err(error) = ended {
        eprintln!("error: start {}: {error}\n  try again", words.join(" "));
    }
}

/// Completes verbs, their verbs, and flags.
struct Verbs;

impl Completer for Verbs {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, names) = candidates(&line[..at]);
        Ok((start, names.into_iter().map(|name| Pair { display: name.clone(), replacement: name + " " }).collect()))
    }
}

impl Hinter for Verbs {
    type Hint = String;
}
impl Highlighter for Verbs {}
impl Validator for Verbs {}
impl Helper for Verbs {}

/// Where the word under completion starts, and what it may become.
fn candidates(line: &str) -> (usize, Vec<String>) {
    let start = line.rfind(' ').map_or(0, |blank| blank + 1);
    let mut command = Cli::command();
    command.build();
    let mut here = &command;
    for word in line[..start].split_whitespace() {
        match here.find_subcommand(word) {
            Some(sub) => here = sub,
            None => break,
        }
    }
    let word = &line[start..];
    let verbs = here.get_subcommands().map(|sub| sub.get_name().to_owned());
    let flags = here.get_opts().filter_map(|flag| flag.get_long()).map(|long| format!("--{long}"));
    let names = verbs.chain(flags.filter(|_| word.starts_with('-')));
    (start, names.filter(|name| name.starts_with(word) && name != "console").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_need_no_prefix_and_may_have_it() {
        let words = |list: &[&str]| Line::Verb(list.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(parse("logs -f kv"), words(&["logs", "-f", "kv"]));
        assert_eq!(parse("hullctl kv put /a 'b c'"), words(&["kv", "put", "/a", "b c"]));
        assert_eq!(parse("?"), words(&["help"]));
    }

    #[test]
    fn an_empty_line_does_nothing_and_exit_leaves() {
        assert_eq!(parse("   "), Line::Empty);
        assert_eq!(parse("exit"), Line::Leave);
    }

    #[test]
    fn an_open_quote_is_told_and_not_run() {
        assert_eq!(parse("kv put /a 'b"), Line::Unclosed);
    }

    #[test]
    fn tab_completes_verbs_and_their_verbs() {
        assert_eq!(candidates("sta"), (0, vec!["status".to_owned()]));
        assert_eq!(candidates("update s"), (7, vec!["stage".into(), "swap".into(), "status".into()]));
        assert_eq!(candidates("run --mem"), (4, vec!["--memory".to_owned()]));
    }
}
