//! Tells the service manager that the member works: its event loop turns, and the thread that writes the log answers it.
use std::{sync::mpsc::Sender, time::Duration};

use tokio::sync::oneshot;

use super::Input;

/// Says so as often as it wants to hear it, sd_watchdog_enabled(3); a thread that hangs lets it end the member. Ends with the thread.
pub(super) async fn prove(inputs: Sender<Input>) {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) {
        return;
    }
    loop {
        let (reply, answer) = oneshot::channel();
        if inputs.send(Input::Alive(reply)).is_err() || answer.await.is_err() {
            return;
        }
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Watchdog]);
        tokio::time::sleep(Duration::from_micros(micros / 2)).await;
    }
}
