//! From a request to its reply, whatever transport it came by: the edge's one decision tree.

use crate::access::clients::{Clients, Taken};
use crate::access::{Countries, Gate};
use crate::access_log::AccessLog;
use crate::cache_status::{Note, Notes};
use crate::client::Client;
use crate::coding::Coding;
use crate::conditions;
use crate::connection::Limits;
use crate::departure::Departure;
use crate::fill::{self, Fill, Opening, Outcome, Place};
use crate::key::{Class, Target, normalized};
use crate::live::{Known, Named};
use crate::metrics::{Bound, HoldEnd, Lookup, Metrics};
use crate::moment::Moment;
use crate::object::{Head, Object};
use crate::playlists::{Left, Line, Opened, Over, Playlists, Rendition, Shown, Spelling, Version, answers_now};
use crate::qoe::Qoe;
use crate::qoe::tcp_info::Probe;
use crate::range::{Growing, Range, Slice, Window};
use crate::refusal::Refusal;
use crate::reply::{Aside, Body, Reply};
use crate::request::{CMCD_PAGE, Method, PURGE_PAGE, Request};
use crate::steer::Steering;
use crate::store::pieces::{Pieces, Reader};
use crate::store::{After, Found, Store, Wanted};
use crate::subscription::Decision;
use bytes::Bytes;
use geo::Geo;
use manifest::{Directives, Rfc3339, Wait};
use prometheus::{Registry, TextEncoder};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout_at};

mod dash;
mod purging;
mod reports;
mod streams;

/// One node: everything that an answer needs.
pub struct Node {
    pub store: Arc<Store>,
    pub playlists: Arc<Playlists>,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    pub notes: Notes,
    pub qoe: Qoe,
    pub steering: Steering,
    /// Where viewers are.
    pub geo: Arc<Geo>,
    /// `None` where every request may come in.
    gate: Option<Gate>,
    /// `None` where no client is limited.
    pub clients: Option<Clients>,
    pub departure: Departure,
    /// `None` where no request is written down.
    pub log: Option<Arc<AccessLog>>,
    registry: Registry,
    purge_token: Option<String>,
    /// Those who run this node have an address of their own.
    has_admin: bool,
    hold_max: Duration,
    holds_max: usize,
    holds: AtomicUsize,
}

/// A rendition may end and begin again under a request; more often than this it is not the viewer's problem to solve.
const ROUNDS_MAX: usize = 4;

impl Node {
    pub fn new(
        config: &config::Edge,
        store: Arc<Store>,
        geo: Arc<Geo>,
        log: Option<Arc<AccessLog>>,
        registry: Registry,
    ) -> Self {
        let places = geo.clone();
        let locate: Countries = Arc::new(move |address| places.country(address).found());
        let (metrics, departure) = (store.metrics.clone(), Departure::default());
        Self {
            gate: Gate::new(&config.access, locate, store.metrics.clone()),
            clients: Clients::new(&config.access.limits, store.metrics.clone(), Instant::now()),
            playlists: Arc::new(Playlists::new(store.clone(), config, departure.begun.clone())),
            limits: Limits::new(config),
            notes: Notes::new(&config.name),
            qoe: Qoe::new(config),
            steering: Steering::new(config, geo.clone(), metrics.clone(), departure.begun.clone()),
            metrics,
            geo,
            departure,
            log,
            registry,
            purge_token: config.purge.token.clone(),
            has_admin: config.admin.listen.is_some(),
            hold_max: config.hold_max,
            holds_max: config.holds_max,
            holds: AtomicUsize::new(0),
            store,
        }
    }

    /// Answers a request. Dropping the future gives up the viewer's place at once.
    /// What is held may be written to the `line`'s outlet, by HTTP/1.1 and as one of several answers; then the reply says so.
    pub async fn answer(&self, request: &Request, client: Client, now: &Moment, line: &Line) -> Reply {
        let (target, _taken) = match self.enter(request, client, now) {
            Ok(entered) => entered,
            Err(refusal) => return Reply::refusal(Class::Other, refusal),
        };
        let target = match Target::read(&target) {
            Ok(target) => target,
            Err(error) => return Reply::refusal(Class::Other, Refusal::Target(error)),
        };
        let class = target.class;
        if let Err(refusal) = self.is_served(target.path, client) {
            return Reply::refusal(class, refusal);
        }
        match request.method {
            Method::Get | Method::Head => {}
            Method::Options => return Reply { class, body: Body::Preflight, note: Note::Own, held: None, rest: None },
            Method::Post if target.path == PURGE_PAGE => return Box::pin(self.purge(request)).await,
            Method::Post if target.path == CMCD_PAGE => return self.take_reports(request),
            Method::Post | Method::Other => return Reply::refusal(class, Refusal::Method),
            Method::Unknown => return Reply::refusal(class, Refusal::UnknownMethod),
        }
        if let Some(own) = target.path.strip_prefix("/_vivid/") {
            return self.own(own, target.query, now);
        }
        if let Some(list) = &request.passed.cdn_loop
            && let Err(refusal) = self.store.upstreams.cdn_loop().judge(list)
        {
            return Reply::refusal(class, refusal);
        }
        self.count_cmcd(request);
        let deadline = now.instant + self.hold_max;
        let reply = match class {
            Class::Playlist => self.playlist(request, &target, (deadline, line)).await,
            Class::Mpd => Box::pin(self.mpd(request, &target, deadline)).await,
            _ => self.object(request, &target, deadline).await,
        };
        match reply {
            Ok(reply) => self.steering.steer(request, client, reply),
            Err(refusal) => Reply::refusal(class, refusal),
        }
    }

    /// What the answer says beside what it carries.
    pub fn aside(&self, reply: &Reply, probe: &mut Probe) -> Aside<'_> {
        let now = Instant::now();
        let cmsd = self.qoe.entry(reply, probe, now, || self.is_under_duress());
        Aside { notes: &self.notes, cmsd, now }
    }

    /// Whether viewers are better off elsewhere.
    fn is_under_duress(&self) -> bool {
        self.departure.begun.is_cancelled()
            || self.steering.is_full()
            || self.holds.load(Ordering::Relaxed) >= self.holds_max
    }

    /// A client's place among the connections.
    ///
    /// # Errors
    /// `Limited`.
    pub fn connect(&self, client: Client) -> Result<Option<Taken<'_>>, Refusal> {
        match &self.clients {
            Some(clients) if !client.admin => {
                clients.connect(client.address, Instant::now()).map(Some).map_err(Refusal::Limited)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// The target in its normal spelling, and the client's place, if the request may come in.
    fn enter<'r>(
        &self,
        request: &'r Request,
        client: Client,
        now: &Moment,
    ) -> Result<(Cow<'r, str>, Option<Taken<'_>>), Refusal> {
        let target = normalized(request.target());
        if client.admin {
            return Ok((target, None));
        }
        let taken = match &self.clients {
            Some(clients) => Some(clients.ask(client.address, now.instant).map_err(Refusal::Limited)?),
            None => None,
        };
        let Some(gate) = &self.gate else { return Ok((target, taken)) };
        Ok((gate.enter(request, client, target, now.unix_s()).map_err(Refusal::Denied)?, taken))
    }

    /// Whether what lies at `path` is given to whoever came by this client's address.
    fn is_served(&self, path: &str, client: Client) -> Result<(), Refusal> {
        let own = path.strip_prefix("/_vivid/");
        match own {
            None if client.admin => Err(Refusal::NoSuchPage),
            Some("livez" | "readyz" | "load" | "time" | "cmcd") | None => Ok(()),
            Some(_) if client.admin || !self.has_admin => Ok(()),
            Some(_) => Err(Refusal::AdminPage),
        }
    }

    fn own(&self, path: &str, query: &str, now: &Moment) -> Reply {
        let text = |content_type, text: String| Body::Text(content_type, text);
        let body = match path {
            "livez" => text("text/plain; charset=utf-8", "ok\n".to_owned()),
            // Ready means: viewers may be sent here. An upstream that is down is no reason against it: what is stored is
            // served, and a fleet whose nodes all leave because the origin is gone serves nobody.
            "readyz" if !self.departure.begun.is_cancelled() => text("text/plain; charset=utf-8", "ready\n".to_owned()),
            "readyz" => Body::Refusal(Refusal::Draining),
            "metrics" => match TextEncoder::new().encode_to_string(&self.registry.gather()) {
                Ok(metrics) => text("text/plain; version=0.0.4", metrics),
                Err(error) => {
                    tracing::error!(%error, "metrics cannot be rendered");
                    Body::Refusal(Refusal::UpstreamBroken)
                }
            },
            // What players of an MPD set their clocks by, however many they are.
            "time" => text("text/plain; charset=utf-8", Rfc3339(now.unix_ms() as i64).to_string()),
            "load" => text("application/json", self.steering.load_page()),
            "fleet" => text("application/json", self.steering.fleet_page(now.instant)),
            "streams" => self.streams_page(query),
            _ => match path.strip_prefix("streams/") {
                Some(stream) => self.stream_page(stream, now.instant),
                None => Body::Refusal(Refusal::NoSuchPage),
            },
        };
        Reply::own(body)
    }

    async fn playlist(
        &self,
        request: &Request,
        target: &Target<'_>,
        (deadline, line): (Instant, &Line),
    ) -> Result<Reply, Refusal> {
        let key = self.playlists.key(target);
        let directives = Directives::from_query(target.query);
        for _ in 0..ROUNDS_MAX {
            let opened = match self.playlists.followed(&key) {
                Some(rendition) => Opened::Followed(rendition),
                // Boxed, so that only the first viewers of a rendition carry what it takes to open it.
                None => self.in_time(deadline, Box::pin(self.playlists.open(&key, &request.passed))).await??,
            };
            match opened {
                Opened::Followed(rendition) => {
                    let coding = request.codings.best();
                    let followed = self.followed(&rendition, directives, coding, (deadline, line)).await?;
                    let Some(Given { object, note, held, rest }) = followed else { continue };
                    let lookup = if note == Note::Held { Lookup::Collapsed } else { Lookup::Hit };
                    self.metrics.looked_up(Class::Playlist, lookup);
                    let body =
                        if rest.is_some() { Body::Object(object) } else { conditions::of_whole(request, object)? };
                    return Ok(Reply { class: Class::Playlist, body, note, held, rest });
                }
                Opened::Object(found, lookup) => {
                    self.metrics.looked_up(Class::Playlist, lookup);
                    let wanted =
                        Wanted { key: &key, url: &key, class: Class::Playlist, passed: &request.passed, promise: None };
                    let (object, note) = match self.ready(&wanted, found, lookup, (deadline, true)).await? {
                        (Ready::Whole(object), note) => (object, note),
                        // What is to be whole is not given as it grows.
                        (Ready::Growing(..), _) => return Err(Refusal::UpstreamBroken),
                    };
                    let object = object.in_coding(request.codings.best());
                    let wait = directives.ok().and_then(|directives| directives.wait);
                    if wait.is_some() && !answers_now(&object, wait) {
                        return Err(Refusal::SubscriptionsFull);
                    }
                    let body = conditions::of_whole(request, object)?;
                    return Ok(Reply { class: Class::Playlist, body, note, held: None, rest: None });
                }
            }
        }
        Err(Refusal::HoldLate)
    }

    /// Answers from a followed rendition; `None` if it is not followed any more.
    async fn followed(
        &self,
        rendition: &Arc<Rendition>,
        directives: Result<Directives, manifest::DirectiveError>,
        coding: Coding,
        (deadline, line): (Instant, &Line),
    ) -> Result<Option<Given>, Refusal> {
        let shown = rendition.look();
        if shown.over == Some(Over::Gone) {
            return Ok(None);
        }
        // Whoever cannot block does not know the directives: then they are unknown keys, malformed or not.
        let directives = match directives {
            Err(error) if shown.standing.blocks => return Err(Refusal::Directive(error)),
            directives => directives.unwrap_or_default(),
        };
        let wait = directives.wait;
        rendition.asked(matches!(wait, Some(Wait::Part(_))));
        let spelling = Spelling { coding, directed: wait.is_some(), skip: directives.skip };
        let at_once =
            |note| Ok(Some(Given { object: shown.version.answer(spelling).clone(), note, held: None, rest: None }));
        match shown.standing.decide(wait, Instant::now()) {
            Decision::Answer { stale: false } => at_once(Note::Hit),
            Decision::Answer { stale: true } => at_once(Note::Stale),
            Decision::TooFar => Err(Refusal::TooFar),
            Decision::TooStale => Err(Refusal::Stale),
            Decision::Hold if shown.over.is_some() => Ok(None),
            Decision::Hold => {
                let left = rendition.waiting.enter(line, wait, spelling);
                let released = self.hold(rendition, wait, (deadline, line), left).await?;
                Ok(released.map(|(shown, rest)| {
                    let object = shown.version.answer(spelling).clone();
                    Given { object, note: Note::Held, held: Some(shown.version), rest }
                }))
            }
        }
    }

    /// Waits until the position is there; `None` if the rendition is not followed any more. With what is shown then comes
    /// the rest of an answer that was written already.
    async fn hold(
        &self,
        rendition: &Arc<Rendition>,
        wait: Option<Wait>,
        (deadline, line): (Instant, &Line),
        left: Option<Left<'_>>,
    ) -> Result<Option<(Shown, Option<Bytes>)>, Refusal> {
        let mut shown = rendition.watch();
        let mut hold = Hold::enter(self, rendition, left)?;
        // RFC 8216bis, 6.2.5.2: whoever has been held for three target durations should be told 503.
        let linger = shown.borrow().standing.linger();
        let late = sleep_until(deadline.min(Instant::now() + linger).into());
        tokio::pin!(late);
        let ended = loop {
            let (standing, over) = {
                let shown = shown.borrow_and_update();
                (shown.standing, shown.over)
            };
            match standing.decide(wait, Instant::now()) {
                Decision::Answer { .. } => break Ok(Some(shown.borrow().clone())),
                Decision::TooFar => break Err((HoldEnd::Refused, Refusal::TooFar)),
                Decision::TooStale => break Err((HoldEnd::Refused, Refusal::Stale)),
                Decision::Hold if over.is_some() => break Ok(None),
                Decision::Hold => {}
            }
            tokio::select! {
                biased;
                rest = Left::called(&mut hold.left) => match rest {
                    Some(rest) => return Ok(Some(hold.released(shown.borrow().clone(), Some(rest)))),
                    None => hold.left = None,
                },
                () = line.called_back(), if hold.left.is_some() => match Left::taken_back(&mut hold.left).await {
                    Some(rest) => return Ok(Some(hold.released(shown.borrow().clone(), Some(rest)))),
                    None => hold.left = None,
                },
                changed = shown.changed(), if hold.left.is_none() => if changed.is_err() { break Ok(None) },
                () = &mut late => break Err((HoldEnd::Late, Refusal::HoldLate)),
                () = self.departure.overdue.cancelled() => break Err((HoldEnd::Drained, Refusal::Draining)),
            }
        };
        // Whoever publishes may be at it already: then that is the answer, and nothing else may be written.
        if let Some(rest) = Left::taken_back(&mut hold.left).await {
            return Ok(Some(hold.released(shown.borrow().clone(), Some(rest))));
        }
        match ended {
            Ok(Some(shown)) => Ok(Some(hold.released(shown, None))),
            Ok(None) => Ok(None),
            Err((end, refusal)) => Err(hold.ends(end, refusal)),
        }
    }

    /// Waits for upstream, but not beyond the viewer's patience or this node's life.
    async fn in_time<T>(&self, deadline: Instant, waiting: impl Future<Output = T>) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            done = timeout_at(deadline.into(), waiting) => done.map_err(|_| Refusal::UpstreamTimeout),
            () = self.departure.overdue.cancelled() => Err(Refusal::Draining),
        }
    }

    async fn object(&self, request: &Request, target: &Target<'_>, deadline: Instant) -> Result<Reply, Refusal> {
        let (key, known) = self.known(target);
        let (key, class, url, promise) = match known {
            Some(Known::Object(object)) => {
                let class = object.head.class;
                self.metrics.looked_up(class, Lookup::Hit);
                let body = conditions::of_whole(request, object)?;
                return Ok(Reply { class, body, note: Note::Hit, held: None, rest: None });
            }
            Some(Known::Named(Named { promise, url })) => (key, promise.class, url, Some(promise)),
            Some(Known::Mpd) => return Box::pin(self.mpd(request, target, deadline)).await,
            Some(Known::Clock) => return Box::pin(self.moment(request, target, deadline)).await,
            None => (key, target.class, None, None),
        };
        let url = url.as_deref().unwrap_or(&key);
        let wanted = Wanted { key: &key, url, class, passed: &request.passed, promise };
        let (found, lookup) = self.store.get(&wanted, After::Keep).await?;
        self.metrics.looked_up(class, lookup);
        // HTTP/1.0 has no framing that could tell an aborted body from a whole one.
        let (ready, note) = self.ready(&wanted, found, lookup, (deadline, request.http10)).await?;
        let body = match ready {
            Ready::Whole(object) if object.layout.is_some() => self.in_pieces(request, &wanted, object)?,
            Ready::Whole(object) => conditions::of_whole(request, object)?,
            Ready::Growing(head, reader) => match conditions::range(request, &head) {
                Some(range) => {
                    self.in_time(deadline, Box::pin(part_of_growing(request, reader, head, range))).await??
                }
                None => Body::Growing { slice: None, reader: Reader::Fill(reader), head },
            },
        };
        Ok(Reply { class, body, note, held: None, rest: None })
    }

    /// The key of an object, and what live playlists and MPDs say of it.
    fn known<'t>(&self, target: &Target<'t>) -> (Cow<'t, str>, Option<Known>) {
        let live_key = target.live_key();
        if let Some(known) = self.store.known(&live_key) {
            return (live_key, Some(known));
        }
        let whole_key = target.whole_key();
        let known = if whole_key == live_key { None } else { self.store.known(&whole_key) };
        (whole_key, known)
    }

    /// An object that is kept in pieces is read as if it grew: its viewer's bytes are fetched as they are come to.
    fn in_pieces(&self, request: &Request, wanted: &Wanted<'_>, object: Arc<Object>) -> Result<Body, Refusal> {
        let slice = match conditions::of_whole(request, object.clone())? {
            Body::Object(_) => None,
            Body::Slice(_, slice) => Some(slice),
            not_modified => return Ok(not_modified),
        };
        let first = slice.map_or(0, |slice| slice.ends().0);
        let pieces = Pieces::new(self.store.clone(), wanted, object.clone(), first).ok_or(Refusal::UpstreamBroken)?;
        Ok(Body::Growing { head: object.head.clone(), reader: Reader::Pieces(Box::new(pieces)), slice })
    }

    /// Waits until what was found can be told: from its head on, or `whole`.
    async fn ready(
        &self,
        wanted: &Wanted<'_>,
        found: Found,
        lookup: Lookup,
        (deadline, whole): (Instant, bool),
    ) -> Result<(Ready, Note), Refusal> {
        match found {
            Found::Whole(object) => {
                let note = note(lookup, &object.head);
                Ok((Ready::Whole(object), note))
            }
            Found::Growing(fill, place) => {
                self.in_time(deadline, Box::pin(self.opened(wanted, fill, place, (lookup, whole)))).await?
            }
        }
    }

    async fn opened(
        &self,
        wanted: &Wanted<'_>,
        mut fill: Arc<Fill>,
        mut place: Place,
        (mut lookup, whole): (Lookup, bool),
    ) -> Result<(Ready, Note), Refusal> {
        loop {
            let opening = if whole { Opening::Ended(fill.end(place).await) } else { fill.opening(place).await };
            return match opening {
                Opening::Growing(head) => Ok((Ready::Growing(head.clone(), fill.reader()), note(lookup, &head))),
                Opening::Ended(Outcome::Whole(object)) => {
                    Ok((Ready::Whole(object.clone()), note(lookup, &object.head)))
                }
                Opening::Ended(Outcome::Stale(object)) => Ok((Ready::Whole(object), Note::Stale)),
                Opening::Ended(Outcome::Aborted(refusal) | Outcome::Refused(refusal)) => Err(refusal),
                Opening::Ended(Outcome::Private) => {
                    (fill, place, lookup) = (self.store.get_alone(wanted)?, Place::First, Lookup::Miss);
                    continue;
                }
            };
        }
    }
}

/// An object, or the beginning of one.
enum Ready {
    Whole(Arc<Object>),
    Growing(Arc<Head>, fill::Reader),
}

/// What a viewer gets of a followed rendition.
struct Given {
    object: Arc<Object>,
    note: Note,
    held: Option<Arc<Version>>,
    /// As in [`Reply`].
    rest: Option<Bytes>,
}

/// A viewer's place among those who wait.
struct Hold<'a> {
    node: &'a Node,
    rendition: &'a Rendition,
    left: Option<Left<'a>>,
    end: HoldEnd,
}

impl<'a> Hold<'a> {
    fn enter(node: &'a Node, rendition: &'a Rendition, left: Option<Left<'a>>) -> Result<Self, Refusal> {
        if node.holds.fetch_add(1, Ordering::Relaxed) >= node.holds_max {
            node.holds.fetch_sub(1, Ordering::Relaxed);
            node.metrics.bit(Bound::Holds);
            return Err(Refusal::HoldsFull);
        }
        node.metrics.holds.inc();
        rendition.hold();
        Ok(Self { node, rendition, left, end: HoldEnd::Left })
    }

    fn released(&mut self, shown: Shown, rest: Option<Bytes>) -> (Shown, Option<Bytes>) {
        self.end = HoldEnd::Released;
        (shown, rest)
    }

    fn ends(&mut self, end: HoldEnd, refusal: Refusal) -> Refusal {
        self.end = end;
        refusal
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // Who has its answer and goes before it is told here has been released.
        if self.left.as_ref().is_some_and(|left| !left.leave()) && self.end == HoldEnd::Left {
            self.end = HoldEnd::Released;
        }
        self.rendition.unhold();
        self.node.metrics.holds.dec();
        self.node.metrics.hold_ended(self.end);
        self.node.holds.fetch_sub(1, Ordering::Relaxed);
    }
}

fn note(lookup: Lookup, head: &Head) -> Note {
    match lookup {
        Lookup::Hit => Note::Hit,
        Lookup::Stale => Note::Stale,
        Lookup::Expired => Note::Expired,
        Lookup::Disk | Lookup::Miss | Lookup::Collapsed if head.disk => Note::Disk,
        Lookup::Disk | Lookup::Miss if head.lease.is_ok() => Note::Stored,
        Lookup::Disk | Lookup::Miss => Note::Miss,
        Lookup::Collapsed => Note::Collapsed,
    }
}

/// A range of what is being filled, as soon as it can be told.
async fn part_of_growing(
    request: &Request,
    reader: fill::Reader,
    head: Arc<Head>,
    range: Range,
) -> Result<Body, Refusal> {
    let slice = loop {
        let wait = match (head.length, range.of_growing(reader.fill().bytes())) {
            (Some(length), _) => break Some(range.of(length)?),
            (None, Growing::Whole) => break None,
            (None, Growing::Ready(slice)) => break Some(slice),
            (None, Growing::Wait { bytes }) => bytes,
            (None, Growing::WaitForEnd) => u64::MAX,
        };
        match reader.fill().grown_to(wait).await {
            Ok(()) => {}
            Err(Outcome::Whole(object) | Outcome::Stale(object)) => return conditions::of_whole(request, object),
            Err(Outcome::Aborted(refusal) | Outcome::Refused(refusal)) => return Err(refusal),
            Err(Outcome::Private) => return Err(Refusal::UpstreamBroken),
        }
    };
    Ok(Body::Growing { slice, reader: Reader::Fill(reader), head })
}

/// A part of an object that is whole, without a copy.
pub fn slice_of(object: &Object, slice: Slice) -> Vec<Bytes> {
    let mut window = Window::of(Some(slice));
    object.chunks.iter().map(|chunk| window.take(chunk)).filter(|bytes| !bytes.is_empty()).collect()
}
