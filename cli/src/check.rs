//! `vivid check-config`: a configuration, the files that it names, and the encoders that it needs.

use crate::logging;
use anyhow::Context;
use config::{Config, ConfigError, FleetFile, Geo, Problem};
use edge::tls::Tls;
use edge::upstream::check_authorities;
use std::fmt::Display;
use std::path::Path;

pub(crate) fn run(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    logging::filter(&config.log).with_context(|| format!("{} has one thing to mend", file.display()))?;
    let problems = unusable(&config);
    if !problems.is_empty() {
        return Err(ConfigError::of(file, problems).into());
    }
    let runs_none = config.origin.is_none() && config.edge.is_none() && config.router.is_none();
    let but = if runs_none { ", but runs no tier; add [origin], [edge] or [router]" } else { "" };
    println!("{} is valid{but}", file.display());
    Ok(())
}

/// The files that could not be used, and the encoders that are not there.
fn unusable(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = |key: &str, checked: Result<(), String>| {
        problems.extend(checked.err().map(|message| Problem::new(key, message)));
    };
    if let Some(path) = config.origin.as_ref().and_then(|origin| origin.ingest.slate.as_ref()) {
        check("origin.ingest.slate", origin::check_slate(path).map_err(|why| format!("{} {why}", path.display())));
    }
    if let Some(origin) = &config.origin {
        check("origin.ladder", transcode::check_encoders(&origin.ladder).map_err(told));
        for (index, rule) in origin.ladders.iter().enumerate() {
            check(&format!("origin.ladders[{index}]"), transcode::check_encoders(&rule.ladder).map_err(told));
        }
    }
    if let Some(edge) = &config.edge {
        for (index, files) in edge.tls.certificates.iter().enumerate() {
            check(&format!("edge.tls.certificates[{index}]"), Tls::check(files).map_err(told));
        }
        if let Some(path) = &edge.upstream.ca_file {
            check("edge.upstream.ca_file", check_authorities(path).map_err(told));
        }
        if let Some(path) = &edge.fleet.file {
            check("edge.fleet.file", FleetFile::load(path).map(drop).map_err(told));
        }
    }
    let geos = [
        config.edge.as_ref().map(|edge| ("edge.geo", &edge.geo)),
        config.router.as_ref().map(|router| ("router.geo", &router.geo)),
    ];
    for (table, geo) in geos.into_iter().flatten() {
        let Geo { country_database, city_database, asn_database, .. } = geo;
        for (name, path) in [("country", country_database), ("city", city_database), ("asn", asn_database)] {
            let Some(path) = path else { continue };
            let checked = geo::check(path).map_err(|why| format!("{} is of no use: {why}", path.display()));
            check(&format!("{table}.{name}_database"), checked);
        }
    }
    problems
}

fn told(error: impl Display) -> String {
    error.to_string()
}
