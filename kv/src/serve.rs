//! A member from start to stop.
mod alive;
mod join;

use std::{
    fmt, io,
    sync::{Arc, atomic::Ordering, mpsc::Sender},
    time::Duration,
};

use hull_kv_wire::Company;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, oneshot},
    task::JoinSet,
};

use crate::{
    api::{Api, Bounds},
    auth::{Logins, TokenKind},
    compactor::Compactor,
    config::{Cluster, Config, ConfigError, Tokens},
    disk::{Disk, RealDisk},
    driver::{
        Driver, Identity, OpenError, REMOVED, Start,
        thread::{self, Ended, Input, Inputs},
    },
    http::{Address, Face, ListenError, Listener, Passed, bind_tcp, bind_unix},
    import::{ImportError, Imported, adopt},
    jwt::{Jwt, JwtError},
    limits::{CATCH_UP_BYTES, SNAPSHOT_BURST_BYTES, SNAPSHOT_MEMORY_SHARE},
    lock::{read, write},
    memory,
    names::Names,
    peer::{Dialer, Door, Incoming, Local, Network, PeerListener},
    shared::Shared,
    tls::{Tls, TlsError, TlsFiles, not_set_up},
};

/// Why a member stopped or did not start.
#[derive(Debug)]
pub enum ServeError {
    /// The data folder is an etcd's, and cannot be taken over.
    Adopt(ImportError),
    /// The data cannot be opened.
    Open(OpenError),
    /// An address cannot be listened on.
    Listen(ListenError),
    /// Certificates.
    Tls(TlsError),
    /// Keys of login tokens.
    Jwt(JwtError),
    /// An address that is none.
    Address(ConfigError),
    /// The member cannot become one of its cluster.
    Join(String),
    /// The disk lost what this member had acknowledged.
    Forgetful,
    /// A majority of the others no longer has what this member knows to be committed.
    Contradicted,
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
            Self::Adopt(error) => error.fmt(f),
            Self::Open(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Address(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Jwt(error) => error.fmt(f),
            Self::Join(why) => f.write_str(why),
            Self::Forgetful => f.write_str(
                "the leader knows of writes that this member acknowledged and does not have: its disk was lost or set \
                 back. The member stops rather than undo them; remove it (etcdctl member remove), remove its data \
                 folder, add it again (etcdctl member add), and start it with --initial-cluster-state existing",
            ),
            Self::Contradicted => f.write_str(
                "the leader's log is another one than what this member knows to be committed: a majority no longer has what was \
                 acknowledged, because disks were lost or set back. This member still has it, and stops rather than serve \
                 either. To go on with what it has, start it cut off from the others, save it (etcdctl snapshot save), and \
                 begin a new cluster from that (etcdctl snapshot restore). To give those writes up, remove the member \
                 (etcdctl member remove) and its data folder, and add it again (etcdctl member add)",
            ),
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

/// Why the log's thread ended. What has no number of the kernel's is damage that was found.
fn why_stopped(source: io::Error) -> ServeError {
    let doing = if source.raw_os_error().is_some() {
        "write the log; the member stops, because what it promised may be lost"
    } else {
        "the member stops rather than go on with what it cannot trust"
    };
    ServeError::Io { doing, source }
}

/// How long a leader that is asked to stop waits for another one: two elections of etcd's default.
const HAND_OFF_PATIENCE: Duration = Duration::from_secs(2);

/// How long a stop waits for answers to what clients have asked: long for a write, and nothing to wait for for who waits for a lock.
const CLIENTS_PATIENCE: Duration = Duration::from_millis(500);

/// How long it waits then until they have gone.
const GONE_PATIENCE: Duration = Duration::from_millis(100);

/// How long a member of several waits for the others before it tells that it serves: then at least it tells why not.
const COMPANY_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a member until SIGTERM or SIGINT, or until its log fails.
///
/// # Errors
/// What kept it from starting, or made it stop.
pub fn serve(config: &Config) -> Result<(), ServeError> {
    if let Some(Imported { keys, revision }) = adopt(config).map_err(ServeError::Adopt)? {
        eprintln!("hull-kv: took over {keys} keys at revision {revision} from what etcdctl snapshot restore made");
    }
    let disk = RealDisk::open(&config.data_dir, config.wal_dir.as_deref()).map_err(io_error("open the data folder"))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io_error("start the event loop"))?;
    runtime.block_on(run(config, Arc::new(disk)))
}

async fn run(config: &Config, disk: Arc<dyn Disk>) -> Result<(), ServeError> {
    let load = |files: &Option<TlsFiles>, protocols: &[&str]| {
        files.clone().map(|files| Tls::load(files, protocols).map(Arc::new)).transpose().map_err(ServeError::Tls)
    };
    let client_tls = load(&config.security.clients, &["h2", "http/1.1"])?;
    let dialer = Dialer { tls: load(&config.security.peers, &[])?, names: Names::default() };
    let logins = logins(config)?;
    let birth = join::birth(config, &*disk, &dialer).await?;
    let memory = memory::total();
    let quota = config.quota.bytes(memory);
    let start = Start {
        identity: Identity { name: config.name.clone(), client_urls: config.advertise_client_urls.clone() },
        birth,
        timing: config.cluster.timing,
        life: join::life(),
        catch_up_bytes: CATCH_UP_BYTES,
        quota_bytes: quota,
        burst_bytes: (memory / SNAPSHOT_MEMORY_SHARE).min(SNAPSHOT_BURST_BYTES),
    };
    let mut driver = Driver::open(Arc::clone(&disk), start).map_err(ServeError::Open)?;
    driver.limit_requests(config.connections.max_request_bytes);
    if driver.cut_bytes() > 0 {
        eprintln!(
            "hull-kv: cut {} bytes of an unfinished write off the log; nothing acknowledged was in them",
            driver.cut_bytes()
        );
    }
    let shared = Arc::clone(driver.shared());
    write(&shared.store).set_token_ttl(config.token_ttl_ms);
    shared.metrics.quota.store(if quota == u64::MAX { 0 } else { quota }, Ordering::Relaxed);
    let inputs = Inputs::default();
    let local =
        Local { shared: Arc::clone(&shared), cluster: driver.cluster_id(), inputs: inputs.sender.clone(), dialer };
    let incoming = Incoming::default();
    let network = Network::new(local.clone(), incoming.clone());
    let door =
        PeerDoor { server: Arc::new(PeerListener::new(local, disk, incoming)), has_company: network.has_company() };
    door.open(config, &driver).await?;
    let mut passed = Passed::from_environment();
    let mut bind = |address| Listener::bind(address, &mut passed, client_tls.as_ref());
    let whole = config.listen.iter().map(|address| (address, Face::Whole));
    let monitors = config.connections.monitors.iter().map(|address| (address, Face::Monitors));
    let listeners = whole.chain(monitors).map(|(address, face)| bind(address).map(|listener| (listener, face)));
    let listeners = listeners.collect::<Result<Vec<_>, _>>().map_err(ServeError::Listen)?;
    let (stopped, mut log_stopped) = oneshot::channel();
    let running = thread::start(driver, inputs, Box::new(network), stopped).map_err(why_stopped)?;
    let bounds = Bounds {
        txn_ops: config.max_txn_ops,
        request_bytes: config.connections.max_request_bytes,
        progress_every: config.connections.progress_every,
    };
    let api = Api::new(Arc::clone(&shared), &running, bounds, logins);
    if let Some(compactor) = Compactor::new(config.retention) {
        tokio::spawn(api.clone().compact_now_and_then(compactor));
    }
    let company = Company::default();
    let mut doors = JoinSet::new();
    for (listener, face) in listeners {
        doors.spawn(listener.serve(api.clone(), face, config.connections.manners, company.clone()));
    }
    let outcome = {
        tokio::spawn(alive::prove(running.inputs.clone()));
        let announced = announce(config, &shared, &running.inputs);
        tokio::select! {
            outcome = until_stopped(&mut log_stopped) => outcome?,
            never = announced => match never {},
        }
    };
    // Nobody listens to the manager if there is none.
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    if outcome == Outcome::Asked {
        hand_off(&shared, &running.inputs).await;
        // Clients hear of it, go elsewhere, and lose nothing that they have asked.
        doors.shutdown().await;
        let _ = tokio::time::timeout(CLIENTS_PATIENCE, company.leave()).await;
        let _ = tokio::time::timeout(GONE_PATIENCE, company.gone()).await;
        let _ = running.inputs.send(Input::Stop);
        if tokio::time::timeout(STOP_PATIENCE, log_stopped).await.is_err() {
            eprintln!("hull-kv: the disk takes nothing more; stopping without what nobody was promised");
            return Ok(());
        }
    }
    match running.join().map_err(why_stopped)? {
        Ended::Asked => Ok(()),
        Ended::Removed => {
            // Somebody wanted it so, and starting it again would change nothing: no failure.
            eprintln!("hull-kv: {REMOVED}");
            Ok(())
        }
        Ended::Forgetful => Err(ServeError::Forgetful),
        Ended::Contradicted => Err(ServeError::Contradicted),
    }
}

fn logins(config: &Config) -> Result<Logins, ServeError> {
    let tokens = match &config.tokens {
        Tokens::Simple => TokenKind::Simple,
        Tokens::Jwt(options) => TokenKind::Jwt(Jwt::load(options.clone()).map_err(ServeError::Jwt)?),
    };
    Ok(Logins { bcrypt_cost: config.bcrypt_cost, tokens })
}

/// A leader that stops on request lets another one lead first: writes go on without an election's silence.
async fn hand_off(shared: &Shared, inputs: &Sender<Input>) {
    if !shared.leads() || read(&shared.store).members().only(shared.member) {
        return;
    }
    let (reply, moved) = oneshot::channel();
    if inputs.send(Input::MoveLeader(0, reply)).is_ok() {
        // Without another one that is up, the stop happens all the same.
        let _ = tokio::time::timeout(HAND_OFF_PATIENCE, moved).await;
    }
}

/// Listens for other members: from the start if there are any, otherwise once there are.
struct PeerDoor {
    server: Arc<PeerListener>,
    has_company: Arc<Notify>,
}

/// The mode of a unix socket for other members: they are of the same user.
const FOR_THIS_USER: u32 = 0o600;

impl PeerDoor {
    async fn open(self, config: &Config, driver: &Driver) -> Result<(), ServeError> {
        if config.cluster.listen.is_none() && driver.alone() {
            let cluster = config.cluster.clone();
            tokio::spawn(async move {
                self.has_company.notified().await;
                while let Err(error) = self.listen(&cluster) {
                    eprintln!("hull-kv: {error}; trying again, because other members wait for it");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            return Ok(());
        }
        self.listen(&config.cluster)
    }

    fn listen(&self, cluster: &Cluster) -> Result<(), ServeError> {
        for address in cluster.listen_addresses().map_err(ServeError::Address)? {
            let tls = self.server.local.dialer.tls.clone();
            let door = match (&address, tls) {
                (Address::Tcp(socket), _) => bind_tcp(*socket).map(|listener| Door::Tcp(listener, None)),
                (Address::Tls(socket), Some(tls)) => bind_tcp(*socket).map(|listener| Door::Tcp(listener, Some(tls))),
                (Address::Tls(_), None) => {
                    let why = not_set_up("--peer-cert-file and --peer-key-file");
                    Err(ListenError::new(address, why))
                }
                (Address::Unix(path), _) => bind_unix(path, FOR_THIS_USER)
                    .map(Door::Unix)
                    .map_err(|source| ListenError::new(address.clone(), source)),
            };
            tokio::spawn(Arc::clone(&self.server).serve(door.map_err(ServeError::Listen)?));
        }
        Ok(())
    }
}

/// Tells the service manager and the person at the console that reads and writes are served.
async fn announce(config: &Config, shared: &Shared, inputs: &Sender<Input>) -> std::convert::Infallible {
    let served = tokio::time::timeout(COMPANY_PATIENCE, served(shared, inputs)).await.is_ok();
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    let addresses: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    let (revision, keys) = {
        let store = read(&shared.store);
        (store.revision(), store.usage().keys)
    };
    // Programs that start an etcd and wait for it look for these words of its log, in two lines.
    eprintln!("hull-kv: published {} to cluster {:x}", config.name, read(&shared.store).cluster_id());
    eprintln!(
        "hull-kv: ready to serve client requests on {} at revision {revision} with {keys} keys; enabled capabilities \
         for version 3.5",
        addresses.join(", ")
    );
    if !served {
        eprintln!("hull-kv: no majority of the members answers yet: reads and writes wait for one");
    }
    std::future::pending().await
}

/// Returns once this member has seen everything that was acknowledged before its start.
async fn served(shared: &Shared, inputs: &Sender<Input>) {
    if shared.leads() && read(&shared.store).members().only(shared.member) {
        return;
    }
    let (reply, answer) = oneshot::channel();
    let _ = inputs.send(Input::Read(reply.into()));
    let _ = answer.await;
    // From here on the cluster knows that this member has begun, and would not let it begin again without its data.
    let told = || read(&shared.store).members().get(shared.member).is_some_and(|member| !member.name.is_empty());
    while !told() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
    tokio::select! {
        _ = terminate.recv() => Ok(Outcome::Asked),
        _ = interrupt.recv() => Ok(Outcome::Asked),
        _ = log_stopped => Ok(Outcome::LogStopped),
    }
}
