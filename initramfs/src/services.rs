//! Compiles service files (TOML) into what PID 1 reads (postcard), and refuses what PID 1 would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use hull_init_core::services::{Service, Services};

/// Reads every `*.toml` of the folders, checks them and puts them into start order.
///
/// # Errors
/// Names the file, the field and what is wrong with it.
pub(crate) fn compile(folders: &[PathBuf]) -> Result<Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in folders {
        for path in files(folder)? {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let service: Service = toml::from_str(&text).with_context(|| format!("service file {}", path.display()))?;
            // A later folder replaces a service of an earlier one.
            found.insert(service.name.as_str().to_owned(), (path, service));
        }
    }
    let mut compiled = Services { services: heapless::Vec::new() };
    for (path, service) in in_start_order(found)? {
        let before: Vec<&str> = compiled.services.iter().map(|service| service.name.as_str()).collect();
        service.check(&before).map_err(|fault| anyhow!("service file {}: {fault}", path.display()))?;
        let most = compiled.services.capacity();
        compiled.services.push(service).map_err(|_| anyhow!("{}: more than {most} services", path.display()))?;
    }
    Ok(postcard::to_stdvec(&compiled)?)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read service files of {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml"));
    paths.sort();
    Ok(paths)
}

/// A service after those it waits for, else by name.
fn in_start_order(mut left: BTreeMap<String, (PathBuf, Service)>) -> Result<Vec<(PathBuf, Service)>> {
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let next = left
            .iter()
            .find(|(_, (_, service))| !service.after.iter().any(|name| left.contains_key(name.as_str())))
            .map(|(name, _)| name.clone());
        let Some(name) = next else {
            bail!("services {:?}: each waits for another of them (after = ...)", left.keys().collect::<Vec<_>>());
        };
        ordered.extend(left.remove(&name));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        hull_init_core::services::decode(bytes).map(|service| service.unwrap().name.as_str().to_owned()).collect()
    }

    const FIRST: &str = "name = \"first\"\nexec = [\"/first\"]\nuid = 0\ngid = 0\nafter = [\"second\"]\n";
    const SECOND: &str = "name = \"second\"\nexec = [\"/second\"]\nuid = 0\ngid = 0\n";

    #[test]
    fn a_service_comes_after_those_it_waits_for() {
        let folder = folder(&[("a.toml", FIRST), ("b.toml", SECOND)]);
        assert_eq!(names(&compile(&[folder.path().to_owned()]).unwrap()), ["second", "first"]);
    }

    #[test]
    fn a_circle_is_refused_by_name() {
        let circle = SECOND.to_owned() + "after = [\"first\"]\n";
        let folder = folder(&[("a.toml", FIRST), ("b.toml", &circle)]);
        let error = compile(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("first") && error.contains("second"), "{error}");
    }

    #[test]
    fn a_mistake_names_file_and_field() {
        let folder = folder(&[("a.toml", &SECOND.replace("uid = 0", "uid = \"root\""))]);
        let error = format!("{:#}", compile(&[folder.path().to_owned()]).unwrap_err());
        assert!(error.contains("a.toml") && error.contains("uid"), "{error}");
    }

    #[test]
    fn the_services_of_the_image_compile() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("services");
        assert_eq!(names(&compile(&[folder]).unwrap()), ["kv", "launcher"]);
    }
}
