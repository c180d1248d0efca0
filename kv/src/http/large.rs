//! Range over gRPC for answers of any size: one message, whose length is known before its end is.
use bytes::{BufMut as _, BytesMut};
use http::Response;
use tonic::{Status, body::Body};

use super::{
    frames,
    messages::{decoded, whole},
    unary::{self, PREFIX},
};
use crate::api::{Api, Ranged};

/// Answers a call of Range, whose request is no larger than `largest` (bytes).
pub(super) async fn range(api: Api, body: Body, largest: usize) -> Result<Response<Body>, Status> {
    let request = decoded(whole(body, largest).await?)?;
    match api.range_of_any_size(&request).await? {
        Ranged::Whole(response) => Ok(frames::one(unary::framed(&response))),
        Ranged::Streamed(length, pieces) => {
            let Ok(declared) = u32::try_from(length) else {
                return Err(Status::resource_exhausted(format!(
                    "an answer of {length} bytes: gRPC counts no further than 4 GiB"
                )));
            };
            let mut prefix = BytesMut::with_capacity(PREFIX);
            prefix.put_u8(0);
            prefix.put_u32(declared);
            Ok(frames::pieces(prefix.freeze(), length, pieces))
        }
    }
}
