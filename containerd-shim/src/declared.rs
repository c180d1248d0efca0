//! What is declared: the store's keys and the command line's words, merged; and what was refused of it, and why.

use std::collections::BTreeMap;

use hull_oci_core::api::DeclaredBy;
use hull_oci_core::declaration::{Declaration, PREFIX, check_name, parse_run};

/// All declarations by name. The command line goes before the store.
#[derive(Default)]
pub(crate) struct Declared {
    command_line: BTreeMap<String, Declaration>,
    store: BTreeMap<String, Declaration>,
    /// Of containers that an earlier launcher started; they hold until the store has said what is declared.
    adopted: BTreeMap<String, Declaration>,
    refused: BTreeMap<String, String>,
    merged: BTreeMap<String, Declaration>,
}

impl Declared {
    /// Reads `HULL_RUN`; what cannot be used of it is returned as text.
    pub(crate) fn from_run(text: &str) -> (Declared, Vec<String>) {
        let mut declared = Declared::default();
        let mut refused = Vec::new();
        for word in parse_run(text) {
            match word {
                Ok((name, declaration)) => {
                    declared.command_line.insert(name, declaration);
                }
                Err(error) => refused.push(format!("hull.run: {error}")),
            }
        }
        declared.merge();
        (declared, refused)
    }

    /// Counts a container that already runs as declared, until the store is read.
    pub(crate) fn adopt(&mut self, name: &str, declaration: Declaration) {
        self.adopted.insert(name.to_owned(), declaration);
        self.merge();
    }

    /// Replaces everything that came from the store.
    pub(crate) fn replace(&mut self, entries: Vec<(Vec<u8>, Vec<u8>)>) {
        self.adopted.clear();
        self.store.clear();
        self.refused.clear();
        for (key, value) in entries {
            self.read(&key, &value);
        }
        self.merge();
    }

    /// A key was written.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.read(key, value);
        self.merge();
    }

    /// A key was deleted.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        let name = name_of(key);
        self.store.remove(&name);
        self.refused.remove(&name);
        self.merge();
    }

    /// A declaration that is refused takes the place of the one before: what runs is stopped, and why is shown.
    fn read(&mut self, key: &[u8], value: &[u8]) {
        let name = name_of(key);
        self.store.remove(&name);
        self.refused.remove(&name);
        match check_name(&name).and_then(|()| Declaration::parse(value)) {
            Ok(declaration) => {
                self.store.insert(name, declaration);
            }
            Err(refused) => {
                eprintln!("container {name}: refused: {refused}; put it right under {PREFIX}{name}");
                self.refused.insert(name, refused.to_string());
            }
        }
    }

    fn merge(&mut self) {
        self.merged = self.adopted.clone();
        self.merged.extend(self.store.clone());
        self.merged.extend(self.command_line.iter().map(|(name, declaration)| (name.clone(), declaration.clone())));
    }

    /// What should run.
    pub(crate) fn wanted(&self) -> &BTreeMap<String, Declaration> {
        &self.merged
    }

    /// What cannot run as it is declared, and why.
    pub(crate) fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    /// Who declared it.
    pub(crate) fn by(&self, name: &str) -> DeclaredBy {
        if self.command_line.contains_key(name) { DeclaredBy::CommandLine } else { DeclaredBy::Store }
    }
}

fn name_of(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    key.strip_prefix(PREFIX).unwrap_or(&key).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_store() {
        let (mut declared, refused) = Declared::from_run("web=hello,/bad");
        assert_eq!(refused.len(), 1);
        declared.put(b"/hull/containers/web", br#"{"image":"other"}"#);
        assert_eq!(declared.wanted()["web"].image, "hello");
        assert_eq!(declared.by("web"), DeclaredBy::CommandLine);
    }

    #[test]
    fn an_adopted_container_counts_as_declared_until_the_store_is_read() {
        let (mut declared, _) = Declared::from_run("");
        declared.adopt("web", Declaration::of_image("hello"));
        assert_eq!(declared.wanted().len(), 1);
        declared.replace(Vec::new());
        assert!(declared.wanted().is_empty());
    }

    #[test]
    fn a_declaration_that_went_wrong_takes_the_old_one_away_and_says_why() {
        let (mut declared, _) = Declared::from_run("");
        declared.put(b"/hull/containers/web", br#"{"image":"hello"}"#);
        declared.put(b"/hull/containers/web", br#"{"image":"#);
        assert!(declared.wanted().is_empty());
        assert!(declared.refused()["web"].contains("declaration"));
        declared.delete(b"/hull/containers/web");
        assert!(declared.refused().is_empty());
    }
}
