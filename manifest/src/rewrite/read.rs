//! The reading half of rewriting: which lines of a multivariant playlist belong to a pathway, and where they are cut.

use super::attributes::{Attribute, attributes};
use super::resolve::{resolve, under};
use super::{ENTRIES_MAX, EXPANSION_MAX, Item, Piece, RewriteError, Source};
use quick_m3u8::HlsLine;
use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::custom_parsing::line;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// The lines of a playlist, each with what it is.
pub(super) struct Playlist<'a> {
    lines: Vec<Line<'a>>,
    /// As in the first line; lines that are added use it too.
    pub(super) line_end: &'static str,
    variables: HashMap<&'a str, &'a str>,
}

struct Line<'a> {
    /// With its line end, if it has one.
    raw: &'a str,
    kind: Kind,
    /// The attribute list of a tag, or the URI of a URI line, as positions in `raw`.
    body: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The first line.
    Header,
    /// Lines that stay as they are.
    Plain,
    Steering,
    /// EXT-X-STREAM-INF, and its URI line.
    Variant,
    VariantUri,
    /// EXT-X-I-FRAME-STREAM-INF.
    IFrames,
    /// EXT-X-MEDIA.
    Rendition,
    /// A tag that is said once and names a resource, such as EXT-X-SESSION-DATA.
    Located,
}

impl<'a> Playlist<'a> {
    pub(super) fn scan(text: &'a str) -> Result<Self, RewriteError> {
        let first = text.split_inclusive('\n').next().unwrap_or_default();
        // RFC 8216bis, 4.1 forbids the byte order mark; editors add it all the same.
        if first.trim_start_matches('\u{feff}').trim_end() != "#EXTM3U" {
            return Err(RewriteError::NotAPlaylist);
        }
        let line_end = if first.ends_with("\r\n") { "\r\n" } else { "\n" };
        let mut playlist = Self {
            lines: vec![Line { raw: first, kind: Kind::Header, body: 0..0 }],
            line_end,
            variables: HashMap::new(),
        };
        playlist.scan_lines(&text[first.len()..])?;
        Ok(playlist)
    }

    fn scan_lines(&mut self, text: &'a str) -> Result<(), RewriteError> {
        // No tag is parsed by the library: a parsed tag would be written again from what the library knows of it.
        let options = ParsingOptionsBuilder::new().build();
        let mut rest = text;
        let mut open_variant = None;
        let (mut entries, mut variants) = (0, 0);
        while !rest.is_empty() {
            let (parsed, remaining) = match line::parse(rest, &options) {
                Ok(slice) => (Some(slice.parsed), slice.remaining),
                Err(error) => (None, error.errored_line_slice.remaining),
            };
            let start = text.len() - rest.len();
            rest = remaining.unwrap_or_default();
            let raw = &text[start..text.len() - rest.len()];
            let line = match parsed {
                Some(HlsLine::UnknownTag(tag)) => Line::of_tag(raw, tag.name())?,
                Some(HlsLine::Uri(_)) if !raw.trim().is_empty() && open_variant.is_some() => Line::of_uri(raw),
                _ => Line::plain(raw),
            };
            match line.kind {
                Kind::Variant => self.abandon(open_variant.replace(self.lines.len())),
                Kind::VariantUri => {
                    open_variant = None;
                    variants += 1;
                }
                Kind::Plain => {
                    self.define(raw);
                    // Lines that nobody cuts are one, or a megabyte of line ends would become a million lines.
                    if let Some(last) = self.lines.last_mut().filter(|last| last.kind == Kind::Plain) {
                        last.raw = &text[start - last.raw.len()..text.len() - rest.len()];
                        continue;
                    }
                }
                _ => {}
            }
            entries += usize::from(line.kind != Kind::Plain);
            if entries > ENTRIES_MAX {
                return Err(RewriteError::TooManyEntries);
            }
            self.lines.push(line);
        }
        self.abandon(open_variant);
        if variants == 0 { Err(RewriteError::NoVariant) } else { Ok(()) }
    }

    /// A variant without a URI means nothing to a player, and stays as it is.
    fn abandon(&mut self, variant: Option<usize>) {
        if let Some(line) = variant.and_then(|at| self.lines.get_mut(at)) {
            line.kind = Kind::Plain;
        }
    }

    /// EXT-X-DEFINE:NAME=…,VALUE=…; a variable from the query is left for the player, which knows its own URL.
    fn define(&mut self, raw: &'a str) {
        let Some(list) = raw.strip_prefix("#EXT-X-DEFINE:") else { return };
        let attributes = attributes(list.trim_end());
        // A quote in a value that has none around it would end the string that the variable stands in.
        let quoted = value(&attributes, "VALUE").filter(|value| !value.contains('"'));
        if let (Some(name), Some(value)) = (value(&attributes, "NAME"), quoted) {
            self.variables.entry(name).or_insert(value);
        }
    }

    pub(super) fn items(&self, source: &Source<'_>) -> Result<Vec<Item>, RewriteError> {
        let kept = Kept::among(&self.lines);
        let mut places = Places { source, variables: &self.variables, expanded: 0 };
        let mut items = Vec::new();
        let mut steering_is_due = true;
        let mut variant_stays = true;
        let has_steering = self.lines.iter().any(|line| line.kind == Kind::Steering);
        for line in &self.lines {
            let list = attributes(line.list());
            let stays = match line.kind {
                Kind::Variant => {
                    variant_stays = kept.pathway(&list);
                    variant_stays
                }
                Kind::VariantUri => variant_stays,
                Kind::IFrames => kept.pathway(&list),
                Kind::Rendition => kept.group(&list),
                Kind::Steering => std::mem::take(&mut steering_is_due),
                Kind::Header | Kind::Plain | Kind::Located => true,
            };
            match line.kind {
                _ if !stays => {}
                Kind::Steering => items.push(Item::Steering),
                Kind::Header | Kind::Plain => items.push(Item::Once(vec![Piece::Text(line.ended(self.line_end))])),
                Kind::Located => items.push(Item::Once(self.cut(line, &list, &mut places)?)),
                Kind::Variant | Kind::IFrames | Kind::Rendition => {
                    items.push(Item::Each(self.cut(line, &list, &mut places)?));
                }
                Kind::VariantUri => {
                    let mut cut = Cut::new(line.ended(self.line_end));
                    cut.replace(line.body.clone(), places.of(&line.raw[line.body.clone()])?);
                    items.push(Item::Each(cut.finish()));
                }
            }
            if line.kind == Kind::Header && !has_steering {
                items.push(Item::Steering);
            }
        }
        Ok(items)
    }

    /// All lines with the places marked where URIs lie under the base.
    pub(super) fn relocated(&self, source: &Source<'_>) -> Result<Vec<Piece>, RewriteError> {
        let mut places = Places { source, variables: &self.variables, expanded: 0 };
        let mut pieces = Vec::new();
        for line in &self.lines {
            let mut cut = Cut::new(line.raw.to_owned());
            match line.kind {
                Kind::Header | Kind::Plain | Kind::Variant => {}
                Kind::VariantUri => cut.replace(line.body.clone(), places.of(&line.raw[line.body.clone()])?),
                Kind::Steering | Kind::IFrames | Kind::Rendition | Kind::Located => {
                    for attribute in attributes(&line.raw[line.body.clone()]) {
                        if matches!(attribute.name, "URI" | "SERVER-URI") {
                            let start = line.body.start;
                            let span = start + attribute.span.start..start + attribute.span.end;
                            cut.replace(span, places.of(attribute.value)?);
                        }
                    }
                }
            }
            pieces.extend(cut.finish());
        }
        Ok(pieces)
    }

    /// A line with the places marked where pathways differ.
    fn cut(
        &self,
        line: &Line<'_>,
        list: &[Attribute<'_>],
        places: &mut Places<'_>,
    ) -> Result<Vec<Piece>, RewriteError> {
        let mut cut = Cut::new(line.ended(self.line_end));
        let of_pathway = matches!(line.kind, Kind::Variant | Kind::IFrames);
        let mut has_pathway = false;
        for attribute in list {
            let span = line.body.start + attribute.span.start..line.body.start + attribute.span.end;
            match attribute.name {
                "AUDIO" | "VIDEO" | "SUBTITLES" if of_pathway => cut.replace(span.end..span.end, own_group()),
                "GROUP-ID" if line.kind == Kind::Rendition => cut.replace(span.end..span.end, own_group()),
                "PATHWAY-ID" if of_pathway => {
                    has_pathway = true;
                    // RFC 8216bis, 4.4.6.2 has it quoted; where the packager forgot that, players know none.
                    let quote = |is_there: bool| Piece::Text(if is_there { "" } else { "\"" }.to_owned());
                    let opens = quote(line.raw[..span.start].ends_with('"'));
                    let closes = quote(line.raw[span.end..].starts_with('"'));
                    cut.replace(span, vec![opens, Piece::Id, closes]);
                }
                "URI" if line.kind != Kind::Variant => cut.replace(span, places.of(attribute.value)?),
                _ => {}
            }
        }
        if of_pathway && !has_pathway {
            let end = line.body.end;
            let comma = if list.is_empty() { "" } else { "," };
            let pathway = [Piece::Text(format!("{comma}PATHWAY-ID=\"")), Piece::Id, Piece::Text("\"".to_owned())];
            cut.replace(end..end, pathway.into());
        }
        Ok(cut.finish())
    }
}

impl<'a> Line<'a> {
    fn of_tag(raw: &'a str, name: &str) -> Result<Self, RewriteError> {
        let end = raw.trim_end().len();
        let start = ("#EXT".len() + name.len() + ":".len()).min(end);
        let kind = match kind_of(name)? {
            Kind::Rendition if !has_own_media(&raw[start..end]) => Kind::Located,
            kind => kind,
        };
        Ok(Self { raw, kind, body: start..end })
    }

    fn of_uri(raw: &'a str) -> Self {
        Self { raw, kind: Kind::VariantUri, body: raw.len() - raw.trim_start().len()..raw.trim_end().len() }
    }

    fn plain(raw: &'a str) -> Self {
        Self { raw, kind: Kind::Plain, body: 0..0 }
    }

    fn list(&self) -> &'a str {
        match self.kind {
            Kind::Header | Kind::Plain | Kind::VariantUri | Kind::Steering => "",
            _ => &self.raw[self.body.clone()],
        }
    }

    /// A last line may lack its end, and others follow it now.
    fn ended(&self, line_end: &str) -> String {
        let end = if self.raw.ends_with('\n') { "" } else { line_end };
        [self.raw, end].concat()
    }
}

/// Which of the playlist's own pathways is the pattern: its first choice.
struct Kept<'a> {
    pathway: &'a str,
    /// (TYPE, GROUP-ID) that only variants of other pathways use.
    foreign_groups: HashSet<(&'a str, &'a str)>,
}

impl<'a> Kept<'a> {
    fn among(lines: &[Line<'a>]) -> Self {
        let lists = |kind: Kind| lines.iter().filter(move |line| line.kind == kind).map(Line::list);
        let variants: Vec<_> = lists(Kind::Variant).map(attributes).collect();
        let steered = lines.iter().find(|line| line.kind == Kind::Steering);
        let steered = steered.and_then(|line| value(&attributes(&line.raw[line.body.clone()]), "PATHWAY-ID"));
        let declared = |id: &&str| variants.iter().any(|variant| pathway_of(variant) == *id);
        let first = variants.first().map_or(NO_PATHWAY, |variant| pathway_of(variant));
        let pathway = steered.filter(declared).unwrap_or(first);
        let used_by = |ours: bool| {
            let variants = variants.iter().filter(move |variant| (pathway_of(variant) == pathway) == ours);
            variants.flatten().filter(|attribute| matches!(attribute.name, "AUDIO" | "VIDEO" | "SUBTITLES"))
        };
        let ours: HashSet<_> = used_by(true).map(|group| (group.name, group.value)).collect();
        let foreign = used_by(false).map(|group| (group.name, group.value));
        Self { pathway, foreign_groups: foreign.filter(|group| !ours.contains(group)).collect() }
    }

    fn pathway(&self, attributes: &[Attribute<'_>]) -> bool {
        pathway_of(attributes) == self.pathway
    }

    fn group(&self, attributes: &[Attribute<'_>]) -> bool {
        match (value(attributes, "TYPE"), value(attributes, "GROUP-ID")) {
            (Some(kind), Some(group)) => !self.foreign_groups.contains(&(kind, group)),
            _ => true,
        }
    }
}

/// Turns URIs into what stands for them on a pathway.
struct Places<'a> {
    source: &'a Source<'a>,
    variables: &'a HashMap<&'a str, &'a str>,
    /// Bytes that variables have added so far.
    expanded: usize,
}

impl Places<'_> {
    fn of(&mut self, uri: &str) -> Result<Vec<Piece>, RewriteError> {
        let expanded = self.expand(uri)?;
        // What it begins with is known to the player alone.
        if expanded.starts_with("{$") {
            return Ok(vec![Piece::Text(uri.to_owned())]);
        }
        let absolute = resolve(self.source.playlist_url, &expanded);
        Ok(match under(&absolute, self.source.base_url) {
            Some(rest) => vec![Piece::Base, Piece::Text(rest.to_owned())],
            None => vec![Piece::Text(absolute)],
        })
    }

    /// Variables (RFC 8216bis, 4.3) decide where a URI points, so those with a value are put in before it is resolved.
    fn expand(&mut self, uri: &str) -> Result<String, RewriteError> {
        let mut text = String::with_capacity(uri.len());
        let mut rest = uri;
        while let Some(at) = rest.find("{$") {
            let (before, reference) = rest.split_at(at);
            text.push_str(before);
            let end = reference.find('}').map_or(reference.len(), |brace| brace + 1);
            let name = reference[..end].trim_start_matches("{$").trim_end_matches('}');
            match self.variables.get(name) {
                Some(value) => {
                    self.expanded += value.len();
                    if self.expanded > EXPANSION_MAX {
                        return Err(RewriteError::ExpansionTooLong);
                    }
                    text.push_str(value);
                }
                None => text.push_str(&reference[..end]),
            }
            rest = &reference[end..];
        }
        text.push_str(rest);
        Ok(text)
    }
}

/// A line that is being cut: replacements come from left to right.
struct Cut {
    line: String,
    done: usize,
    pieces: Vec<Piece>,
}

impl Cut {
    fn new(line: String) -> Self {
        Self { line, done: 0, pieces: Vec::new() }
    }

    fn replace(&mut self, span: Range<usize>, with: Vec<Piece>) {
        self.push_text(span.start);
        self.pieces.extend(with);
        self.done = span.end;
    }

    fn finish(mut self) -> Vec<Piece> {
        self.push_text(self.line.len());
        self.pieces
    }

    fn push_text(&mut self, end: usize) {
        if end > self.done {
            self.pieces.push(Piece::Text(self.line[self.done..end].to_owned()));
        }
    }
}

/// Variants without PATHWAY-ID belong to this one (RFC 8216bis, 4.4.6.2).
const NO_PATHWAY: &str = ".";

/// Neither a group's name nor a pathway's id is long, and no id contains the sign: names of pathways never collide.
fn own_group() -> Vec<Piece> {
    vec![Piece::Text("@".to_owned()), Piece::Id]
}

fn kind_of(name: &str) -> Result<Kind, RewriteError> {
    Ok(match name {
        "INF" | "-X-TARGETDURATION" | "-X-MEDIA-SEQUENCE" | "-X-PART-INF" | "-X-PART" => {
            return Err(RewriteError::MediaPlaylist);
        }
        "-X-CONTENT-STEERING" => Kind::Steering,
        "-X-STREAM-INF" => Kind::Variant,
        "-X-I-FRAME-STREAM-INF" => Kind::IFrames,
        "-X-MEDIA" => Kind::Rendition,
        // The third is no standard but common; its images lie beside the video.
        "-X-SESSION-DATA" | "-X-SESSION-KEY" | "-X-IMAGE-STREAM-INF" => Kind::Located,
        _ => Kind::Plain,
    })
}

fn has_own_media(list: &str) -> bool {
    matches!(value(&attributes(list), "TYPE"), Some("AUDIO" | "VIDEO" | "SUBTITLES"))
}

fn value<'a>(attributes: &[Attribute<'a>], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value)
}

fn pathway_of<'a>(attributes: &[Attribute<'a>]) -> &'a str {
    value(attributes, "PATHWAY-ID").unwrap_or(NO_PATHWAY)
}
