//! Verbs on keys of the store: a convenience, `etcdctl` can do more.

use crate::args::{Keys, Kv, Output};
use crate::failure::Failure;
use crate::place::Place;
use crate::screen::Screen;
use crate::store::{Store, Which};
use hull_kv_proto::mvccpb::{Event, KeyValue, event::EventType};
use serde_json::{Value, json};

/// Performs one of them.
pub(crate) fn perform(place: &Place, verb: &Kv, screen: &mut Screen) -> Result<(), Failure> {
    let store = Store::open(place)?;
    match verb {
        Kv::Get(keys) => get(&store, keys, screen),
        Kv::Put { key, value } => {
            let revision = store.put(key, value.as_bytes())?;
            screen.show(&json!({ "key": key, "revision": revision }), |_| format!("revision {revision}\n"))
        }
        Kv::Del(keys) => {
            let count = store.delete(which(keys))?;
            screen.show(&json!({ "deleted": count }), |_| format!("{count} deleted\n"))
        }
        Kv::Watch(keys) => store.watch(which(keys), |event| change(&event, screen)),
    }
}

fn which(keys: &Keys) -> Which<'_> {
    if keys.prefix { Which::Prefix(&keys.key) } else { Which::Key(&keys.key) }
}

fn get(store: &Store, keys: &Keys, screen: &mut Screen) -> Result<(), Failure> {
    let (pairs, revision) = store.get(which(keys))?;
    if pairs.is_empty() && !keys.prefix {
        return Err(Failure::new(
            "read",
            format!("key {}", keys.key),
            "there is no such key",
            "`hullctl kv get --prefix /` lists what there is",
        ));
    }
    if screen.output == Output::Text && !keys.prefix {
        // One value is printed as it is, so that it can be piped; a terminal gets its line feed.
        screen.bytes(&pairs[0].value)?;
        return screen.print("\n");
    }
    let value = json!({ "revision": revision, "keys": pairs.iter().map(pair).collect::<Vec<_>>() });
    screen.show(&value, |_| {
        pairs
            .iter()
            .map(|pair| format!("{} = {}\n", String::from_utf8_lossy(&pair.key), String::from_utf8_lossy(&pair.value)))
            .collect()
    })
}

fn change(event: &Event, screen: &mut Screen) -> Result<(), Failure> {
    let pair_of = event.kv.clone().unwrap_or_default();
    let deleted = event.r#type == EventType::Delete as i32;
    match screen.output {
        Output::Json => {
            let mut value = pair(&pair_of);
            value["event"] = if deleted { "delete" } else { "put" }.into();
            // One line an event: programs read a watch line by line.
            screen.print(&format!("{value}\n"))
        }
        Output::Text => {
            let key = String::from_utf8_lossy(&pair_of.key);
            let value = String::from_utf8_lossy(&pair_of.value);
            screen.print(&if deleted { format!("{key} deleted\n") } else { format!("{key} = {value}\n") })
        }
    }
}

fn pair(pair: &KeyValue) -> Value {
    json!({
        "key": String::from_utf8_lossy(&pair.key), "value": String::from_utf8_lossy(&pair.value),
        "create_revision": pair.create_revision, "mod_revision": pair.mod_revision,
        "version": pair.version, "lease": pair.lease,
    })
}
