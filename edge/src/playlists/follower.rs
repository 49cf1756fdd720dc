//! The task that follows one rendition: it does what the rules say, shows what came, and fetches ahead.

use super::account::What;
use super::{First, Named, Over, PLAYLIST_BYTES_MAX, Playlists, Rendition, Shown, Text, Version, keys, named, read};
use crate::key::{Class, epoch};
use crate::live;
use crate::metrics::{PlaylistNews, Second};
use crate::object::Head;
use crate::refusal::Refusal;
use crate::store::Wanted;
use crate::subscription::{Ask, Brought, Effect, Heard, Step, Subscription, Viewers, without_parts};
use crate::upstream::{Errand, Passed, PeerId, Promise, Verdict};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use manifest::delta::{Change, DateRanges, Replica, Update};
use manifest::follow::Media;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout};

pub(super) struct Follower {
    playlists: Arc<Playlists>,
    rendition: Arc<Rendition>,
    rules: Subscription,
    /// Of the first request: which nodes have had it before this one.
    passed: Passed,
    /// The part that the last version hinted at.
    hinted: Option<Arc<str>>,
    /// What was shown last, as it came.
    last: Text,
    /// What that listed.
    listed: HashSet<Arc<str>>,
    whole: Option<Whole>,
    /// Of every version that was shown.
    dates: DateRanges,
}

/// The last playlist that an upstream gave, where it gives Delta Updates of it.
struct Whole {
    source: PeerId,
    replica: Replica,
    /// 6.3.7: a copy must be younger than half the Skip Boundary to be brought up to date.
    until: Instant,
}

/// What one upstream said to one request.
struct Told {
    source: PeerId,
    ask: Ask,
    said: Said,
}

enum Said {
    Playlist(Came),
    Missing,
    Failed { retry_after: Option<Duration> },
}

/// A playlist as it came.
struct Came {
    news: News,
    lifetime: Option<Duration>,
    head: Arc<Head>,
}

enum News {
    Whole(String, Media),
    /// Of [`Whole`].
    Update(Box<Update>),
}

impl Follower {
    pub(super) fn new(
        playlists: Arc<Playlists>,
        rendition: Arc<Rendition>,
        (rules, dates): (Subscription, DateRanges),
        passed: Passed,
    ) -> Self {
        // The trace of whoever came first says nothing about what is asked on behalf of all.
        let passed = Passed { traceparent: None, ..passed };
        let (last, listed) = (Text::Whole(String::new()), HashSet::new());
        Self { playlists, rendition, rules, passed, hinted: None, last, listed, whole: None, dates }
    }

    pub(super) async fn run(mut self, first: First) {
        tracing::info!(rendition = %self.rendition.key, "following");
        self.disown(&first, false).await;
        self.name(&first, None, self.rules.shown());
        self.whole = Whole::of(&first, self.rules.shown(), Instant::now());
        self.last = first.text;
        let stop = self.rendition.stop.clone();
        let over = tokio::select! {
            over = self.follow() => over,
            () = stop.cancelled() => {
                self.playlists.leave(&self.rendition, true, |_| true);
                Over::Stopped
            }
        };
        let gone_at = Instant::now() + self.rules.standing().linger();
        self.playlists.store.live.name(&mut self.rendition.account.names.lock(), [], gone_at);
        self.rendition.shown.send_modify(|shown| shown.over = Some(over));
        self.rendition.waiting.let_go();
        tracing::info!(rendition = %self.rendition.key, ?over, "following ended");
    }

    async fn follow(&mut self) -> Over {
        loop {
            match self.rules.step(self.rendition.viewers(), Instant::now()) {
                Step::WaitUntil(until) => sleep_until(until.into()).await,
                Step::Stop => {
                    let (rules, force) = (&self.rules, self.rules.standing().head.ended);
                    if self.playlists.leave(&self.rendition, force, |viewers| rules.is_idle(viewers, Instant::now())) {
                        return Over::Stopped;
                    }
                }
                Step::Ask(ask) => {
                    let Some(told) = self.ask(ask).await else { continue };
                    let told = self.unless_another_goes_on(told).await;
                    if self.take(told).await == Effect::Gone {
                        self.playlists.leave(&self.rendition, true, |_| true);
                        return Over::Gone;
                    }
                }
            }
        }
    }

    /// Asks upstream; `None` if everybody left meanwhile.
    async fn ask(&mut self, ask: Ask) -> Option<Told> {
        let upstreams = &self.playlists.store.upstreams;
        let home = upstreams.home(&self.rendition.key);
        let from = self.rules.source(home, Instant::now());
        let order = upstreams.order(&self.rendition.key, Some(from));
        let asking = self.fetch(ask, &order);
        tokio::pin!(asking);
        loop {
            let viewers: Viewers = self.rendition.viewers();
            // While somebody is held there is nothing to look at before the hold can have ended.
            let look_again = match viewers.held {
                0 => self.rules.idle_at(viewers),
                _ => Instant::now() + LOOK_AGAIN,
            };
            tokio::select! {
                told = &mut asking => return Some(told),
                () = sleep_until(look_again.into()) => {
                    if self.rules.is_idle(self.rendition.viewers(), Instant::now()) {
                        return None;
                    }
                }
            }
        }
    }

    async fn fetch(&self, ask: Ask, order: &[PeerId]) -> Told {
        let attempt = |source| {
            let ask = self.rules.ask_of(ask, source);
            async move { Told { source, ask, said: self.fetch_from(source, ask).await } }
        };
        let judge = |told: &Told| match &told.said {
            Said::Playlist(came) if self.rules.is_news(told.ask, came.media(), told.source, Instant::now()) => {
                Verdict::Good
            }
            Said::Playlist(_) => Verdict::Bad(Second::Late),
            Said::Missing => Verdict::Bad(Second::Missing),
            Said::Failed { .. } => Verdict::Bad(Second::Failed),
        };
        let late = Some(self.rules.late(Instant::now()));
        let told = self.playlists.store.upstreams.first_good(order, late, attempt, judge).await;
        told.unwrap_or_else(|| Told { source: order[0], ask, said: Said::Failed { retry_after: None } })
    }

    async fn fetch_from(&self, source: PeerId, ask: Ask) -> Said {
        let store = &self.playlists.store;
        let account = &self.rendition.account;
        let _counted = account.ask();
        let failed = |refusal: Refusal| {
            tracing::warn!(rendition = %self.rendition.key, %refusal, "upstream failed");
            account.went_wrong(source, What::Refused(refusal));
            Said::Failed { retry_after: None }
        };
        let whole = self.whole.as_ref().filter(|whole| whole.source == source && Instant::now() < whole.until);
        let target = ask.target(&self.playlists.url(&self.rendition.key), whole.is_some());
        let (class, passed) = (Class::Playlist, &self.passed);
        let errand = Errand { target: &target, class, passed, promise: None, fields: &[], requests: None };
        let mut answer = match store.upstreams.ask(source, &errand).await {
            Ok(answer) => answer,
            Err(refusal) => return failed(refusal),
        };
        let status = answer.status.as_u16();
        let chunks = match answer.body(PLAYLIST_BYTES_MAX).await {
            Ok(chunks) => chunks,
            Err(refusal) => return failed(refusal),
        };
        match status {
            200 => {
                let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                let (rules, now) = (&store.rules, Instant::now());
                let mut head = Head::from_upstream(rules, answer.status, &answer.headers, Class::Playlist, now);
                head.source = Some(source);
                if head.is_not_to_be_followed() {
                    tracing::warn!(rendition = %self.rendition.key, "upstream's playlist has become private");
                    account.went_wrong(source, What::Private);
                    return Said::Missing;
                }
                let update = |chunks: &[Bytes]| whole.and_then(|whole| whole.updated(chunks));
                let whole = || read(&chunks, length).map(|(text, media)| News::Whole(text, media));
                let Some(news) = update(&chunks).or_else(whole) else {
                    store.metrics.followed(PlaylistNews::Unreadable);
                    tracing::warn!(rendition = %self.rendition.key, length, "upstream's playlist cannot be read");
                    account.went_wrong(source, What::Unreadable);
                    return Said::Failed { retry_after: None };
                };
                Said::Playlist(Came { news, lifetime: head.lifetime(), head: Arc::new(head) })
            }
            404 | 410 => {
                account.went_wrong(source, What::Status(status));
                Said::Missing
            }
            _ => {
                account.went_wrong(source, What::Status(status));
                let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                tracing::debug!(rendition = %self.rendition.key, status, ?ask, "upstream has nothing new");
                Said::Failed { retry_after: seconds.map(Duration::from_secs) }
            }
        }
    }

    /// A stream has ended once no upstream has more of it: its encoder may have left only one of them.
    async fn unless_another_goes_on(&self, told: Told) -> Told {
        let end = match &told.said {
            Said::Playlist(came) if came.media().head.ended => came.media().head.next,
            _ => return told,
        };
        let upstreams = &self.playlists.store.upstreams;
        for source in upstreams.order(&self.rendition.key, None).into_iter().filter(|id| *id != told.source) {
            let ask = Ask::default();
            let Ok(said) = timeout(GOES_ON, self.fetch_from(source, ask)).await else { continue };
            if let Said::Playlist(came) = &said
                && !came.media().head.ended
                && came.media().head.next > end
            {
                tracing::info!(rendition = %self.rendition.key, "one upstream has ended; another goes on");
                return Told { source, ask, said };
            }
        }
        told
    }

    async fn take(&mut self, told: Told) -> Effect {
        let Told { source, ask, said } = told;
        let now = Instant::now();
        let heard = match &said {
            Said::Playlist(came) => Heard::Playlist(Brought { media: came.media(), lifetime: came.lifetime, source }),
            Said::Missing => Heard::Missing,
            Said::Failed { retry_after } => Heard::Failed { retry_after: *retry_after },
        };
        let lives = self.rules.lives();
        let effect = self.rules.heard(ask, heard, now);
        let began_anew = self.rules.lives() > lives;
        let metrics = &self.playlists.store.metrics;
        match (effect, said) {
            (Effect::Publish, Said::Playlist(came)) => {
                if let Some((first, change)) = self.first(came, source, now) {
                    self.publish(first, change, (source, now), began_anew).await;
                }
            }
            (Effect::Backwards, _) => {
                metrics.followed(PlaylistNews::Backwards);
                self.rendition.account.went_wrong(source, What::Backwards);
                tracing::warn!(rendition = %self.rendition.key, "upstream's playlist went backwards; kept the newer one");
                self.stand();
            }
            (Effect::OtherCut, _) => {
                metrics.followed(PlaylistNews::OtherCut);
                self.rendition.account.went_wrong(source, What::OtherCut);
                tracing::info!(rendition = %self.rendition.key, "another upstream will go on after this segment");
                self.stand();
            }
            _ => self.stand(),
        }
        effect
    }

    /// What is to be shown of what came, and what has changed in it, where it is an update.
    /// `None` for an update of nothing, which nobody reads.
    fn first(&mut self, came: Came, source: PeerId, now: Instant) -> Option<(First, Option<Change>)> {
        let Came { news, lifetime, head } = came;
        let (first, change) = match news {
            News::Update(update) => {
                let whole = self.whole.as_mut()?;
                let mut change = whole.replica.apply(&update);
                let Update { text: delta, media, .. } = *update;
                let full = std::mem::take(&mut change.full);
                let first = First { text: Text::Update { delta, full }, media, lifetime, head };
                whole.until = whole_until(&first.media, now).unwrap_or(now);
                (first, Some(change))
            }
            News::Whole(text, media) => {
                let first = First { text: Text::Whole(text), media, lifetime, head };
                self.whole = Whole::of(&first, source, now);
                (first, None)
            }
        };
        Some(match self.rules.hidden() {
            Some(hidden) => (first.hiding(hidden), None),
            None => (first, change),
        })
    }

    /// Shows a playlist: every hold that it satisfies is released by this one change.
    async fn publish(
        &mut self,
        first: First,
        change: Option<Change>,
        (source, arrived): (PeerId, Instant),
        began_anew: bool,
    ) {
        let store = self.playlists.store.clone();
        let standing = self.rules.standing();
        if first.text.as_it_came() == self.last.as_it_came() {
            store.metrics.followed(PlaylistNews::Same);
            self.stand();
            return;
        }
        if self.rules.lives() > 0 {
            self.disown(&first, began_anew).await;
        }
        let recent = first.recent(&mut self.dates, arrived);
        let account = &self.rendition.account;
        account.shown(source, first.media.part_target_s, self.rendition.started.elapsed());
        let told = (&store.metrics, &account.releases);
        let version = Arc::new(Version::new(&first, recent, standing, arrived, told));
        if first.media.objects.iter().any(|object| object.bytes_min > 0) {
            // Before viewers learn of the bytes that are new.
            let named = named(&self.rendition.key, &first.media);
            store.live.outgrown(named.iter().map(|named| (&*named.key, named.bytes_min)));
        }
        self.rendition.shown.send_replace(Shown { standing, version, over: None });
        self.playlists.release(&self.rendition);
        store.metrics.followed(PlaylistNews::Newer);
        let ahead = self.name(&first, change, source);
        if standing.blocks && self.rendition.takes_parts(standing.linger()) {
            for (promise, Named { key, url, class, .. }) in ahead {
                let wanted = Wanted { key: &key, url: &url, class, passed: &self.passed, promise: Some(promise) };
                store.prefetch(&wanted).await;
            }
        }
        self.last = first.text;
    }

    /// What a playlist takes up anew stands for nothing that was fetched before: an origin that is started again may begin
    /// with the names of its last life. Names with an epoch in them are never given twice.
    async fn disown(&self, first: &First, began_anew: bool) {
        let store = &self.playlists.store;
        if began_anew {
            tracing::warn!(rendition = %self.rendition.key, "the playlist began anew");
        }
        let keys: Vec<Arc<str>> = {
            let names = self.rendition.account.names.lock();
            let taken_up = |key: &Arc<str>| began_anew || !(names.contains(key) || store.live.is_named(key));
            let keys = named(&self.rendition.key, &first.media).into_iter().map(|object| object.key);
            keys.filter(|key| epoch(key).is_none() && taken_up(key)).collect()
        };
        if !keys.is_empty() {
            store.disown(&keys).await;
        }
    }

    /// Shows how things stand, if that changed, with the playlist that is shown already.
    fn stand(&self) {
        let standing = self.rules.standing();
        let changed = self.rendition.shown.send_if_modified(|shown| {
            let changed = shown.standing != standing;
            shown.standing = standing;
            changed
        });
        if changed {
            self.playlists.release(&self.rendition);
        }
    }

    /// Tells the live window what is named now; returns what viewers will ask for next: new parts, the
    /// hinted one, inits.
    fn name(&mut self, first: &First, change: Option<Change>, source: PeerId) -> Vec<(Promise, Named)> {
        let named = named(&self.rendition.key, &first.media);
        let late = self.rules.late(Instant::now());
        let promise =
            |object: &Named| Promise { class: object.class, source, late: object.hint.then_some(late), due: None };
        let said = |object: &Named| live::Named { promise: promise(object), url: object.spelling() };
        let now_named = named.iter().map(|object| (object.key.clone(), said(object)));
        let gone_at = Instant::now() + self.rules.standing().linger();
        let account = &self.rendition.account;
        let live = &self.playlists.store.live;
        let listed: HashSet<Arc<str>> = named.iter().map(|object| object.key.clone()).collect();
        let listed_before = std::mem::replace(&mut self.listed, listed);
        let new = match change {
            None => live.name(&mut account.names.lock(), now_named, gone_at),
            Some(Change { settled, left, .. }) => {
                let settled: HashSet<Arc<str>> = keys(&self.rendition.key, &settled).collect();
                let is_gone = |key: &Arc<str>| !self.listed.contains(key) && !settled.contains(key);
                let gone = listed_before.into_iter().filter(is_gone).chain(keys(&self.rendition.key, &left));
                live.rename(&mut account.names.lock(), gone, now_named, gone_at)
            }
        };
        account.facts.lock().newest = named.last().map(|object| object.key.clone());
        // An origin that does not hold requests for a hint had nothing to give before; now it has.
        let came_true = std::mem::take(&mut self.hinted);
        self.hinted = named.iter().rev().find(|object| object.hint).map(|object| object.key.clone());
        let wanted = |object: &Named| {
            matches!(object.class, Class::Part | Class::Init)
                && (new.contains(&object.key) || (!object.hint && came_true.as_ref() == Some(&object.key)))
        };
        let promised = |object: Named| (promise(&object), object);
        named.into_iter().filter(wanted).map(promised).collect()
    }
}

impl Came {
    fn media(&self) -> &Media {
        match &self.news {
            News::Whole(_, media) => media,
            News::Update(update) => &update.media,
        }
    }
}

impl First {
    /// The same without the parts of segments up to `hidden`: players may have begun these with other bytes.
    fn hiding(self, hidden: u64) -> Self {
        let text = without_parts(&self.text.whole(), self.media.first_msn, hidden);
        match read(&[Bytes::from(text)], 0) {
            Some((text, media)) => Self { text: Text::Whole(text), media, ..self },
            None => self,
        }
    }
}

impl Text {
    fn as_it_came(&self) -> &str {
        match self {
            Self::Whole(text) => text,
            Self::Update { delta, .. } => delta,
        }
    }

    fn whole(&self) -> Cow<'_, str> {
        match self {
            Self::Whole(text) => Cow::Borrowed(text),
            Self::Update { full, .. } => Cow::Owned(full.text()),
        }
    }
}

impl Whole {
    fn of(first: &First, source: PeerId, now: Instant) -> Option<Self> {
        let until = whole_until(&first.media, now)?;
        let text = first.text.as_it_came();
        let worth_it = text.len() >= WORTH_SKIPPING && are_plain(&first.media);
        let replica = worth_it.then(|| Replica::of(text)).flatten()?;
        Some(Self { source, replica, until })
    }

    /// What a Delta Update brings; `None` if this is none, or does not fit: then the whole playlist is asked for.
    fn updated(&self, chunks: &[Bytes]) -> Option<News> {
        let update = self.replica.read(std::str::from_utf8(&chunks.concat()).ok()?)?;
        let fits = are_plain(&update.media) && self.replica.length(&update) as u64 <= PLAYLIST_BYTES_MAX;
        fits.then(|| News::Update(Box::new(update)))
    }
}

/// With arguments in them, the names of one playlist can only be told apart together.
fn are_plain(media: &Media) -> bool {
    media.objects.iter().all(|object| !object.uri.contains('?'))
}

/// How long a copy may be brought up to date.
fn whole_until(media: &Media, now: Instant) -> Option<Instant> {
    Some(now + Duration::try_from_secs_f64(media.can_skip_until_s? / 2.0).ok()?)
}

/// A playlist that is shorter is asked for whole, in bytes: most are, and what is simple is always right.
const WORTH_SKIPPING: usize = 16 << 10;
/// Whoever is asked whether a stream goes on is well, or another is believed.
const GOES_ON: Duration = Duration::from_secs(1);
/// How often a request upstream that viewers wait for is checked for viewers who all left.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
