//! A member from start to stop.
use std::{fmt, io, sync::Arc, time::Duration};

use hull_kv_core::Store;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::{
    api::Api,
    auth::{Logins, TokenKind},
    config::Config,
    disk::RealDisk,
    driver::{
        Driver, Identity, OpenError,
        thread::{self, Input},
    },
    http::{ListenError, Listener, Passed},
    lock::{read, write},
};

/// Why a member stopped or did not start.
#[derive(Debug)]
pub enum ServeError {
    /// The data cannot be opened.
    Open(OpenError),
    /// An address cannot be listened on.
    Listen(ListenError),
    /// The disk refused while running, or something at the start did.
    Io {
        /// What was being done.
        doing: &'static str,
        /// The reason.
        source: io::Error,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for ServeError {}

/// How long a stop waits for the last batch; a service manager that waits ten seconds never has to kill.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::Io { doing, source }
}

/// Runs a member until SIGTERM or SIGINT, or until its log fails.
///
/// # Errors
/// What kept it from starting, or made it stop.
pub fn serve(config: &Config) -> Result<(), ServeError> {
    let disk = RealDisk::open(&config.data_dir).map_err(io_error("open the data folder"))?;
    let identity = Identity {
        name: config.name.clone(),
        peer_urls: config.peer_urls.clone(),
        client_urls: config.advertise_client_urls.clone(),
        cluster_token: config.cluster_token.clone(),
    };
    let driver = Driver::open(Arc::new(disk), identity).map_err(ServeError::Open)?;
    let shared = Arc::clone(driver.shared());
    let logins = Logins { bcrypt_cost: config.bcrypt_cost, tokens: TokenKind::Simple };
    write(&shared.store).set_token_ttl(config.token_ttl_ms);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io_error("start the event loop"))?;
    runtime.block_on(async {
        let mut passed = Passed::from_environment();
        let bind = |address| Listener::bind(address, &mut passed);
        let listeners = config.listen.iter().map(bind).collect::<Result<Vec<_>, _>>();
        let listeners = listeners.map_err(ServeError::Listen)?;
        let (stopped, mut log_stopped) = oneshot::channel();
        let running = thread::start(driver, stopped).map_err(io_error("write the log"))?;
        let api = Api::new(Arc::clone(&shared), running.inputs.clone(), config.max_txn_ops, logins);
        for listener in listeners {
            tokio::spawn(listener.serve(api.clone()));
        }
        announce(config, &read(&shared.store));
        let outcome = until_stopped(&mut log_stopped).await?;
        // Nobody listens to the manager if there is none.
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
        if outcome == Outcome::Asked {
            let _ = running.inputs.send(Input::Stop);
            if tokio::time::timeout(STOP_PATIENCE, log_stopped).await.is_err() {
                eprintln!("hull-kv: the disk takes nothing more; stopping without what nobody was promised");
                return Ok(());
            }
        }
        running.join().map_err(io_error("write the log; the member stops, because what it promised may be lost"))
    })
}

/// Tells the service manager and the person at the console that reads and writes are served.
fn announce(config: &Config, store: &Store) {
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    let addresses: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    let usage = store.usage();
    eprintln!("hull-kv: serving on {} at revision {} with {} keys", addresses.join(", "), store.revision(), usage.keys);
}

/// Why the member ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Asked,
    LogStopped,
}

async fn until_stopped(log_stopped: &mut oneshot::Receiver<()>) -> Result<Outcome, ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(io_error("listen for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io_error("listen for SIGINT"))?;
    let alive = alive_every();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(Outcome::Asked),
            _ = interrupt.recv() => return Ok(Outcome::Asked),
            _ = &mut *log_stopped => return Ok(Outcome::LogStopped),
            () = tokio::time::sleep(alive.unwrap_or(Duration::MAX)), if alive.is_some() => {
                let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Watchdog]);
            }
        }
    }
}

/// How often the service manager wants to hear that the event loop turns: half of what it waits (sd_watchdog_enabled(3)).
fn alive_every() -> Option<Duration> {
    let mut micros = 0;
    sd_notify::watchdog_enabled(false, &mut micros).then(|| Duration::from_micros(micros / 2))
}
