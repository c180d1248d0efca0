//! The command line of hullctl: every verb with its help and an example.

use clap::{Args, Parser, Subcommand, ValueEnum};
use hull_oci_core::declaration::{self, GRACE_SECONDS};
use std::path::PathBuf;

/// Talks to a Hull node and its store.
///
/// On a node it uses the node's own sockets; elsewhere it reaches the store at --endpoint, and verbs that need the
/// node itself say so.
#[derive(Debug, Parser)]
#[command(
    name = "hullctl",
    version,
    max_term_width = 100,
    after_help = "Examples:
  hullctl status
  hullctl --endpoint 127.0.0.1:2379 kv put /config/hello/greeting hi
  hullctl logs -f hello"
)]
pub(crate) struct Cli {
    /// Store to talk to from outside a node [default there: 127.0.0.1:2379]
    #[arg(long, global = true, env = "HULL_ENDPOINT", value_name = "HOST:PORT", hide_env_values = true)]
    pub(crate) endpoint: Option<String>,

    /// How to print what is found
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub(crate) output: Output,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show the node: version, slot, services, containers, store, and what is wrong
    #[command(after_help = "Example:\n  hullctl status -o json")]
    Status,
    /// Show what a service or container wrote
    #[command(after_help = "Examples:\n  hullctl logs kv\n  hullctl logs -f hello\n  hullctl logs init")]
    Logs(Logs),
    /// List containers
    #[command(after_help = "Example:\n  hullctl ps")]
    Ps,
    /// Declare a container in the store; the node starts it and keeps it running
    #[command(
        after_help = "Examples:\n  hullctl run web hello\n  hullctl run web hello --memory 64M --env MODE=fast -- /hello --port 80"
    )]
    Run(Box<Run>),
    /// Delete a container's declaration; the node stops it
    #[command(after_help = "Example:\n  hullctl stop web")]
    Stop {
        /// Container
        name: String,
    },
    /// Load images onto the node and list them
    #[command(subcommand)]
    Image(Image),
    /// Stage a release in the unused slot and swap to it
    #[command(subcommand)]
    Update(Update),
    /// Act on one of the node's services
    #[command(subcommand)]
    Service(Service),
    /// Read and write keys of the store
    #[command(subcommand)]
    Kv(Kv),
    /// Stop everything in order and start again through the firmware
    #[command(after_help = "Example:\n  hullctl reboot")]
    Reboot,
    /// Stop everything in order and switch the machine off
    #[command(after_help = "Example:\n  hullctl poweroff")]
    Poweroff,
    /// Read verbs line by line: the operator's console (hull.console=hullctl)
    #[command(after_help = "Example, on the kernel command line:\n  hull.console=hullctl")]
    Console,
}

#[derive(Debug, Args, PartialEq, Eq)]
pub(crate) struct Logs {
    /// Go on until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Service or container; `init` is PID 1 itself, `update` stage and swap
    pub(crate) name: String,
}

#[derive(Debug, Args, PartialEq)]
pub(crate) struct Run {
    /// Name of the container
    pub(crate) name: String,
    /// Image it runs; `hullctl image ls` lists them
    pub(crate) image: String,
    /// Memory limit, e.g. 64M [default: none]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Processor limit in processors, e.g. 0.5 [default: none]
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<f64>,
    /// Limit on processes and threads [default: none]
    #[arg(long, value_name = "N")]
    pub(crate) pids: Option<u32>,
    /// Set a variable in its environment; repeatable
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Mount a volume, which outlives the container; repeatable
    #[arg(long, short, value_name = "NAME:/PATH[:ro]", value_parser = volume)]
    pub(crate) volume: Vec<(String, String)>,
    /// Mount memory of this size; repeatable
    #[arg(long, value_name = "/PATH:SIZE", value_parser = memory)]
    pub(crate) tmpfs: Vec<(String, String)>,
    /// User in place of the image's own: uid[:gid], or names
    #[arg(long, short)]
    pub(crate) user: Option<String>,
    /// Working directory in place of the image's own
    #[arg(long, short = 'w', value_name = "PATH")]
    pub(crate) directory: Option<String>,
    /// Give it a capability, e.g. SYS_PTRACE; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away, or ALL; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) cap_drop: Vec<String>,
    /// When to start it again
    #[arg(long, value_enum, default_value_t = Restart::Always, value_name = "WHEN")]
    pub(crate) restart: Restart,
    /// Let it write to its root file system; what it writes is kept until it is no longer declared
    #[arg(long)]
    pub(crate) writable: bool,
    /// Seconds between the request to stop and the kill
    #[arg(long, value_name = "N", default_value_t = GRACE_SECONDS)]
    pub(crate) stop_seconds: u32,
    /// Command in place of the image's own
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// When a container starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Restart {
    /// Whenever it ends
    Always,
    /// When it fails
    OnFailure,
    /// Not at all
    Never,
}

#[derive(Debug, Subcommand, PartialEq, Eq)]
pub(crate) enum Image {
    /// Load an OCI or docker archive
    #[command(after_help = "Example:\n  hullctl image load /run/host/web.tar --name web")]
    Load {
        /// The archive, on the node
        archive: PathBuf,
        /// Name that declarations use [default: the archive's own]
        #[arg(long)]
        name: Option<String>,
    },
    /// List the images on the node
    #[command(after_help = "Example:\n  hullctl image ls")]
    Ls,
}

#[derive(Debug, Subcommand, PartialEq, Eq)]
pub(crate) enum Update {
    /// Verify a release and write it to the slot that is not in use
    #[command(after_help = "Example:\n  hullctl update stage /run/host/release-0.2.0")]
    Stage {
        /// Directory with targets.json, hull.efi and root.img, on the node
        release: PathBuf,
    },
    /// Stop everything in order and jump into the staged slot, on trial
    ///
    /// A node that is not healthy is refused, by the name of what does not run: the trial would fail by it.
    #[command(after_help = "Example:\n  hullctl update swap")]
    Swap {
        /// Swap although something does not run now
        #[arg(long)]
        force: bool,
    },
    /// Show both slots
    #[command(after_help = "Example:\n  hullctl update status")]
    Status,
}

#[derive(Debug, Subcommand, PartialEq, Eq)]
pub(crate) enum Service {
    /// Stop a service and start it again at once
    #[command(after_help = "Example:\n  hullctl service restart launcher")]
    Restart {
        /// Service
        name: String,
    },
}

#[derive(Debug, Subcommand, PartialEq, Eq)]
pub(crate) enum Kv {
    /// Print the value of a key
    #[command(after_help = "Examples:\n  hullctl kv get /config/hello/greeting\n  hullctl kv get --prefix /hull/")]
    Get(Keys),
    /// Set a key
    #[command(after_help = "Example:\n  hullctl kv put /config/hello/greeting hi")]
    Put {
        /// Key
        key: String,
        /// Value
        value: String,
    },
    /// Delete a key
    #[command(after_help = "Example:\n  hullctl kv del /config/hello/greeting")]
    Del(Keys),
    /// Print changes until interrupted
    #[command(after_help = "Example:\n  hullctl kv watch --prefix /config/")]
    Watch(Keys),
}

#[derive(Debug, Args, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Every key that starts so
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Key
    pub(crate) key: String,
}

impl From<Restart> for declaration::Restart {
    fn from(restart: Restart) -> Self {
        match restart {
            Restart::Always => Self::Always,
            Restart::OnFailure => Self::OnFailure,
            Restart::Never => Self::Never,
        }
    }
}

/// `NAME:/PATH` or `NAME:/PATH:ro`, as a declaration has it: the path, and the volume.
fn volume(text: &str) -> Result<(String, String), String> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name, path] => Ok(((*path).to_owned(), (*name).to_owned())),
        [name, path, access] => Ok(((*path).to_owned(), format!("{name}:{access}"))),
        _ => Err("expected NAME:/PATH or NAME:/PATH:ro".to_owned()),
    }
}

/// `/PATH:SIZE`
fn memory(text: &str) -> Result<(String, String), String> {
    let (path, size) = text.split_once(':').ok_or("expected /PATH:SIZE such as /cache:16M")?;
    Ok((path.to_owned(), size.to_owned()))
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_declaration_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example() {
        fn leaves(command: &clap::Command, path: &str) -> Vec<(String, Option<String>)> {
            let path = format!("{path} {}", command.get_name());
            if command.get_subcommands().next().is_none() {
                return vec![(path, command.get_after_help().map(ToString::to_string))];
            }
            command.get_subcommands().flat_map(|sub| leaves(sub, &path)).collect()
        }
        let leaves = leaves(&Cli::command(), "");
        assert!(leaves.len() >= 16, "{}", leaves.len());
        for (path, help) in leaves {
            let verb = path.trim_start().trim_start_matches("hullctl ").to_owned();
            let example = help.unwrap_or_default();
            assert!(example.contains(&verb.replace("console", "hull.console")), "{verb}: {example:?}");
        }
    }

    #[test]
    fn run_takes_flags_before_and_a_command_behind_the_dashes() {
        let cli = parse("hullctl run web hello --memory 64M --cpu 0.5 -e A=b=c --restart on-failure -- /bin/x -e")
            .expect("a correct line");
        let Verb::Run(run) = cli.verb else { panic!("not run") };
        assert_eq!((run.name.as_str(), run.image.as_str()), ("web", "hello"));
        assert_eq!((run.memory.as_deref(), run.cpu), (Some("64M"), Some(0.5)));
        assert_eq!(run.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(run.restart, Restart::OnFailure);
        assert_eq!(run.command, ["/bin/x", "-e"]);
    }

    #[test]
    fn a_variable_without_a_value_is_refused() {
        let error = parse("hullctl run web hello -e A").expect_err("no =");
        assert!(error.to_string().contains("KEY=VALUE"), "{error}");
    }

    #[test]
    fn endpoint_and_output_stand_before_or_behind_the_verb() {
        for line in ["hullctl --endpoint h:1 -o json status", "hullctl status --endpoint h:1 -o json"] {
            let cli = parse(line).expect("a correct line");
            assert_eq!((cli.endpoint.as_deref(), cli.output), (Some("h:1"), Output::Json), "{line}");
        }
    }

    #[test]
    fn a_misspelt_verb_is_answered_with_the_right_one() {
        let error = parse("hullctl stauts").expect_err("no such verb");
        assert!(error.to_string().contains("status"), "{error}");
    }

    #[test]
    fn follow_is_a_flag_of_logs() {
        let cli = parse("hullctl logs -f hello").expect("a correct line");
        let Verb::Logs(logs) = cli.verb else { panic!("not logs") };
        assert_eq!(logs, Logs { follow: true, name: "hello".into() });
    }
}
