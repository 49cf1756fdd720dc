//! Answers that DASH players ask for: MPDs, and the time.

use super::{Node, Ready};
use crate::conditions;
use crate::key::{Class, Target};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::request::Request;
use crate::store::{After, Wanted};
use std::time::Instant;

impl Node {
    /// An MPD, whole, under one key however it was asked for.
    pub(super) async fn mpd(
        &self,
        request: &Request,
        target: &Target<'_>,
        deadline: Instant,
    ) -> Result<Reply, Refusal> {
        let key = target.live_key();
        let class = Class::Mpd;
        let wanted = Wanted { key: &key, url: &key, class, passed: &request.passed, promise: None };
        let (found, lookup) = self.store.get(&wanted, After::Keep).await?;
        self.metrics.looked_up(class, lookup);
        match self.ready(&wanted, found, lookup, (deadline, true)).await? {
            (Ready::Whole(object), note) => {
                let body = conditions::of_whole(request, object.in_coding(request.codings.best()))?;
                Ok(Reply { class, body, note, held: None, rest: None })
            }
            // What is to be whole is not given as it grows.
            (Ready::Growing(..), _) => Err(Refusal::UpstreamBroken),
        }
    }

    /// What tells the time is never kept: only whoever asks while upstream is asked shares its answer.
    pub(super) async fn moment(
        &self,
        request: &Request,
        target: &Target<'_>,
        deadline: Instant,
    ) -> Result<Reply, Refusal> {
        let (key, class) = (target.whole_key(), Class::Other);
        let wanted = Wanted { key: &key, url: &key, class, passed: &request.passed, promise: None };
        let (found, lookup) = self.store.get(&wanted, After::Pass).await?;
        self.metrics.looked_up(class, lookup);
        match self.ready(&wanted, found, lookup, (deadline, true)).await? {
            (Ready::Whole(object), note) => {
                Ok(Reply { class, body: conditions::of_whole(request, object)?, note, held: None, rest: None })
            }
            (Ready::Growing(..), _) => Err(Refusal::UpstreamBroken),
        }
    }
}
