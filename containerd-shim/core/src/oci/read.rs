//! Reads JSON and names the field that is wrong.

use serde::de::DeserializeOwned;

use super::Refused;
use super::config::Spec;

/// Reads `config.json`.
///
/// # Errors
/// Names the field whose type is wrong.
pub fn spec(bytes: &[u8]) -> Result<Spec, Refused> {
    json(bytes)
}

/// Reads any of the specification's types.
///
/// # Errors
/// Names the field whose type is wrong.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    // Most files are right: the reader that remembers where it is runs only for those that are not.
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Refused::Unreadable { field: error.path().to_string(), cause: error.inner().to_string() })?;
    let trailing = |error: serde_json::Error| Refused::Unreadable { field: String::new(), cause: error.to_string() };
    reader.end().map_err(trailing)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_named_by_its_field() {
        let refused = spec(br#"{"ociVersion":"1.0.2","process":{"user":{"uid":"root"}}}"#).unwrap_err();
        assert!(refused.to_string().starts_with("process.user.uid: invalid type: string \"root\""), "{refused}");
        let refused = spec(br#"{"linux":{"namespaces":[{"type":"pid"},{"type":7}]}}"#).unwrap_err();
        assert!(refused.to_string().starts_with("linux.namespaces[1].type: "), "{refused}");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "7", "{} {}", "null"] {
            assert!(spec(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_as_the_specification_asks() {
        let spec = spec(br#"{"ociVersion":"1.2.0","tomorrow":{"x":1},"process":{"args":["a"],"cwd":"/"}}"#).unwrap();
        assert_eq!(spec.process.unwrap().args, ["a"]);
    }
}
