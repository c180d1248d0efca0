//! Room for what gathers between two turns of the log's thread, made before it comes.

/// For how many there should be room, when so many came last and there was room for so many: as many are likely to come again. After a
/// small turn the room shrinks by half only, since small and large ones take turns while many clients ask.
pub(crate) fn likely(came: usize, capacity: usize) -> usize {
    came.max(capacity / 2)
}

#[cfg(test)]
mod tests {
    use super::likely;

    #[test]
    fn room_is_there_at_once_and_goes_slowly() {
        assert_eq!(likely(1000, 0), 1000);
        assert_eq!(likely(1, 1000), 500);
        assert_eq!((0..12).fold(1000, |room, _| likely(0, room)), 0);
    }
}
