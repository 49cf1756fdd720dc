//! A large object as its viewer reads it: piece by piece, each fetched when it is come to, if it is not kept.

use super::layout::{Layout, Piece};
use super::{Found, Store, Wanted};
use crate::fill::{self, Aborted, Opening, Outcome};
use crate::object::Object;
use crate::upstream::Passed;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use std::sync::Arc;

/// Where the bytes of an answer come from that is not whole here.
pub enum Reader {
    Fill(fill::Reader),
    Pieces(Box<Pieces>),
}

/// One reader's place in an object that is kept in pieces.
pub struct Pieces {
    store: Arc<Store>,
    /// The object's key, which is also its request target upstream.
    key: String,
    /// What is known of the whole: its head and its layout.
    whole: Arc<Object>,
    passed: Passed,
    /// Where in the object its first bytes lie.
    offset: u64,
    next: u64,
    current: Option<Current>,
}

/// The piece that is being read.
enum Current {
    Whole(Arc<Object>, usize),
    Growing(fill::Reader),
}

/// A piece to fetch: of which object, and which of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// The key of the object.
    pub(super) key: Arc<str>,
    pub(super) whole: Arc<Object>,
    pub(super) layout: Layout,
    pub(super) piece: Piece,
}

impl Cut {
    pub(super) fn conditions(&self) -> Vec<(HeaderName, Bytes)> {
        self.layout.conditions(self.piece)
    }

    pub(super) fn is_answer(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.layout.is_answer(self.piece, status, headers)
    }
}

impl Reader {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The rest will never come, or is not of the same version.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Aborted> {
        match self {
            Self::Fill(reader) => reader.next().await,
            // Boxed, so that no other viewer carries what it takes to fetch.
            Self::Pieces(pieces) => Box::pin(pieces.next()).await,
        }
    }

    /// Where in the object its first bytes lie.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Fill(_) => 0,
            Self::Pieces(pieces) => pieces.offset,
        }
    }
}

impl Pieces {
    /// From the piece that holds byte `first` on. `None` if the object is not kept in pieces.
    pub fn new(store: Arc<Store>, wanted: &Wanted<'_>, whole: Arc<Object>, first: u64) -> Option<Self> {
        let layout = whole.layout.as_ref()?;
        let next = layout.index_of(first);
        let offset = next * layout.piece_bytes;
        let (key, passed) = (wanted.key.to_owned(), wanted.passed.clone());
        Some(Self { store, key, whole, passed, offset, next, current: None })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Aborted> {
        let Some(layout) = self.whole.layout.clone() else { return Err(Aborted) };
        loop {
            match &mut self.current {
                Some(Current::Whole(object, at)) => {
                    if let Some(chunk) = object.chunks.get(*at) {
                        *at += 1;
                        return Ok(Some(chunk.clone()));
                    }
                }
                Some(Current::Growing(reader)) => {
                    if let Some(bytes) = reader.next().await? {
                        return Ok(Some(bytes));
                    }
                }
                None => {}
            }
            let Some(piece) = layout.piece(self.next) else { return Ok(None) };
            self.current = Some(self.open(&layout, piece).await?);
            self.next += 1;
        }
    }

    async fn open(&self, layout: &Layout, piece: Piece) -> Result<Current, Aborted> {
        let key = layout.key(&self.key, self.next);
        let (whole, layout) = (self.whole.clone(), layout.clone());
        let cut = Cut { key: self.key.as_str().into(), whole, layout, piece };
        let class = self.whole.head.class;
        let wanted = Wanted { key: &key, url: &self.key, class, passed: &self.passed, promise: None };
        let (found, lookup) = self.store.get_cut(&wanted, cut).await.map_err(|_| Aborted)?;
        self.store.metrics.looked_up(class, lookup);
        let (fill, place) = match found {
            Found::Whole(object) => return Ok(Current::Whole(object, 0)),
            Found::Growing(fill, place) => (fill, place),
        };
        match fill.opening(place).await {
            Opening::Growing(_) => Ok(Current::Growing(fill.reader())),
            Opening::Ended(Outcome::Whole(object)) => Ok(Current::Whole(object, 0)),
            Opening::Ended(_) => Err(Aborted),
        }
    }
}
