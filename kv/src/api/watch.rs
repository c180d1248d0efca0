//! The Watch service: many watchers a stream, each served in turn as fast as the client reads.
use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_core::Stream;
use hull_kv_core::{Events, Filter, KeyRange, Previous, Pull, WatchSpec};
use hull_kv_proto::{
    etcdserverpb::{
        WatchCreateRequest, WatchRequest, WatchResponse, watch_create_request::FilterType, watch_request::RequestUnion,
        watch_server::Watch,
    },
    mvccpb::Event,
};
use prost::Message as _;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Api,
    watch_stream::{Synced, Watchers},
};
use crate::{
    limits::{MAX_REQUEST_BYTES, WATCH_PROGRESS, WATCH_QUEUE},
    lock::read,
};

/// The watcher number in answers that are about no watcher.
const NO_WATCHER: i64 = -1;

type Out = mpsc::Sender<Result<WatchResponse, Status>>;

#[tonic::async_trait]
impl Watch for Api {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let (out, answers) = mpsc::channel(WATCH_QUEUE);
        let stream = WatchStream::new(self.clone(), out);
        tokio::spawn(stream.run(request.into_inner()));
        Ok(Response::new(Box::pin(Receiver(answers))))
    }
}

/// The receiving end of a queue as a stream.
pub(super) struct Receiver<T>(pub(super) mpsc::Receiver<Result<T, Status>>);

impl<T> Stream for Receiver<T> {
    type Item = Result<T, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// The client is gone.
struct Gone;

/// How one watcher wants its answers.
#[derive(Debug, Clone, Copy)]
struct Wishes {
    fragment: Fragment,
    progress: Progress,
}

/// Whether large answers are cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fragment {
    Yes,
    No,
}

/// Whether a quiet watcher hears from time to time how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Never,
    /// Heard something since the last round: not due.
    Heard,
    Due,
}

struct WatchStream {
    api: Api,
    watchers: Watchers,
    wishes: HashMap<i64, Wishes>,
    out: Out,
    /// Progress requests that wait until every watcher has read everything.
    asked_progress: usize,
    next_progress: Instant,
}

impl WatchStream {
    fn new(api: Api, out: Out) -> Self {
        let watchers = Watchers::new(Arc::clone(&api.shared));
        let next_progress = Instant::now() + WATCH_PROGRESS;
        Self { api, watchers, wishes: HashMap::new(), out, asked_progress: 0, next_progress }
    }

    /// Until the client is gone. A client that only stops asking goes on listening.
    async fn run(mut self, mut requests: Streaming<WatchRequest>) {
        let notify = self.watchers.notified();
        let mut asking = true;
        loop {
            let notified = notify.notified();
            let synced = self.watchers.gather();
            if self.answer_progress(synced).await.is_err() {
                return;
            }
            if self.watchers.has_pending() {
                // A turn of reading, then whatever the client asked meanwhile.
                let request = tokio::select! {
                    biased;
                    request = requests.next(), if asking => Some(request),
                    permit = self.out.reserve() => if permit.is_ok() { None } else { return },
                };
                let result = match request {
                    Some(request) => self.take(request, &mut asking).await,
                    None => self.read_turn().await,
                };
                if result.is_err() {
                    return;
                }
                continue;
            }
            let out = self.out.clone();
            let result = tokio::select! {
                request = requests.next(), if asking => self.take(request, &mut asking).await,
                () = notified => Ok(()),
                () = tokio::time::sleep_until(self.next_progress) => self.progress_round(synced).await,
                () = out.closed() => Err(Gone),
            };
            if result.is_err() {
                return;
            }
        }
    }

    async fn send(&self, response: WatchResponse) -> Result<(), Gone> {
        self.out.send(Ok(response)).await.map_err(|_| Gone)
    }

    async fn take(&mut self, request: Option<Result<WatchRequest, Status>>, asking: &mut bool) -> Result<(), Gone> {
        match request {
            None => {
                *asking = false;
                Ok(())
            }
            Some(Err(_)) => Err(Gone),
            Some(Ok(request)) => match request.request_union {
                Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
                Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
                Some(RequestUnion::ProgressRequest(_)) => {
                    self.asked_progress += 1;
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    async fn create(&mut self, create: WatchCreateRequest) -> Result<(), Gone> {
        let wishes = Wishes {
            fragment: if create.fragment { Fragment::Yes } else { Fragment::No },
            progress: if create.progress_notify { Progress::Due } else { Progress::Never },
        };
        if let Err(status) = self.api.permit_watch(&create) {
            return self.forbidden(&status).await;
        }
        let (revision, result) = self.watchers.add(create.watch_id, spec(&create));
        let mut response = WatchResponse { created: true, ..WatchResponse::default() };
        match result {
            Ok(id) => {
                response.watch_id = id;
                self.wishes.insert(id, wishes);
            }
            Err(why) => {
                response.watch_id = NO_WATCHER;
                response.canceled = true;
                response.cancel_reason = why.message().to_owned();
            }
        }
        response.header = Some(self.api.header(revision));
        self.send(response).await
    }

    /// A watch that the client may not have, in the words of etcd's error type.
    async fn forbidden(&mut self, status: &Status) -> Result<(), Gone> {
        let revision = read(&self.api.shared.store).revision();
        let response = WatchResponse {
            header: Some(self.api.header(revision)),
            watch_id: NO_WATCHER,
            created: true,
            canceled: true,
            cancel_reason: format!("rpc error: code = {:?} desc = {}", status.code(), status.message()),
            ..WatchResponse::default()
        };
        self.send(response).await
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        let Some(revision) = self.watchers.remove(id) else { return Ok(()) };
        self.wishes.remove(&id);
        let header = Some(self.api.header(revision));
        self.send(WatchResponse { header, watch_id: id, canceled: true, ..WatchResponse::default() }).await
    }

    /// Progress is told only when every watcher of the stream has been sent all there is.
    async fn answer_progress(&mut self, synced: Synced) -> Result<(), Gone> {
        let Synced::At(revision) = synced else { return Ok(()) };
        while self.asked_progress > 0 {
            self.asked_progress -= 1;
            let header = Some(self.api.header(revision));
            self.send(WatchResponse { header, watch_id: NO_WATCHER, ..WatchResponse::default() }).await?;
        }
        Ok(())
    }

    async fn progress_round(&mut self, synced: Synced) -> Result<(), Gone> {
        self.next_progress = Instant::now() + WATCH_PROGRESS;
        let Synced::At(revision) = synced else { return Ok(()) };
        let mut due = Vec::new();
        for (id, wishes) in &mut self.wishes {
            match wishes.progress {
                Progress::Due => due.push(*id),
                Progress::Heard => wishes.progress = Progress::Due,
                Progress::Never => {}
            }
        }
        for id in due {
            let header = Some(self.api.header(revision));
            self.send(WatchResponse { header, watch_id: id, ..WatchResponse::default() }).await?;
        }
        Ok(())
    }

    /// Reads for one watcher and sends what it got.
    async fn read_turn(&mut self) -> Result<(), Gone> {
        let Some((id, pull)) = self.watchers.read_next() else { return Ok(()) };
        match pull {
            Pull::Idle(_) => Ok(()),
            Pull::Events(events) => self.send_events(id, events).await,
            Pull::Compacted(at) => {
                self.wishes.remove(&id);
                let revision = read(&self.api.shared.store).revision();
                let header = Some(self.api.header(revision));
                let response = WatchResponse {
                    header,
                    watch_id: id,
                    canceled: true,
                    compact_revision: at,
                    ..WatchResponse::default()
                };
                self.send(response).await
            }
        }
    }

    async fn send_events(&mut self, id: i64, events: Events) -> Result<(), Gone> {
        if events.events.is_empty() {
            return Ok(());
        }
        let metrics = &self.api.shared.metrics;
        metrics.events.fetch_add(events.events.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let mut fragment = Fragment::No;
        if let Some(wishes) = self.wishes.get_mut(&id) {
            fragment = wishes.fragment;
            if wishes.progress == Progress::Due {
                wishes.progress = Progress::Heard;
            }
        }
        let header = Some(self.api.header(events.revision));
        let whole = WatchResponse { header, watch_id: id, events: events.events, ..WatchResponse::default() };
        for piece in cut(whole, fragment) {
            self.send(piece).await?;
        }
        Ok(())
    }
}

/// Cuts an answer into pieces below the request limit; all but the last are marked as fragments.
fn cut(whole: WatchResponse, fragment: Fragment) -> Vec<WatchResponse> {
    if fragment == Fragment::No || whole.encoded_len() < MAX_REQUEST_BYTES {
        return vec![whole];
    }
    let base = WatchResponse { events: Vec::new(), ..whole.clone() };
    let mut pieces = vec![base.clone()];
    let mut bytes = 0;
    for event in whole.events {
        let size = event.encoded_len();
        if bytes > 0 && bytes + size >= MAX_REQUEST_BYTES {
            pieces.push(base.clone());
            bytes = 0;
        }
        bytes += size;
        push(&mut pieces, event);
    }
    let last = pieces.len() - 1;
    pieces[..last].iter_mut().for_each(|piece| piece.fragment = true);
    pieces
}

fn push(pieces: &mut [WatchResponse], event: Event) {
    if let Some(piece) = pieces.last_mut() {
        piece.events.push(event);
    }
}

/// An empty key is the smallest there is.
fn spec(create: &WatchCreateRequest) -> WatchSpec {
    let key: &[u8] = if create.key.is_empty() { &[0] } else { &create.key };
    let filters = create
        .filters()
        .map(|filter| match filter {
            FilterType::Noput => Filter::NoPut,
            FilterType::Nodelete => Filter::NoDelete,
        })
        .collect();
    WatchSpec {
        range: KeyRange::new(key, &create.range_end),
        start_revision: create.start_revision,
        filters,
        previous: if create.prev_kv { Previous::Include } else { Previous::Omit },
    }
}
