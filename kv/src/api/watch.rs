//! The Watch service: many watchers a stream, each served in turn as fast as the client reads.
use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
};

use futures_core::Stream;
use hull_kv_core::{Events, Filter, KeyRange, Previous, Pull, WatchSpec};
use hull_kv_proto::{
    etcdserverpb::{
        WatchCreateRequest, WatchRequest, WatchResponse, watch_create_request::FilterType, watch_request::RequestUnion,
    },
    mvccpb::Event,
};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};
use tokio_stream::StreamExt as _;
use tonic::Status;

use super::{
    Answers, Api,
    watch_stream::{Synced, Watchers},
};
use crate::{limits::WATCH_QUEUE, lock::read};

/// The watcher number in answers that are about no watcher.
const NO_WATCHER: i64 = -1;

/// The client is gone, or what it sent was no request.
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

/// The watches of one client.
pub(crate) struct WatchStream<R> {
    api: Api,
    requests: R,
    asking: Asking,
    watchers: Watchers,
    wishes: HashMap<i64, Wishes>,
    /// Answers that come next.
    ready: VecDeque<WatchResponse>,
    /// Progress requests that wait until every watcher has read everything.
    asked_progress: usize,
    /// The next round of progress.
    progress: Pin<Box<Sleep>>,
    /// Why the client's requests ended, if one was none.
    broken: Option<Status>,
}

/// Whether the client still asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Yes,
    /// It only listens.
    NoMore,
}

impl Api {
    /// Answers what a client's requests ask for, from a task of its own, until the client is gone.
    pub(crate) fn watch<R>(self, requests: R) -> Answers<WatchResponse>
    where
        R: Stream<Item = Result<WatchRequest, Status>> + Send + Unpin + 'static,
    {
        let (out, answers) = mpsc::channel(WATCH_QUEUE);
        let mut stream = self.watches(requests);
        tokio::spawn(async move {
            while let Some(response) = tokio::select! {
                response = stream.next() => response,
                () = out.closed() => None,
            } {
                if out.send(response).await.is_err() {
                    return;
                }
            }
        });
        answers
    }

    /// The watches that a client's requests ask for.
    pub(crate) fn watches<R>(&self, requests: R) -> WatchStream<R> {
        WatchStream {
            api: self.clone(),
            requests,
            asking: Asking::Yes,
            watchers: Watchers::new(Arc::clone(&self.shared)),
            wishes: HashMap::new(),
            ready: VecDeque::new(),
            asked_progress: 0,
            progress: Box::pin(tokio::time::sleep(self.bounds().progress_every)),
            broken: None,
        }
    }
}

impl<R> WatchStream<R>
where
    R: Stream<Item = Result<WatchRequest, Status>> + Unpin,
{
    /// The next answer, or why there is none any more; `None` once the client is gone. A client that only stops asking goes on
    /// listening.
    pub(crate) async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(Ok(response));
            }
            let heard = if self.watchers.has_pending() {
                self.hear_or_read().await
            } else if self.asked_progress > 0 {
                self.answer_progress();
                Ok(())
            } else {
                self.wait().await
            };
            if let Err(Gone) = heard {
                return self.broken.take().map(Err);
            }
        }
    }

    /// What the client asked meanwhile, or else a turn of reading. Others get their turn, however far a watcher is behind.
    async fn hear_or_read(&mut self) -> Result<(), Gone> {
        tokio::task::coop::consume_budget().await;
        let asked = tokio::select! {
            biased;
            request = self.requests.next(), if self.asking == Asking::Yes => Some(request),
            () = std::future::ready(()) => None,
        };
        match asked {
            Some(request) => self.take(request),
            None => {
                self.read_turn();
                Ok(())
            }
        }
    }

    /// Until there is something to do.
    async fn wait(&mut self) -> Result<(), Gone> {
        let notify = self.watchers.notified();
        tokio::select! {
            request = self.requests.next(), if self.asking == Asking::Yes => self.take(request),
            () = notify.notified() => {
                self.watchers.gather();
                Ok(())
            }
            () = self.progress.as_mut() => {
                self.progress_round();
                Ok(())
            }
        }
    }

    fn take(&mut self, request: Option<Result<WatchRequest, Status>>) -> Result<(), Gone> {
        match request {
            None => self.asking = Asking::NoMore,
            Some(Err(status)) => {
                self.broken = Some(status);
                return Err(Gone);
            }
            Some(Ok(request)) => match request.request_union {
                Some(RequestUnion::CreateRequest(create)) => self.create(create),
                Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
                Some(RequestUnion::ProgressRequest(_)) => self.asked_progress += 1,
                None => {}
            },
        }
        Ok(())
    }

    fn create(&mut self, create: WatchCreateRequest) {
        let wishes = Wishes {
            fragment: if create.fragment { Fragment::Yes } else { Fragment::No },
            progress: if create.progress_notify { Progress::Due } else { Progress::Never },
        };
        if let Err(status) = self.api.permit_watch(&create) {
            return self.forbidden(&status);
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
        self.ready.push_back(response);
    }

    /// A watch that the client may not have, in the words of etcd's error type.
    fn forbidden(&mut self, status: &Status) {
        let revision = read(&self.api.shared.store).revision();
        let response = WatchResponse {
            header: Some(self.api.header(revision)),
            watch_id: NO_WATCHER,
            created: true,
            canceled: true,
            cancel_reason: format!("rpc error: code = {:?} desc = {}", status.code(), status.message()),
            ..WatchResponse::default()
        };
        self.ready.push_back(response);
    }

    fn cancel(&mut self, id: i64) {
        let Some(revision) = self.watchers.remove(id) else { return };
        self.wishes.remove(&id);
        let header = Some(self.api.header(revision));
        self.ready.push_back(WatchResponse { header, watch_id: id, canceled: true, ..WatchResponse::default() });
    }

    /// Progress is told only when every watcher of the stream has been sent all there is.
    fn answer_progress(&mut self) {
        let Synced::At(revision) = self.watchers.gather() else { return };
        for _ in 0..std::mem::take(&mut self.asked_progress) {
            self.tell_progress(NO_WATCHER, revision);
        }
    }

    fn tell_progress(&mut self, watch_id: i64, revision: i64) {
        let header = Some(self.api.header(revision));
        self.ready.push_back(WatchResponse { header, watch_id, ..WatchResponse::default() });
    }

    fn progress_round(&mut self) {
        self.progress.as_mut().reset(Instant::now() + self.api.bounds().progress_every);
        let Synced::At(revision) = self.watchers.gather() else { return };
        let mut due = Vec::new();
        for (id, wishes) in &mut self.wishes {
            match wishes.progress {
                Progress::Due => due.push(*id),
                Progress::Heard => wishes.progress = Progress::Due,
                Progress::Never => {}
            }
        }
        due.into_iter().for_each(|id| self.tell_progress(id, revision));
    }

    /// Reads for one watcher; what it got comes next.
    fn read_turn(&mut self) {
        let Some((id, pull)) = self.watchers.read_next() else { return };
        match pull {
            Pull::Idle(_) => {}
            Pull::Events(events) => self.say_events(id, events),
            // The member stops; its clients go on elsewhere.
            Pull::Unreadable => {}
            Pull::Compacted(at) => {
                self.wishes.remove(&id);
                // Without a revision, as etcd says it: this watcher did not get as far as the store.
                let header = Some(self.api.header(0));
                self.ready.push_back(WatchResponse {
                    header,
                    watch_id: id,
                    canceled: true,
                    compact_revision: at,
                    ..WatchResponse::default()
                });
            }
        }
    }

    fn say_events(&mut self, id: i64, events: Events) {
        if events.events.is_empty() {
            return;
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
        let largest = (fragment == Fragment::Yes).then(|| self.api.bounds().request_bytes);
        self.ready.extend(cut(whole, largest));
    }
}

/// Cuts an answer into pieces below `largest` bytes, if such are wanted; all but the last are marked as fragments.
fn cut(whole: WatchResponse, largest: Option<usize>) -> Vec<WatchResponse> {
    let Some(largest) = largest.filter(|largest| whole.encoded_len() >= *largest) else { return vec![whole] };
    let base = WatchResponse { events: Vec::new(), ..whole.clone() };
    let mut pieces = vec![base.clone()];
    let mut bytes = 0;
    for event in whole.events {
        let size = event.encoded_len();
        if bytes > 0 && bytes + size >= largest {
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
