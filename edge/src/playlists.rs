//! The renditions that this node follows: one task each, owned by no viewer, and what viewers see of them.

use crate::cache_status::Notes;
use crate::key::{Class, Target};
use crate::metrics::{Bound, Lookup, PlaylistNews};
use crate::object::{Head, Object};
use crate::refusal::Refusal;
use crate::store::{After, Found, Offer, Offered, Store, Wanted};
use crate::subscription::{Standing, Subscription, Viewers};
use crate::upstream::{Passed, PeerId};
use crate::variants::Variants;
use bytes::Bytes;
use manifest::delta::{DateRanges, Full, Recent};
use manifest::follow::{self, Followed as Read, Media};
use manifest::{Verdict, Wait};
use parking_lot::RwLock;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub mod account;
mod follower;
mod release;
mod version;
mod written;

use account::Account;
use follower::Follower;
use release::{BATCH, Waiting};
pub use release::{Left, Line, Outlet};
pub use version::{Spelling, Version};
use written::Written;

/// All renditions followed.
pub struct Playlists {
    store: Arc<Store>,
    limits: Limits,
    followed: RwLock<Followed>,
    notes: Arc<Notes>,
    departing: CancellationToken,
    written: Written,
}

struct Followed {
    by_key: HashMap<Arc<str>, Arc<Rendition>>,
    variants: Variants,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    idle: Duration,
    subscriptions_max: usize,
}

/// One rendition followed: what its task shows, and what viewers leave for it to see.
pub struct Rendition {
    pub key: Arc<str>,
    shown: watch::Sender<Shown>,
    pub waiting: Waiting,
    held: AtomicUsize,
    /// Milliseconds since `started` at which a viewer last asked, and last asked for a part.
    asked_ms: AtomicU64,
    parts_asked_ms: AtomicU64,
    started: Instant,
    pub account: Account,
    /// It is followed no longer.
    stop: CancellationToken,
}

/// What a viewer sees.
#[derive(Clone)]
pub struct Shown {
    pub standing: Standing,
    pub version: Arc<Version>,
    pub over: Option<Over>,
}

/// Why a rendition is not followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nobody asked, or it has ended: whoever asks now begins again.
    Stopped,
    /// Upstream does not have it any more.
    Gone,
}

/// How a viewer is let into a playlist.
pub enum Opened {
    Followed(Arc<Rendition>),
    /// It is not followed: a multivariant or finished playlist, an error, or nothing that can be read.
    Object(Found, Lookup),
}

/// A longer text is no live playlist: three hours of parts stay below.
pub const PLAYLIST_BYTES_MAX: u64 = 8 << 20;
/// What is served under the name of a playlist and cannot be read as one is not kept longer.
const UNREADABLE: Duration = Duration::from_secs(1);

impl Playlists {
    /// `departing` is cancelled when each answer is to be the last of its connection.
    pub fn new(store: Arc<Store>, config: &config::Edge, departing: CancellationToken) -> Self {
        let limits = Limits { idle: config.subscription_idle, subscriptions_max: config.subscriptions_max };
        let notes = Arc::new(Notes::new(&config.name));
        let written = Written::new(config.subscriptions_max);
        let followed = Followed { by_key: HashMap::new(), variants: Variants::new(config.subscriptions_per_path_max) };
        Self { store, limits, followed: RwLock::new(followed), notes, departing, written }
    }

    /// The key of a playlist: neither who asks nor what for splits it, but where upstream tells playlists apart by such an
    /// argument.
    pub fn key<'a>(&self, target: &Target<'a>) -> Cow<'a, str> {
        let key = target.live_key();
        if self.written.are_apart(&key) { target.whole_key() } else { key }
    }

    /// What a playlist is asked for as upstream.
    pub fn url(&self, key: &Arc<str>) -> Arc<str> {
        self.written.url(key).unwrap_or_else(|| key.clone())
    }

    /// Every rendition that is followed now.
    pub fn all(&self) -> Vec<Arc<Rendition>> {
        self.followed.read().by_key.values().cloned().collect()
    }

    pub fn followed(&self, key: &str) -> Option<Arc<Rendition>> {
        self.followed.read().by_key.get(key).cloned()
    }

    /// Finds the rendition, or asks upstream what is behind the key: one request, whoever asks.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn open(self: &Arc<Self>, key: &str, passed: &Passed) -> Result<Opened, Refusal> {
        if let Some(rendition) = self.followed(key) {
            return Ok(Opened::Followed(rendition));
        }
        let written = self.written.url(key);
        let url = written.as_deref().unwrap_or(key);
        let wanted = Wanted { key, url, class: Class::Playlist, passed, promise: None };
        let (found, lookup) = self.store.get(&wanted, After::Offer(self.offer(key, passed))).await?;
        if let Found::Growing(fill, place) = &found {
            // A playlist is answered whole or not at all.
            fill.end(*place).await;
        }
        Ok(match self.followed(key) {
            Some(rendition) => Opened::Followed(rendition),
            None => Opened::Object(found, lookup),
        })
    }

    fn offer(self: &Arc<Self>, key: &str, passed: &Passed) -> Offer {
        let (key, passed) = (Arc::<str>::from(key), passed.clone());
        let (here, there) = ((self.clone(), key.clone()), self.clone());
        Offer {
            taken: Box::new(move || here.0.followed(&here.1).is_some()),
            take: Box::new(move |object: &Object, source| there.offered(key, object, source, passed)),
        }
    }

    /// The first answer to a playlist request decides: a live media playlist is followed from here on.
    fn offered(self: &Arc<Self>, key: Arc<str>, object: &Object, source: PeerId, passed: Passed) -> Offered {
        let whole_life = Offered::Cache { at_most: None };
        let Some((text, media)) = read(&object.chunks, object.length) else {
            return if self.multivariant(&key, object) {
                whole_life
            } else {
                Offered::Cache { at_most: Some(UNREADABLE) }
            };
        };
        // What is private stays so. Of storing alone nothing is heeded: what is shown of it is this node's own answer.
        if media.head.ended || object.head.is_not_to_be_followed() {
            return whole_life;
        }
        let (text, lifetime) = (Text::Whole(text), object.head.lifetime());
        let first = First { text, media, lifetime, head: object.head.clone() };
        if self.follow(key, first, source, passed) {
            Offered::Taken
        } else {
            Offered::Cache { at_most: Some(UNREADABLE) }
        }
    }

    /// Learns how upstream writes the playlists of a multivariant one; `false` if it is none.
    fn multivariant(&self, key: &str, object: &Object) -> bool {
        let text = text(&object.chunks, object.length);
        let read = text.and_then(|text| follow::read(std::str::from_utf8(&text).ok()?).ok());
        let multivariant = matches!(&read, Some(Read::Multivariant(_)));
        if let Some(Read::Multivariant(multivariant)) = read {
            self.written.learn(key, &multivariant.playlists, object.head.is_for_one());
        } else {
            self.store.metrics.followed(PlaylistNews::Unreadable);
            if object.length > PLAYLIST_BYTES_MAX {
                self.store.metrics.bit(Bound::PlaylistBytes);
            }
        }
        multivariant
    }

    fn follow(self: &Arc<Self>, key: Arc<str>, first: First, source: PeerId, passed: Passed) -> bool {
        let now = Instant::now();
        let mut followed = self.followed.write();
        if self.store.stop.is_cancelled() {
            return false;
        }
        let full = match followed.variants.have_room_for(&key) {
            _ if followed.by_key.len() >= self.limits.subscriptions_max => Some(Bound::Subscriptions),
            true => None,
            false => {
                if let Some(double) = followed.double(&key, &first.media) {
                    tracing::info!(rendition = %double.key, "makes room for another playlist of its path");
                    double.stop.cancel();
                }
                Some(Bound::Variants)
            }
        };
        if let Some(bound) = full {
            self.store.metrics.bit(bound);
            return false;
        }
        let rules = Subscription::new(&first.media, first.lifetime, source, self.limits.idle, now);
        let account = Account::default();
        drop(account.ask());
        account.shown(source, first.media.part_target_s, Duration::ZERO);
        let mut dates = DateRanges::default();
        let recent = first.recent(&mut dates, now);
        let told = (&self.store.metrics, &account.releases);
        let version = Arc::new(Version::new(&first, recent, rules.standing(), now, told));
        let (shown, _) = watch::channel(Shown { standing: rules.standing(), version, over: None });
        let rendition = Arc::new(Rendition {
            key: key.clone(),
            shown,
            waiting: Waiting::default(),
            held: AtomicUsize::new(0),
            asked_ms: AtomicU64::new(0),
            parts_asked_ms: AtomicU64::new(NEVER),
            started: now,
            account,
            stop: self.store.stop.child_token(),
        });
        followed.variants.add(&key);
        followed.by_key.insert(key, rendition.clone());
        self.store.metrics.subscriptions.inc();
        let follower = Follower::new(self.clone(), rendition, (rules, dates), passed);
        self.store.tasks.spawn(follower.run(first));
        true
    }

    /// Releases those who left their outlets and whom what is shown now answers. Batches are tasks, so that all threads
    /// take part and nobody else waits for the whole crowd.
    fn release(&self, rendition: &Rendition) {
        if self.departing.is_cancelled() {
            return rendition.waiting.let_go();
        }
        let shown = rendition.look();
        let mut released = rendition.waiting.take(shown.standing, Instant::now());
        while !released.is_empty() {
            let batch = released.split_off(released.len().saturating_sub(BATCH));
            let (shown, notes) = (shown.clone(), self.notes.clone());
            self.store.tasks.spawn(async move { release::write(batch, &shown, &notes).await });
        }
    }

    /// Takes the rendition off the list if still nobody is interested; from then on viewers begin again.
    fn leave(&self, rendition: &Rendition, force: bool, idle: impl Fn(Viewers) -> bool) -> bool {
        let mut followed = self.followed.write();
        if !force && !idle(rendition.viewers()) {
            return false;
        }
        if followed.by_key.remove(&rendition.key).is_some() {
            followed.variants.remove(&rendition.key);
        }
        self.store.metrics.subscriptions.dec();
        true
    }
}

impl Followed {
    /// Of the variants of a path, the one that is to make room for `key`: it names what another of them names too, so its
    /// query was made up or means nothing upstream. None, if that is so of `key` itself, if it writes the path in another way,
    /// or if one is about to go.
    fn double(&self, key: &str, media: &Media) -> Option<Arc<Rendition>> {
        let (variants, plain) = self.variants.beside(key);
        let variants: Vec<_> = variants.iter().filter_map(|key| self.by_key.get(&**key)).collect();
        let all: Vec<_> = variants.iter().copied().chain(self.by_key.get(&*plain)).collect();
        let named: HashSet<Arc<str>> = named(key, media).into_iter().map(|object| object.key).collect();
        let newest = |rendition: &Rendition| rendition.account.facts.lock().newest.clone();
        let is_new = !all.iter().any(|known| newest(known).is_some_and(|newest| named.contains(&newest)));
        if !is_new || key.split('?').next() != Some(&*plain) || variants.iter().any(|known| known.stop.is_cancelled()) {
            return None;
        }
        let is_double = |one: &&Arc<Rendition>| {
            let others = all.iter().filter(|other| !Arc::ptr_eq(one, other));
            newest(one)
                .is_some_and(|newest| others.into_iter().any(|other| other.account.names.lock().contains(&newest)))
        };
        let viewers = |rendition: &Rendition| (rendition.viewers().held, rendition.viewers().last_asked);
        variants.iter().copied().filter(is_double).min_by_key(|double| viewers(double)).cloned()
    }
}

impl Rendition {
    /// What is shown now, for an answer at once.
    pub fn look(&self) -> Shown {
        self.shown.borrow().clone()
    }

    /// What is shown now and next, for a hold.
    pub fn watch(&self) -> watch::Receiver<Shown> {
        self.shown.subscribe()
    }

    /// A viewer asked, perhaps by part: then it takes parts, which are worth fetching ahead.
    pub fn asked(&self, by_part: bool) {
        let now = self.since_start();
        self.asked_ms.store(now, Ordering::Relaxed);
        if by_part {
            self.parts_asked_ms.store(now, Ordering::Relaxed);
        }
    }

    pub fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// The end of a hold is interest too: its viewer will ask again.
    pub fn unhold(&self) {
        self.asked(false);
        self.held.fetch_sub(1, Ordering::Relaxed);
    }

    /// Who is interested.
    pub fn viewers(&self) -> Viewers {
        let last_asked = self.started + Duration::from_millis(self.asked_ms.load(Ordering::Relaxed));
        Viewers { last_asked, held: self.held.load(Ordering::Relaxed) }
    }

    fn takes_parts(&self, within: Duration) -> bool {
        let asked = self.parts_asked_ms.load(Ordering::Relaxed);
        asked != NEVER && self.since_start().saturating_sub(asked) <= within.as_millis() as u64
    }

    fn since_start(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// No viewer has asked for a part yet.
const NEVER: u64 = u64::MAX;

/// Whether a playlist that is not followed answers a blocking request: as finished ones, and those that cannot block, do.
/// A live one is not followed only where this node may not follow more, and then it cannot hold.
pub fn answers_now(object: &Object, wait: Option<Wait>) -> bool {
    let Some((_, media)) = read(&object.chunks, object.length) else { return true };
    !media.can_block_reload || media.head.admit(wait, 0) == Verdict::Now
}

/// An answer of upstream that can be followed.
struct First {
    text: Text,
    media: Media,
    lifetime: Option<Duration>,
    head: Arc<Head>,
}

/// A playlist as it came: whole, or what is new in it and how the whole is put together.
#[derive(Clone)]
enum Text {
    Whole(String),
    Update { delta: String, full: Full },
}

impl First {
    /// What of its date ranges updates need not say; `None` where that is not known.
    fn recent(&self, dates: &mut DateRanges, now: Instant) -> Option<Recent> {
        let listed = match &self.text {
            Text::Whole(text) => text,
            Text::Update { delta, .. } => delta,
        };
        dates.see(listed, self.media.can_skip_until_s?, now)
    }
}

/// Reads a media playlist; `None` for anything else.
fn read(chunks: &[Bytes], length: u64) -> Option<(String, Media)> {
    let text = String::from_utf8(text(chunks, length)?).ok()?;
    match follow::read(&text) {
        Ok(Read::Media(media)) => Some((text, media)),
        Ok(Read::Multivariant(_)) | Err(_) => None,
    }
}

fn text(chunks: &[Bytes], length: u64) -> Option<Vec<u8>> {
    (length <= PLAYLIST_BYTES_MAX).then(|| chunks.concat())
}

/// An object that a playlist names.
struct Named {
    key: Arc<str>,
    url: Arc<str>,
    class: Class,
    hint: bool,
    /// How many bytes it has at least.
    bytes_min: u64,
}

impl Named {
    /// What it is asked for as, where that is not its key.
    fn spelling(&self) -> Option<Arc<str>> {
        (self.url != self.key).then(|| self.url.clone())
    }
}

/// The keys of references in the playlist at `key`.
fn keys(key: &str, references: &[String]) -> impl Iterator<Item = Arc<str>> {
    written::uris(key, references.iter().map(String::as_str)).into_values().map(|(key, _)| key)
}

/// What a playlist names; what is on another host is none of ours.
fn named(key: &str, media: &Media) -> Vec<Named> {
    let uris = written::uris(key, media.objects.iter().map(|object| object.uri.as_str()));
    let named = media.objects.iter().filter_map(|object| {
        let (key, url) = uris.get(object.uri.as_str()).map(|(key, url)| (key.clone(), url.clone()))?;
        let class = match object.class {
            follow::Class::Init => Class::Init,
            follow::Class::Segment => Class::Segment,
            follow::Class::Part | follow::Class::Hint => Class::Part,
        };
        Some(Named { key, url, class, hint: object.class == follow::Class::Hint, bytes_min: object.bytes_min })
    });
    named.collect()
}
