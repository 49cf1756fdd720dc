//! The stores in which recordings are kept as they grow old: folders and buckets, through `object_store`.

use super::ArchiveError;
use super::name::{Kind, kind};
use super::recording::{Id, Recording};
use bytes::Bytes;
use config::{Place, S3};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Attribute, Attributes, ClientOptions, ObjectStore, ObjectStoreExt, PutOptions, RetryConfig};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) name: String,
    place: Place,
    /// Opened when it is there: a folder may be mounted late.
    store: parking_lot::Mutex<Option<Arc<dyn ObjectStore>>>,
    failing: prometheus::IntGauge,
    is_failing: AtomicBool,
}

/// To a store that does not even answer.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// What a request that failed by chance has, all its further attempts included. They come after pauses that grow.
const RETRIES_MAX: usize = 3;
const RETRY_MAX: Duration = Duration::from_secs(20);
/// Bytes of a file of a recording: more than a segment of ten seconds and 800 Mbit/s, or a playlist of a week, has.
const FILE_MAX: u64 = 1 << 30;
/// Of what is known of one: a week of keys that change every ten seconds.
const MARK_MAX: u64 = 16 << 20;
/// Objects in a list: a week of eight renditions in segments of a second. A store may say for ever that there are more.
const LISTED_MAX: usize = 5_000_000;

impl Tier {
    pub(super) fn new(name: &str, place: Place, failing: prometheus::IntGauge) -> Self {
        Self {
            name: name.to_owned(),
            place,
            store: parking_lot::Mutex::default(),
            failing,
            is_failing: AtomicBool::new(false),
        }
    }

    /// The store.
    ///
    /// # Errors
    /// Its folder is not there, or something of its configuration cannot be.
    pub(crate) fn store(&self) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
        let mut store = self.store.lock();
        if let Some(store) = &*store {
            return Ok(Arc::clone(store));
        }
        let opened: Arc<dyn ObjectStore> = match &self.place {
            // A disk that is not mounted must not become a folder of another one.
            Place::Folder(path) if !path.is_dir() => return Err(io::Error::from(io::ErrorKind::NotFound).into()),
            Place::Folder(path) => Arc::new(LocalFileSystem::new_with_prefix(path)?),
            Place::S3(s3) => Arc::new(PrefixStore::new(s3_store(s3)?, s3.prefix.as_str())),
        };
        Ok(Arc::clone(store.insert(opened)))
    }

    /// Where a file of a recording is.
    pub(crate) fn path(id: &Id, file: &str) -> Path {
        Path::from_iter(id.to_string().split('/').chain(file.split('/')))
    }

    /// The files of a recording that it has, and their lengths.
    pub(super) async fn files(&self, id: &Id) -> Result<BTreeMap<String, u64>, ArchiveError> {
        let (store, prefix) = (self.store()?, Path::from_iter(id.to_string().split('/')));
        let mut listed = store.list(Some(&prefix));
        let (mut files, mut count) = (BTreeMap::new(), 0);
        while let Some(meta) = listed.try_next().await? {
            count += 1;
            if count > LISTED_MAX {
                return Err(ArchiveError::Endless);
            }
            let file = meta.location.as_ref().strip_prefix(prefix.as_ref()).map(|file| file.trim_start_matches('/'));
            files.extend(file.filter(|file| kind(file).is_some()).map(|file| (file.to_owned(), meta.size)));
        }
        Ok(files)
    }

    /// What a file of a recording holds.
    pub(super) async fn get(&self, path: &Path) -> Result<Bytes, ArchiveError> {
        self.get_up_to(path, FILE_MAX).await
    }

    async fn get_up_to(&self, path: &Path, bytes_max: u64) -> Result<Bytes, ArchiveError> {
        let got = self.store()?.get(path).await?;
        let bytes = got.meta.size;
        if bytes > bytes_max {
            return Err(ArchiveError::TooLarge { path: path.to_string(), bytes });
        }
        Ok(got.bytes().await?)
    }

    /// Takes a file. S3 compares what it got with its SHA-256, which is signed with the request.
    pub(super) async fn put(&self, path: &Path, bytes: Bytes, kind: Option<Kind>) -> Result<(), ArchiveError> {
        let mut attributes = Attributes::new();
        // A folder has no room for them; a bucket can be read by others.
        if let (Place::S3(_), Some(kind)) = (&self.place, kind) {
            attributes.insert(Attribute::ContentType, kind.media_type.into());
            attributes.insert(Attribute::CacheControl, kind.caching().into());
        }
        let options = PutOptions { attributes, ..PutOptions::default() };
        self.store()?.put_opts(path, bytes.into(), options).await?;
        Ok(())
    }

    /// Says that a recording is here whole.
    pub(super) async fn mark(&self, recording: &Recording) -> Result<(), ArchiveError> {
        self.put(&Path::from_iter(recording.id.mark().split('/')), recording.text().into(), None).await
    }

    /// The recordings that are here whole.
    pub(super) async fn marked(&self) -> Result<Vec<Id>, ArchiveError> {
        let prefix = Path::from(super::recording::MARKS);
        let listed: Vec<_> = self.store()?.list(Some(&prefix)).take(LISTED_MAX).try_collect().await?;
        Ok(listed.iter().filter_map(|meta| Id::of_mark(meta.location.as_ref())).collect())
    }

    pub(super) async fn recording(&self, id: &Id) -> Result<Option<Recording>, ArchiveError> {
        let text = self.get_up_to(&Path::from_iter(id.mark().split('/')), MARK_MAX).await?;
        Ok(Recording::read(&text, id))
    }

    /// Removes all there is of a recording, its mark first. What is not there is removed.
    pub(super) async fn remove(&self, id: &Id) -> Result<(), ArchiveError> {
        let store = self.store()?;
        match store.delete(&Path::from_iter(id.mark().split('/'))).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let prefix = Path::from_iter(id.to_string().split('/'));
        let locations = store.list(Some(&prefix)).map_ok(|meta| meta.location).boxed();
        let mut deleted = store.delete_stream(locations);
        loop {
            match deleted.try_next().await {
                Ok(Some(_)) | Err(object_store::Error::NotFound { .. }) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes note of how the store does; says so in the log where that changes.
    pub(crate) fn note<T>(&self, outcome: &Result<T, ArchiveError>) {
        let failed = match outcome {
            Ok(_) | Err(ArchiveError::Store(object_store::Error::NotFound { .. })) => None,
            Err(error) => Some(error),
        };
        self.failing.set(i64::from(failed.is_some()));
        let before = self.is_failing.swap(failed.is_some(), Ordering::Relaxed);
        match failed {
            Some(error) if !before => tracing::error!(tier = %self.name, "{}", self.told(error)),
            None if before => tracing::info!(tier = %self.name, "the store of this tier answers again"),
            _ => {}
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// What is wrong, and what to do.
    fn told(&self, error: &ArchiveError) -> String {
        let store = match &self.place {
            Place::Folder(path) => format!("the folder {}", path.display()),
            Place::S3(s3) => format!("the bucket {} at {}", s3.bucket, s3.endpoint.as_deref().unwrap_or("Amazon S3")),
        };
        match error {
            ArchiveError::Store(
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. },
            ) => format!(
                "{store} refuses the credentials; give origin.archive.tiers an access_key_id and secret_access_key that may list, read, write and delete there"
            ),
            ArchiveError::Disk(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("{store} is not there; make or mount it")
            }
            ArchiveError::Store(object_store::Error::NotFound { .. }) => format!("{store} is not there; make it"),
            error => format!(
                "{store} fails: {error}; recordings there cannot be read, or none moves there, until it is mended"
            ),
        }
    }
}

fn s3_store(s3: &S3) -> Result<impl ObjectStore, ArchiveError> {
    // Whoever was first has installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // An answer lasts as long as its viewer reads; each wait has a deadline of its own.
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_MAX)
        .with_read_timeout(RETRY_MAX)
        .with_allow_http(s3.endpoint.as_ref().is_some_and(|url| url.starts_with("http://")));
    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_MAX, ..RetryConfig::default() };
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(&s3.bucket).with_client_options(client).with_retry(retry);
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    if let (Some(id), Some(secret)) = (&s3.access_key_id, &s3.secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    }
    Ok(builder.build()?)
}
