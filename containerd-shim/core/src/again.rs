//! Trying something again whose refusal means nothing but that.

/// How often something is tried before it is given up.
const TRIES: u32 = 128;

/// Does `attempt` until it says something else than `unsure`. What it is for: beside a rename or a mount anywhere on the machine the kernel
/// cannot always be sure that a `..` stays inside, says so (EAGAIN), and wants to be asked again (openat2(2)).
///
/// # Errors
/// What the last attempt said.
pub fn while_unsure<T, E: PartialEq>(unsure: &E, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if error == *unsure => {}
            said => return said,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uncertainty_is_asked_again_and_not_forever() {
        let tried = |answers: &[Result<u8, u8>]| {
            let mut count = 0;
            let said = while_unsure(&11, || {
                count += 1;
                answers[(count - 1).min(answers.len() - 1)]
            });
            (said, count)
        };
        assert_eq!(tried(&[Err(11), Err(11), Ok(1)]), (Ok(1), 3));
        assert_eq!(tried(&[Err(11), Err(2), Ok(1)]), (Err(2), 2));
        assert_eq!(tried(&[Err(11)]), (Err(11), TRIES as usize));
    }
}
