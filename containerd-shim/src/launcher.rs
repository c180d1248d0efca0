//! The launcher's loop: events in, the pure reconciliation, actions out.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hull_oci_core::api::{self, Refusal, State};
use hull_oci_core::declaration::Declaration;
use hull_oci_core::reconcile::{Action, Containers, Ending, Phase};
use hull_oci_core::spec;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;

use crate::clock::now_ms;
use crate::containers::{self, Found, Running, Start};
use crate::declared::Declared;
use crate::sys::readiness;
use crate::{node, resolver, socket, store};
use hull_images::{self as images, Images};

/// The first port that a process without privileges may listen on. Containers share the node's network and hold no privilege over it,
/// and nothing on a node is protected by a low port number.
const FIRST_FREE_PORT: (&str, &str) = ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");

/// Events that may wait; whoever sends more waits.
const EVENTS: usize = 64;

/// What happens to a launcher.
pub(crate) enum Event {
    /// Whether the loop turns is asked.
    Alive,
    /// All declarations of the store, key and value.
    Listed(Vec<(Vec<u8>, Vec<u8>)>),
    /// A declaration was written.
    Put(Vec<u8>, Vec<u8>),
    /// A declaration was deleted.
    Deleted(Vec<u8>),
    /// The store cannot be followed for the moment.
    StoreLost(String),
    /// Layers and specification of a container are ready.
    Prepared(Box<Start>),
    /// They cannot be made.
    NotPrepared(String, String),
    /// A container's monitor ended.
    Ended(String),
    /// Somebody wants to know what runs.
    Ps(oneshot::Sender<Vec<api::Container>>),
    /// An image was loaded: what failed for want of it may start.
    ImageLoaded,
    /// SIGTERM.
    Terminate,
}

/// Starts the runtime and the launcher.
pub(crate) fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("start the launcher: {error}; is there memory left?");
            return ExitCode::FAILURE;
        }
    };
    match tokio::task::LocalSet::new().block_on(&runtime, run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("{refusal}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Refusal> {
    let environment = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let images = Arc::new(Images::open(Path::new(images::SHIPPED), Path::new(images::KEPT))?);
    let (events, receiver) = mpsc::channel(EVENTS);
    let (declared, refused) = Declared::from_run(&environment("HULL_RUN", ""));
    for line in refused {
        eprintln!("{line}");
    }
    let kv = environment("HULL_KV", hull_kv_proto::client::NODE_SOCKET);
    let mut launcher = Launcher {
        declared,
        containers: Containers::default(),
        running: HashMap::new(),
        images: Arc::clone(&images),
        events: events.clone(),
        reported: String::new(),
        endpoint: spec::endpoint(&environment("HULL_KV_LISTEN", spec::STORE_ADDRESS)),
        store: Store::Unread,
    };
    let (setting, value) = FIRST_FREE_PORT;
    if let Err(error) = std::fs::write(setting, value) {
        eprintln!("write {value} to {setting}: {error}; containers cannot listen on ports below 1024");
    }
    resolver::share();
    launcher.adopt();
    socket::listen(&images, &events)?;
    tokio::task::spawn_local(resolver::follow());
    tokio::task::spawn_local(store::follow(kv.clone(), events.clone()));
    tokio::task::spawn_local(node::report(kv, environment("HULL_NODE_NAME", "node"), events.clone()));
    tokio::task::spawn_local(crate::alive::ask(events.clone()));
    terminate_on_signal(&events)?;
    notify(&[NotifyState::Ready]);
    launcher.serve(receiver).await;
    Ok(())
}

fn terminate_on_signal(events: &Sender<Event>) -> Result<(), Refusal> {
    let mut signals = signal(SignalKind::terminate()).map_err(|error| Refusal {
        object: "SIGTERM".into(),
        operation: "listen for".into(),
        cause: error.to_string(),
        remedy: "this is a fault of the launcher: report it".into(),
    })?;
    let events = events.clone();
    tokio::task::spawn_local(async move {
        while signals.recv().await.is_some() {
            let _ = events.send(Event::Terminate).await;
        }
    });
    Ok(())
}

/// Tells PID 1; without a supervisor there is nobody to tell.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        eprintln!("notify the supervisor: {error}");
    }
}

struct Launcher {
    declared: Declared,
    containers: Containers,
    running: HashMap<String, Rc<Running>>,
    images: Arc<Images>,
    events: Sender<Event>,
    /// What was last said of health, so that it is said once.
    reported: String,
    /// Where containers find the store.
    endpoint: String,
    store: Store,
}

/// What is known of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    /// It has not said yet what is declared.
    Unread,
    /// Its declarations are known and followed.
    Followed,
    /// Its declarations are known as they were when it was lost.
    Lost,
}

impl Launcher {
    /// Takes over what an earlier launcher started, and what ended meanwhile.
    fn adopt(&mut self) {
        for found in containers::adopt() {
            match found {
                Found::Running(running) => {
                    let name = running.name.clone();
                    match serde_json::from_str::<Declaration>(&running.declaration) {
                        Ok(declaration) => {
                            println!("container {name}: goes on, adopted");
                            self.containers.adopt(&name, running.started_at, declaration.clone());
                            self.declared.adopt(&name, declaration);
                            self.watch(running);
                        }
                        Err(_) => running.stop(),
                    }
                }
                Found::Ended { name, ended } => {
                    containers::remove(&name, Some(&ended));
                    if let Ok(declaration) = serde_json::from_str::<Declaration>(&ended.declaration) {
                        self.declared.adopt(&name, declaration.clone());
                        self.containers.adopt_ended(now_ms(), &name, ended.since_ms, declaration, ended.ending);
                    }
                }
                Found::Unclear { name } => {
                    eprintln!(
                        "container {name}: not adopted, its folder says too little; it starts anew if it is declared"
                    );
                    containers::remove(&name, None);
                }
            }
        }
    }

    async fn serve(&mut self, mut receiver: Receiver<Event>) {
        loop {
            self.step();
            self.report();
            let event = match self.sleep_until() {
                None => receiver.recv().await,
                Some(wait) => match tokio::time::timeout(wait, receiver.recv()).await {
                    Ok(event) => event,
                    Err(_elapsed) => continue,
                },
            };
            match event {
                Some(Event::Terminate) | None => break,
                Some(event) => self.handle(event),
            }
        }
        // The next launcher adopts them; when the node goes down, PID 1 stops them.
        notify(&[NotifyState::Stopping]);
        println!("launcher: stops, {} containers go on", self.running.len());
    }

    fn sleep_until(&self) -> Option<Duration> {
        let now = now_ms();
        let next = [self.containers.wake_at(), self.containers.health_at(now)].into_iter().flatten().min()?;
        Some(Duration::from_millis(next.saturating_sub(now)))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Listed(entries) => {
                self.declared.replace(entries);
                if std::mem::replace(&mut self.store, Store::Followed) == Store::Unread {
                    containers::forget_others(self.declared.wanted());
                }
            }
            Event::Put(key, value) => self.declared.put(&key, &value),
            Event::Deleted(key) => self.declared.delete(&key),
            Event::StoreLost(reason) => {
                if self.store == Store::Followed {
                    eprintln!("the store does not answer: {reason}; containers go on as they are");
                    self.store = Store::Lost;
                }
            }
            Event::Prepared(start) => self.start(&start),
            Event::NotPrepared(name, reason) => self.not_started(&name, reason),
            Event::Ended(name) => self.ended(&name),
            Event::Ps(reply) => {
                let _ = reply.send(self.list());
            }
            Event::ImageLoaded => self.containers.retry(now_ms()),
            Event::Alive => notify(&[NotifyState::Watchdog]),
            Event::Terminate => {}
        }
    }

    fn step(&mut self) {
        for action in self.containers.step(now_ms(), self.declared.wanted()) {
            match action {
                Action::Start { name, declaration } => self.prepare(name, declaration),
                Action::Stop { name } => self.stop(&name),
                Action::Forget { name } => containers::forget(&name),
            }
        }
    }

    /// Unpacks on a thread of its own: the loop goes on meanwhile.
    fn prepare(&self, name: String, declaration: Box<Declaration>) {
        let (images, events) = (Arc::clone(&self.images), self.events.clone());
        let store = self.endpoint.clone();
        tokio::task::spawn_blocking(move || {
            let event = match prepare(&images, &name, &declaration, &store) {
                Ok(start) => Event::Prepared(Box::new(start)),
                Err(refusal) => Event::NotPrepared(name, refusal.to_string()),
            };
            let _ = events.blocking_send(event);
        });
    }

    fn start(&mut self, start: &Start) {
        let name = &start.name;
        if self.containers.is_stopping(name) {
            self.containers.ended(now_ms(), name, Ending::NotStarted("no longer declared".into()));
            return;
        }
        match containers::start(start) {
            Ok(running) => {
                println!("container {name}: started");
                self.containers.started(now_ms(), name);
                self.watch(running);
            }
            Err(failure) => self.not_started(name, failure.to_string()),
        }
    }

    fn not_started(&mut self, name: &str, reason: String) {
        eprintln!("container {name}: not started: {reason}");
        self.containers.ended(now_ms(), name, Ending::NotStarted(reason));
    }

    /// Waits for the end of a monitor beside the loop.
    fn watch(&mut self, running: Running) {
        let running = Rc::new(running);
        self.running.insert(running.name.clone(), Rc::clone(&running));
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let waited = match running.monitor_pidfd().and_then(readiness::watch) {
                Ok(pidfd) => pidfd.readable().await.map(|_| ()),
                Err(error) => Err(error),
            };
            if let Err(error) = waited {
                eprintln!("container {}: wait for its monitor: {error}", running.name);
            }
            let _ = events.send(Event::Ended(running.name.clone())).await;
        });
    }

    fn stop(&self, name: &str) {
        if let Some(running) = self.running.get(name) {
            println!("container {name}: asked to stop");
            running.stop();
        }
    }

    fn ended(&mut self, name: &str) {
        let Some(running) = self.running.remove(name) else { return };
        let ended = running.ending();
        println!("container {name}: {}", ended.ending);
        containers::remove(name, Some(&ended));
        self.containers.ended(now_ms(), name, ended.ending);
    }

    /// Tells PID 1 how many run and whether the node is healthy.
    fn report(&mut self) {
        let wanted = self.declared.wanted();
        let running = wanted.keys().filter(|name| self.running.contains_key(*name)).count();
        let refused = self.declared.refused().iter().next();
        let health = match (self.store, refused, self.containers.health(now_ms(), wanted)) {
            (Store::Unread, ..) => "the store has not said yet what is declared".to_owned(),
            (_, Some((name, reason)), _) => format!("container {name}: {reason}").replace('\n', " "),
            (.., Err(reason)) => reason.replace('\n', " "),
            (.., Ok(())) => "ok".to_owned(),
        };
        let status = format!("{running} of {} containers", wanted.len());
        let now = format!("{status}\n{health}");
        if now != self.reported {
            notify(&[NotifyState::Status(&status), NotifyState::Custom(&format!("X_HULL_HEALTH={health}"))]);
            self.reported = now;
        }
    }

    fn list(&self) -> Vec<api::Container> {
        let mut list: BTreeMap<String, api::Container> = BTreeMap::new();
        for (name, track) in self.containers.tracks() {
            let wanted = self.declared.wanted().get(name);
            let (state, declaration) = self.describe(name, &track.phase);
            let image = wanted.or(declaration).map_or(String::new(), |declaration| declaration.image.clone());
            let (name, declared_by) = (name.to_owned(), self.declared.by(name));
            list.insert(name.clone(), api::Container { name, image, declared_by, state, restarts: track.restarts });
        }
        for (name, reason) in self.declared.refused() {
            list.entry(name.clone()).or_insert_with(|| api::Container {
                name: name.clone(),
                image: String::new(),
                declared_by: self.declared.by(name),
                state: State::Refused { reason: reason.clone() },
                restarts: 0,
            });
        }
        list.into_values().collect()
    }

    fn describe<'a>(&self, name: &str, phase: &'a Phase) -> (State, Option<&'a Declaration>) {
        match phase {
            Phase::Waiting { start_at, last: Some(ending) } => {
                (State::BackingOff { reason: ending.to_string(), until_ms: *start_at }, None)
            }
            Phase::Waiting { last: None, .. } => (State::Starting, None),
            Phase::Starting { declaration } => (State::Starting, Some(declaration)),
            Phase::Running { declaration, .. } => {
                let state = match self.running.get(name).map(|running| running.state()) {
                    Some(containers::State::Running { pid, since_ms }) => State::Running { pid, since_ms },
                    _ => State::Starting,
                };
                (state, Some(declaration))
            }
            Phase::Stopping { declaration } => (State::Stopping, Some(declaration)),
            Phase::Done { ending, declaration } => (State::Ended { reason: ending.to_string() }, Some(declaration)),
        }
    }
}

/// Finds the image, unpacks it, and writes the runtime specification.
fn prepare(images: &Images, name: &str, declaration: &Declaration, store: &str) -> Result<Start, Refusal> {
    let image = images.find(&declaration.image)?;
    let lower = images.layers(&image)?;
    let refuse = |cause: String| Refusal {
        object: format!("container {name}"),
        operation: "make the specification of".into(),
        cause,
        remedy: "change its declaration or its image".into(),
    };
    let spec = spec::build(name, &image.defaults, declaration, store).map_err(|error| refuse(error.to_string()))?;
    Ok(Start {
        name: name.to_owned(),
        spec,
        lower,
        declared: declaration.clone(),
        declaration: serde_json::to_string(declaration).map_err(|error| refuse(error.to_string()))?,
        stop_signal: spec::stop_signal(&image.defaults).map_err(|error| refuse(error.to_string()))?,
        grace: Duration::from_secs(declaration.stop_seconds.into()),
    })
}
