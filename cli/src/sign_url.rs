//! `vivid sign-url`: a URL that opens part of an edge for a while.

use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use config::{Config, Geo, UrlKey};
use edge::access::Country;
use edge::access::grant::How;
use edge::access::keys::url_key;
use edge::access::signed_url::{Claims, prefix};
use edge::key::normalized;
use http::Uri;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Prints a URL that an edge with this configuration takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configuration file of the edge: it has the keys, in edge.access.url_keys
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The key that signs, by its id [default: the first one of the file]
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// How long the URL is good for: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = duration)]
    valid_for: Duration,
    /// What the token opens: this path and all below it [default: the folder of the URL]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Only for viewers at this address, or in this prefix, such as 203.0.113.0/24
    #[arg(long)]
    address: Option<String>,
    /// Only for viewers in this country, such as DE; may be given several times
    #[arg(long)]
    country: Vec<String>,
    /// Where the token goes
    #[arg(long, value_enum, default_value_t = Place::Path)]
    place: Place,
    /// The URL as it is without a token, such as https://cdn.example.com/live/demo/index.m3u8
    url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    /// Before the path: relative URLs of playlists carry it on, so any player will do
    Path,
    /// An argument, for a single file: players do not carry it on
    Query,
    /// A Set-Cookie field, for a page on the same site
    Cookie,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    let Some(edge) = config.edge else { bail!("{} has no [edge] section; add one", args.config.display()) };
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock of this machine is before 1970; set it")?;
    println!("{}", signed(args, &edge.access.url_keys, now)?);
    if let Some(doubt) = doubt(args, &edge.geo) {
        eprintln!("{doubt}");
    }
    Ok(())
}

/// What keeps this token from opening anything at an edge with such databases.
fn doubt(args: &Args, geo: &Geo) -> Option<&'static str> {
    let knows_countries = geo.country_database.is_some() || geo.city_database.is_some();
    (!args.country.is_empty() && !knows_countries).then_some(
        "this edge refuses every viewer with this token: it knows nobody's country; set edge.geo.country_database, or leave out --country",
    )
}

/// `now` is since 1970.
fn signed(args: &Args, keys: &[UrlKey], now: Duration) -> anyhow::Result<String> {
    let key = match &args.key {
        None => keys.first().context("edge.access.url_keys has no key; add one, `vivid reference-config` says how")?,
        Some(id) => keys.iter().find(|key| key.id == *id).with_context(|| {
            let known: Vec<_> = keys.iter().map(|key| key.id.as_str()).collect();
            format!("edge.access.url_keys has no key {id:?}; it has {known:?}")
        })?,
    };
    let (base, target) = split(&args.url)?;
    let path = target.split('?').next().unwrap_or_default();
    let folder = match &args.path {
        Some(folder) if !folder.starts_with('/') => bail!("--path {folder:?} is no path; begin it with '/'"),
        Some(folder) => normalized(folder).into_owned(),
        None => path[..=path.rfind('/').unwrap_or(0)].to_owned(),
    };
    if !How::Below.fits(path, &folder) {
        bail!(
            "a token for {folder:?} does not open {path:?}; give the URL's folder or one above it as --path, or leave it out"
        );
    }
    let address = |text: &String| {
        prefix(text).with_context(|| format!("--address {text:?} is no address; write for example 203.0.113.7"))
    };
    let country = |code: &String| {
        Country::new(code)
            .with_context(|| format!("--country {code:?} is no country; write two letters, for example DE"))
    };
    let claims = Claims {
        key: key.id.clone(),
        expires: (now + args.valid_for).as_secs(),
        path: folder.clone(),
        address: args.address.as_ref().map(address).transpose()?,
        countries: args.country.iter().map(country).collect::<anyhow::Result<_>>()?,
    };
    let token = claims.sign(&url_key(key));
    Ok(match args.place {
        Place::Path => format!("{base}/~{token}{target}"),
        Place::Query if target.contains('?') => format!("{base}{target}&token={token}"),
        Place::Query => format!("{base}{target}?token={token}"),
        Place::Cookie => format!(
            "Set-Cookie: token={token}; Path={folder}; Max-Age={}; Secure; HttpOnly; SameSite=Lax",
            args.valid_for.as_secs()
        ),
    })
}

/// Scheme and authority, and the rest in the spelling that an edge compares.
fn split(url: &str) -> anyhow::Result<(&str, String)> {
    if !url.contains("://") && !url.starts_with('/') {
        bail!("{url:?} has no scheme; write the whole URL, for example \"https://{url}\"");
    }
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    let whole = uri.scheme_str().is_some_and(|scheme| ["http", "https"].contains(&scheme)) && uri.authority().is_some();
    let path = uri.path_and_query().filter(|_| whole);
    let path = path.ok_or_else(|| anyhow!("{url:?} is no whole URL; begin it with https:// and a host"))?.as_str();
    let base = url.find("://").and_then(|at| url[at + 3..].find(['/', '?', '#']).map(|end| at + 3 + end));
    let target = normalized(path).into_owned();
    if target.starts_with("/~") {
        bail!("the URL has a token already; give it as it is without");
    }
    Ok((&url[..base.unwrap_or(url.len())], target))
}

/// A number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 60 * 60,
        Some(b'd') => 24 * 60 * 60,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u32>().ok());
    match number.map(|number| u64::from(number) * unit) {
        None | Some(0) => Err("write a number above 0 and s, m, h or d, for example 90s or 6h".to_owned()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn keys() -> Vec<UrlKey> {
        let key = |id: &str, byte| UrlKey { id: id.to_owned(), secret: config::Secret::new(&[byte; 32]) };
        vec![key("new", 1), key("old", 2)]
    }

    fn sign(line: &str) -> Result<String, String> {
        let words = ["sign-url", "--config", "x"].into_iter().chain(line.split_whitespace());
        let args = Line::try_parse_from(words).map_err(|error| error.to_string())?.args;
        signed(&args, &keys(), NOW).map_err(|error| error.to_string())
    }

    fn token(key: usize, valid_s: u64, path: &str) -> String {
        let claims = Claims {
            key: keys()[key].id.clone(),
            expires: NOW.as_secs() + valid_s,
            path: path.to_owned(),
            address: None,
            countries: Vec::new(),
        };
        claims.sign(&url_key(&keys()[key]))
    }

    #[test]
    fn a_url_is_signed_for_its_folder() {
        let whole = token(0, 6 * 3600, "/live/demo/");
        let half = token(1, 90, "/live");
        for (line, expected) in [
            ("https://h:1/live/demo/index.m3u8", format!("https://h:1/~{whole}/live/demo/index.m3u8")),
            ("https://h/live/%64emo/x?a=1", format!("https://h/~{whole}/live/demo/x?a=1")),
            ("--place query https://h/live/demo/x", format!("https://h/live/demo/x?token={whole}")),
            ("--place query https://h/live/demo/x?a=1", format!("https://h/live/demo/x?a=1&token={whole}")),
            ("--key old --valid-for 90s --path /live https://h/live/demo/x", format!("https://h/~{half}/live/demo/x")),
            (
                "--key old --valid-for 90s --path /live --place cookie https://h/live/demo/x",
                format!("Set-Cookie: token={half}; Path=/live; Max-Age=90; Secure; HttpOnly; SameSite=Lax"),
            ),
            ("https://h", format!("https://h/~{}/", token(0, 6 * 3600, "/"))),
        ] {
            assert_eq!(sign(line), Ok(expected), "{line}");
        }
        let limited = sign("--address 203.0.113.7 --country de --country AT https://h/live/demo/x").unwrap();
        assert!(limited.len() > whole.len() + 20, "{limited}");
    }

    #[test]
    fn a_country_that_no_database_tells_is_told() {
        let doubts = |line: &str, geo: &str| {
            let words = ["sign-url", "--config", "x", "https://h/x"].into_iter().chain(line.split_whitespace());
            let args = Line::try_parse_from(words).ok().unwrap().args;
            let config = Config::parse(&format!("[edge]\n[edge.geo]\n{geo}"), []).unwrap();
            doubt(&args, &config.edge.unwrap().geo).is_some()
        };
        assert!(doubts("--country DE", ""));
        assert!(!doubts("", ""));
        assert!(!doubts("--country DE", "city_database = \"c.mmdb\""));
    }

    #[test]
    fn what_cannot_be_signed_is_told_with_what_to_write() {
        for (line, expected) in [
            ("--key gone https://h/x", "has no key \"gone\"; it has [\"new\", \"old\"]"),
            ("/live/demo/index.m3u8", "begin it with https:// and a host"),
            (
                "cdn.example.com/live/x",
                "has no scheme; write the whole URL, for example \"https://cdn.example.com/live/x\"",
            ),
            ("ftp://h/x", "begin it with https:// and a host"),
            ("https://h/~t/x", "has a token already"),
            ("--path live https://h/x", "begin it with '/'"),
            ("--path /other https://h/live/x", "does not open \"/live/x\"; give the URL's folder or one above it"),
            ("--path /li --place cookie https://h/live/x", "does not open"),
            ("--address 203.0.113 https://h/x", "write for example 203.0.113.7"),
            ("--country Germany https://h/x", "write two letters"),
            ("--valid-for 6 https://h/x", "for example 90s or 6h"),
            ("--valid-for 0d https://h/x", "for example 90s or 6h"),
            ("--place header https://h/x", "possible values: path, query, cookie"),
        ] {
            let told = sign(line).unwrap_err();
            assert!(told.contains(expected), "{line}: {told}");
        }
        let args = Line::try_parse_from(["sign-url", "--config", "x", "https://h/x"]).ok().unwrap().args;
        assert!(signed(&args, &[], NOW).unwrap_err().to_string().contains("has no key; add one"));
    }
}
