//! Common calls without a task each: the driver's answer goes straight from the event loop's hand-over into the connection.
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hull_kv_core::Response as Answer;
use hull_kv_proto::hullpb::command::Op as Command;
use hull_kv_wire::Respond;
use tonic::{Code, Status};

use super::unary::{self, Call, framed};
use crate::{
    api::{Api, Asked, Needs},
    driver::{Failed, Recipient},
    lock::lock,
    patience::Late,
};

/// A client that waits for the answer to a call.
#[derive(Debug)]
struct Client {
    api: Api,
    path: &'static str,
    asked: Asked,
    respond: Respond,
}

impl Client {
    /// Answers the call. Whoever asked may have gone.
    fn answer(self, answer: Result<Bytes, Status>) {
        self.api.shared.metrics.call(self.path, answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        let _ = unary::send(answer, self.respond);
    }
}

/// Makes a call, at once or when the driver answers.
pub(super) fn serve(api: Api, call: Call, respond: Respond) {
    let asked = if matches!(call, Call::Range(_)) { Asked::Read } else { Asked::Change };
    let client = Client { path: call.path(), api, asked, respond };
    if client.api.must_learn_token() {
        // Only then is there something to wait for before the call begins.
        tokio::spawn(async move {
            match client.api.learn_token().await {
                Ok(()) => begin(client, call),
                Err(status) => client.answer(Err(status)),
            }
        });
    } else {
        begin(client, call);
    }
}

fn begin(client: Client, call: Call) {
    let api = client.api.clone();
    match call {
        Call::Put(request) => propose(client, api.put_command(request), put),
        Call::DeleteRange(request) => propose(client, api.delete_command(request), delete_range),
        Call::Txn(request) => match api.txn_needs(request) {
            // Many ranges may be in it: it takes its turn with others.
            Ok(Needs::Read(request, freshness)) => drop(tokio::spawn(async move {
                let response = api.txn_fresh(&request, freshness).await;
                client.answer(response.map(|response| framed(&response)));
            })),
            Ok(Needs::Command(command)) => propose(client, Ok(command), txn),
            Err(status) => client.answer(Err(status)),
        },
        Call::Range(request) => match api.range_needs(&request) {
            Ok(freshness) => {
                let finish = move |api: &Api, ()| api.range_now(&request).map(|response| framed(&response));
                api.read_for(freshness, Waiting::new(client, finish));
            }
            Err(status) => client.answer(Err(status)),
        },
    }
}

/// How an answer of the state machine becomes a message.
type Finish = fn(&Api, Answer) -> Result<Bytes, Status>;

fn propose(client: Client, command: Result<Command, Status>, finish: Finish) {
    match command.and_then(|command| Ok((command, client.api.writer()?))) {
        Ok((command, caller)) => client.api.clone().propose_for(command, caller, Waiting::new(client, finish)),
        Err(status) => client.answer(Err(status)),
    }
}

fn put(api: &Api, answer: Answer) -> Result<Bytes, Status> {
    api.put_answer(answer).map(|response| framed(&response))
}

fn delete_range(api: &Api, answer: Answer) -> Result<Bytes, Status> {
    api.delete_answer(answer).map(|response| framed(&response))
}

fn txn(api: &Api, answer: Answer) -> Result<Bytes, Status> {
    api.txn_answer(answer).map(|response| framed(&response))
}

/// A client, and what it is told once the driver has answered.
struct Waiting<F>(Mutex<Option<(Client, F)>>);

impl<F> Waiting<F> {
    fn new(client: Client, finish: F) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some((client, finish)))))
    }
}

impl<T, F> Recipient<T> for Waiting<F>
where
    F: FnOnce(&Api, T) -> Result<Bytes, Status> + Send,
{
    fn take(&self, answer: Result<T, Failed>) {
        let Some((client, finish)) = lock(&self.0).take() else { return };
        let answer = match answer {
            Ok(answer) => finish(&client.api, answer),
            Err(why) => Err(client.api.no_answer(why)),
        };
        client.answer(answer);
    }

    fn is_gone(&self) -> bool {
        lock(&self.0).as_mut().is_none_or(|(client, _)| client.respond.is_reset())
    }
}

impl<F: Send> Late for Waiting<F> {
    fn is_answered(&self) -> bool {
        lock(&self.0).is_none()
    }

    fn tell(&self) {
        let Some((client, _)) = lock(&self.0).take() else { return };
        let status = client.api.too_late(client.asked);
        client.answer(Err(status));
    }
}
