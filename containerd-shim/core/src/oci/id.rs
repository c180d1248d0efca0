//! Ids of containers: they become folder names, so they are names and never paths.

use super::Refused;
use super::refused::value;

/// Longest id, in bytes: with what is appended to it, it stays below the 255 bytes of a file name.
pub const MAX: usize = 200;

/// Checks an id: letters, digits, `_`, `+`, `-`, `.`, and not `.` or `..`.
///
/// # Errors
/// Says what an id is.
pub fn check(id: &str) -> Result<(), Refused> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() || id.len() > MAX || id == "." || id == ".." || !id.bytes().all(good) {
        return Err(value("container id", id, "1 to 200 of letters, digits, `_`, `+`, `-` and `.`: invalid ID format"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_name_and_never_a_path() {
        for id in ["a", "web-1", "3f.2_x+y", "..."] {
            assert_eq!(check(id), Ok(()), "{id}");
        }
        for id in ["", ".", "..", "../x", "a/b", "/", "a b", "a\n", "ü", "a\0", &"x".repeat(201)] {
            assert!(check(id).is_err(), "{id:?}");
        }
    }
}
