//! The program of a container: its words, environment, user and capabilities, out of image and declaration.

use super::{Refused, STORE_SOCKET};
use crate::declaration::Declaration;
use crate::image::Defaults;
use crate::oci::config::{Capabilities, Process, Rlimit, Spec, User};

/// Open files: what most servers ask for, instead of the kernel's 1,024 of 1975.
const OPEN_FILES: u64 = 65_536;

/// Search path of an image that sets none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Signal that ends a container whose image names none.
const SIGTERM: i32 = 15;

/// The signal that asks the image's program to end; SIGTERM unless the image says otherwise.
///
/// # Errors
/// The image names no signal.
pub fn stop_signal(image: &Defaults) -> Result<i32, Refused> {
    const NAMES: [(&str, i32); 10] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", SIGTERM),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    /// Real-time signals as glibc counts them (signal(7)): images of systemd say `SIGRTMIN+3`.
    const RT_MIN: i32 = 34;
    const RT_MAX: i32 = 64;
    let text = image.stop_signal.as_str();
    if text.is_empty() {
        return Ok(SIGTERM);
    }
    let plain = text.strip_prefix("SIG").unwrap_or(text);
    let number = if let Some(offset) = plain.strip_prefix("RTMIN+") {
        offset.parse::<i32>().ok().and_then(|offset| RT_MIN.checked_add(offset))
    } else {
        NAMES.iter().find(|(name, _)| *name == plain).map(|(_, number)| *number).or_else(|| plain.parse().ok())
    };
    number.filter(|number| (1..=RT_MAX).contains(number)).ok_or_else(|| Refused::StopSignal { text: text.to_owned() })
}

/// Whether the user is given by a word, for [`resolve_user`].
pub fn names_user(spec: &Spec) -> bool {
    spec.process.as_ref().is_some_and(|process| process.user.username.is_some())
}

/// Looks a user given by name up in the image's `/etc/passwd` and `/etc/group`. Every group that lists the user is added.
///
/// # Errors
/// It is not there.
pub fn resolve_user(spec: &mut Spec, passwd: &str, group: &str) -> Result<(), Refused> {
    let Some(process) = &mut spec.process else { return Ok(()) };
    let Some(text) = process.user.username.clone() else { return Ok(()) };
    let unknown = || Refused::User { text: text.clone() };
    let (user, wanted_group) = text.split_once(':').map_or((text.as_str(), None), |(user, group)| (user, Some(group)));
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<String>>();
    let entry = passwd.lines().map(fields).find(|entry| entry.len() >= 4 && (entry[0] == user || entry[2] == user));
    let number = |text: &str| text.parse::<u32>().ok();
    let (uid, own_group, name) = match &entry {
        Some(entry) => (number(&entry[2]).ok_or_else(unknown)?, number(&entry[3]).unwrap_or(0), entry[0].clone()),
        None => (number(user).ok_or_else(unknown)?, 0, String::new()),
    };
    let groups: Vec<_> = group.lines().map(fields).filter(|entry| entry.len() >= 3).collect();
    let gid = match wanted_group {
        None => own_group,
        Some(wanted) => {
            let found = groups.iter().find(|entry| entry[0] == wanted).and_then(|entry| number(&entry[2]));
            found.or_else(|| number(wanted)).ok_or_else(unknown)?
        }
    };
    let lists = |entry: &&Vec<String>| {
        entry.get(3).is_some_and(|users| users.split(',').any(|one| !name.is_empty() && one == name))
    };
    let more: Vec<u32> =
        groups.iter().filter(lists).filter_map(|entry| number(&entry[2])).filter(|id| *id != gid).collect();
    process.user = User { uid, gid, additional_gids: more, ..User::default() };
    Ok(())
}

pub(super) fn process(
    name: &str,
    image: &Defaults,
    declaration: &Declaration,
    store: &str,
    capabilities: Vec<String>,
) -> Result<Process, Refused> {
    let args = arguments(image, declaration);
    if args.first().is_none_or(String::is_empty) {
        return Err(Refused::NoProgram);
    }
    let wanted = declaration.directory.as_ref().unwrap_or(&image.working_dir);
    let cwd = if wanted.is_empty() { "/" } else { wanted };
    if !cwd.starts_with('/') {
        return Err(Refused::WorkingDirectory { path: cwd.to_owned() });
    }
    Ok(Process {
        user: user(declaration.user.as_ref().unwrap_or(&image.user)),
        args,
        env: environment(name, image, declaration, store),
        cwd: cwd.to_owned(),
        capabilities: Some(Capabilities {
            bounding: capabilities.clone(),
            effective: capabilities.clone(),
            permitted: capabilities,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: OPEN_FILES, hard: OPEN_FILES }],
        no_new_privileges: true,
        // A container is no more precious than any other process; the launcher itself is.
        oom_score_adj: Some(0),
        ..Process::default()
    })
}

/// The declaration's command replaces both of the image's lists, its arguments only the second.
fn arguments(image: &Defaults, declaration: &Declaration) -> Vec<String> {
    if !declaration.command.is_empty() {
        return [declaration.command.as_slice(), &declaration.args].concat();
    }
    let command = if declaration.args.is_empty() { &image.command } else { &declaration.args };
    [image.entrypoint.as_slice(), command].concat()
}

/// Hull's variables, then the image's, then the declaration's; the later one of a name holds.
fn environment(name: &str, image: &Defaults, declaration: &Declaration, store: &str) -> Vec<String> {
    let own = [
        PATH.to_owned(),
        format!("HOSTNAME={name}"),
        format!("ETCD_ENDPOINTS={store}"),
        format!("HULL_KV={STORE_SOCKET}"),
    ];
    let declared = declaration.env.iter().map(|(key, value)| format!("{key}={value}"));
    let mut variables: Vec<String> = Vec::new();
    for variable in own.into_iter().chain(image.environment.iter().cloned()).chain(declared) {
        let Some((key, _)) = variable.split_once('=') else { continue };
        let same = |known: &String| known.split_once('=').is_some_and(|(other, _)| other == key);
        match variables.iter_mut().find(|known| same(known)) {
            Some(known) => *known = variable,
            None => variables.push(variable),
        }
    }
    variables
}

/// Numbers are ready; a name is kept as it is for [`resolve_user`].
fn user(text: &str) -> User {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    match (user.parse::<u32>(), group.map(str::parse::<u32>)) {
        _ if text.is_empty() => User::default(),
        (Ok(uid), Some(Ok(gid))) => User { uid, gid, ..User::default() },
        // A number without a group takes the group of its entry, if it has one.
        _ => User { username: Some(text.to_owned()), ..User::default() },
    }
}
