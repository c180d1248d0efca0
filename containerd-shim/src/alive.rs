//! Proves to PID 1 that the launcher's loop turns, sd_watchdog_enabled(3).

use std::time::Duration;

use tokio::sync::mpsc::Sender;

use crate::launcher::Event;

/// Asks the loop twice in the time after which PID 1 gives it up; the loop itself answers for it.
pub(crate) async fn ask(events: Sender<Event>) {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) {
        return;
    }
    while events.send(Event::Alive).await.is_ok() {
        tokio::time::sleep(Duration::from_micros(micros / 2)).await;
    }
}
