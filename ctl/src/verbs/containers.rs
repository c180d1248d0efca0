//! Verbs on containers and images.

use crate::args::Run;
use crate::failure::Failure;
use crate::format::{Cell, cell, size, table, toned};
use crate::launcher;
use crate::limits::PIECE;
use crate::place::Place;
use crate::progress::Progress;
use crate::screen::{Screen, Tone};
use crate::status::record;
use crate::store::{Store, Which};
use hull_oci_core::api::{self, Origin, Reply, Request};
use hull_oci_core::declaration::{Declaration, PREFIX, check_name};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Declares a container.
pub(crate) fn run(place: &Place, run: &Run, screen: &mut Screen) -> Result<(), Failure> {
    let key = key("declare", &run.name)?;
    let text = serde_json::to_vec(&declaration(run)?).map_err(|error| {
        Failure::new("declare", format!("container {}", run.name), error, "give numbers that JSON can hold")
    })?;
    let revision = Store::open(place)?.put(&key, &text)?;
    screen.show(&json!({ "declared": run.name, "revision": revision }), |_| {
        format!("{}: declared; `hullctl ps` shows how it does\n", run.name)
    })
}

/// Deletes a declaration.
pub(crate) fn stop(place: &Place, name: &str, screen: &mut Screen) -> Result<(), Failure> {
    let key = key("stop", name)?;
    if Store::open(place)?.delete(Which::Key(&key))? == 0 {
        return Err(Failure::new(
            "stop",
            format!("container {name}"),
            "the store has no declaration of that name",
            "`hullctl ps` lists the containers; one from hull.run= is stopped by taking it off the command line",
        ));
    }
    screen.show(&json!({ "stopped": name }), |_| format!("{name}: declaration deleted, it stops\n"))
}

/// Lists containers: with their state on a node, as declared from outside.
pub(crate) fn list(place: &Place, screen: &mut Screen) -> Result<(), Failure> {
    match place {
        Place::Node => {
            let list = launcher::list()?;
            let mut rows = vec![heading(&["NAME", "IMAGE", "STATE", ""])];
            rows.extend(launcher::rows(&list, launcher::now_ms()));
            screen.show(&launcher::value(&list), |screen| table(&rows, 0, screen.columns, screen.paint))
        }
        Place::Outside(_) => declared(place, screen),
    }
}

/// From outside: what the nodes wrote about their containers, and the declarations that none of them mentions.
fn declared(place: &Place, screen: &mut Screen) -> Result<(), Failure> {
    let store = Store::open(place)?;
    let nodes = crate::status::nodes(&store)?;
    let (pairs, _) = store.get(Which::Prefix(PREFIX))?;
    let mut list: Vec<Value> = Vec::new();
    for (node, record) in &nodes {
        for container in record::containers(record) {
            let mut container = container.clone();
            container["node"] = node.as_str().into();
            list.push(container);
        }
    }
    for pair in &pairs {
        let name = String::from_utf8_lossy(&pair.key).trim_start_matches(PREFIX).to_owned();
        if !list.iter().any(|container| container["name"] == name) {
            let declaration: Value = serde_json::from_slice(&pair.value).unwrap_or_default();
            list.push(json!({ "name": name, "image": declaration["image"], "state": "declared", "node": null }));
        }
    }
    screen.show(&list.clone().into(), |screen| {
        let mut rows = vec![heading(&["NAME", "IMAGE", "NODE", "STATE", ""])];
        rows.extend(list.iter().map(|container| {
            let text = |name: &str| cell(container[name].as_str().unwrap_or("-"));
            vec![
                text("name"),
                text("image"),
                text("node"),
                record::state(container),
                cell(record::facts(container, "")),
            ]
        }));
        table(&rows, 0, screen.columns, screen.paint)
    })
}

/// Sends an archive to the launcher.
pub(crate) fn load(place: &Place, archive: &Path, name: Option<&str>, screen: &mut Screen) -> Result<(), Failure> {
    let object = format!("image archive {}", archive.display());
    place.need_node("load", &object)?;
    let unreadable = |error| Failure::new("load", object.as_str(), error, "name a readable archive on the node");
    let mut file = File::open(archive).map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(Failure::new("load", object, "it is no file", "pack the image: `docker save` or `skopeo copy` do"));
    }
    let bytes = facts.len();
    let mut answer = launcher::ask(&Request::ImageLoad { name: name.unwrap_or_default().into(), bytes })?;
    let mut progress = Progress::new(screen.columns);
    let mut loaded = None;
    while let Some(reply) = answer.next()? {
        match reply {
            Reply::Ready => send(&mut answer, &mut file, bytes, &object, &mut progress)?,
            Reply::Progress { done, total } => progress.report("loading", done, total),
            Reply::Image(image) => loaded = Some(image),
            _ => {}
        }
    }
    drop(progress);
    let loaded = loaded.ok_or_else(|| {
        Failure::new("load", object.as_str(), "the launcher named no image", "see hullctl logs launcher")
    })?;
    screen.show(&image_value(&loaded), |_| format!("{}: loaded, {}\n", loaded.name, size(loaded.bytes)))
}

fn send(
    answer: &mut launcher::Answer,
    file: &mut File,
    bytes: u64,
    object: &str,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let (mut done, mut piece) = (0, vec![0; PIECE]);
    while done < bytes {
        let room = usize::try_from(bytes - done).map_or(PIECE, |left| left.min(PIECE));
        let count = file
            .read(&mut piece[..room])
            .map_err(|error| Failure::new("read", object, error, "copy the archive again"))?;
        if count == 0 {
            return Err(Failure::new("read", object, "it became shorter meanwhile", "load it when it is complete"));
        }
        if let Err(broken) = answer.send(&piece[..count]) {
            // Whoever stops listening has said why.
            while answer.next()?.is_some() {}
            return Err(broken);
        }
        done += count as u64;
        progress.report("sending", done, bytes);
    }
    Ok(())
}

/// Lists images.
pub(crate) fn images(place: &Place, screen: &mut Screen) -> Result<(), Failure> {
    place.need_node("list", "images")?;
    let mut list = Vec::new();
    launcher::ask(&Request::ImageList)?.each(|reply| {
        if let Reply::Image(image) = reply {
            list.push(image);
        }
        Ok(())
    })?;
    screen.show(&list.iter().map(image_value).collect(), |screen| {
        let mut rows = vec![heading(&["NAME", "SIZE", "FROM", "DIGEST"])];
        rows.extend(list.iter().map(|image| {
            let origin = match image.origin {
                Origin::Root => "root image",
                Origin::Loaded => "loaded",
            };
            vec![cell(&image.name), cell(size(image.bytes)), cell(origin), cell(&image.digest)]
        }));
        table(&rows, 0, screen.columns, screen.paint)
    })
}

fn image_value(image: &api::Image) -> Value {
    json!({ "name": image.name, "digest": image.digest, "size_bytes": image.bytes, "origin": image.origin })
}

fn heading(titles: &[&str]) -> Vec<Cell> {
    titles.iter().map(|title| toned(Tone::Faint, *title)).collect()
}

/// The key of a container's declaration.
///
/// # Errors
/// The name cannot be a file's and a host's name, which the node makes of it.
fn key(operation: &str, name: &str) -> Result<String, Failure> {
    match check_name(name) {
        Ok(()) => Ok(format!("{PREFIX}{name}")),
        Err(refused) => Err(Failure::new(operation, "the container", refused, "choose another name")),
    }
}

/// The declaration of a container, checked as the node will check it.
fn declaration(run: &Run) -> Result<Declaration, Failure> {
    let declaration = Declaration {
        command: run.command.clone(),
        env: run.env.iter().cloned().collect(),
        volumes: run.volume.iter().cloned().collect(),
        tmpfs: run.tmpfs.iter().cloned().collect(),
        user: run.user.clone(),
        directory: run.directory.clone(),
        capabilities: run.cap_add.clone(),
        drop: run.cap_drop.clone(),
        memory: run.memory.clone(),
        cpu: run.cpu,
        pids: run.pids.map(i64::from),
        restart: run.restart.into(),
        read_only: !run.writable,
        stop_seconds: run.stop_seconds,
        ..Declaration::of_image(&run.image)
    };
    match declaration.check() {
        Ok(()) => Ok(declaration),
        Err(refused) => {
            Err(Failure::new("declare", format!("container {}", run.name), refused, "see hullctl run --help"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser;

    fn declared(line: &str) -> Result<Declaration, Failure> {
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("a correct line");
        let Verb::Run(run) = cli.verb else { panic!("not run") };
        declaration(&run)
    }

    #[test]
    fn a_bare_run_declares_only_the_image() {
        let declaration = declared("hullctl run web hello").expect("a declaration");
        assert_eq!(serde_json::to_value(declaration).expect("JSON"), json!({ "image": "hello" }));
    }

    #[test]
    fn every_flag_reaches_the_declaration_and_the_node_reads_it() {
        let line = "hullctl run web hello --memory 64M --cpu 0.5 --pids 9 -e A=b --restart never --writable \
                    --stop-seconds 3 -v db:/data -v conf:/etc/app:ro --tmpfs /tmp:8M -u 7:8 -w /srv --cap-add SYS_PTRACE \
                    --cap-drop ALL -- /x y";
        let declaration = declared(line).expect("a declaration");
        let value = serde_json::to_value(&declaration).expect("JSON");
        assert_eq!(
            value,
            json!({
                "image": "hello", "command": ["/x", "y"], "env": { "A": "b" }, "memory": "64M",
                "cpu": 0.5, "pids": 9, "read_only": false, "restart": "never", "stop_seconds": 3,
                "volumes": { "/data": "db", "/etc/app": "conf:ro" }, "tmpfs": { "/tmp": "8M" }, "user": "7:8",
                "directory": "/srv", "capabilities": ["SYS_PTRACE"], "drop": ["ALL"],
            })
        );
        assert_eq!(Declaration::parse(value.to_string().as_bytes()), Ok(declaration));
    }

    #[test]
    fn what_the_node_would_refuse_is_refused_here_by_field() {
        let failure = declared("hullctl run web hello --memory 64Q").expect_err("no such unit");
        assert!(failure.cause.contains("memory") && failure.cause.contains("64Q"), "{failure}");
    }

    #[test]
    fn a_name_that_leaves_its_directory_is_refused() {
        for name in ["../kv", "a/b", "", ".", "-x"] {
            assert!(key("stop", name).is_err(), "{name:?}");
        }
        assert_eq!(key("stop", "web-1").expect("a name"), "/hull/containers/web-1");
    }
}
