//! The player page, inside the binary: it works on a closed network.

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../player/dist"]
#[allow_missing = true]
struct Files;

/// Serves the page at `/` and its files beside it.
pub(crate) fn routes() -> Router {
    Router::new().route("/", axum::routing::get(index)).route("/assets/{*path}", axum::routing::get(asset))
}

async fn index() -> Response {
    match Files::get("index.html") {
        // The page names its assets by their hash, so only the page itself must be asked for again.
        Some(file) => ([(header::CACHE_CONTROL, "no-cache"), (header::CONTENT_TYPE, HTML)], file.data).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT).into_response(),
    }
}

async fn asset(uri: Uri) -> Response {
    match Files::get(uri.path().trim_start_matches('/')) {
        Some(file) => {
            let kind = file.metadata.mimetype().to_owned();
            let immutable = "public, max-age=31536000, immutable".to_owned();
            ([(header::CACHE_CONTROL, immutable), (header::CONTENT_TYPE, kind)], file.data).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such file of the player; reload the page\n").into_response(),
    }
}

const HTML: &str = "text/html; charset=utf-8";
const NOT_BUILT: &str = "this binary was built without the player page; run `make player`, then build again\n";
