//! A reader of MPDs that shares nothing with the writer under test.

use crate::conformance::text::{Attributes, unix_s};
use roxmltree::{Document, Node};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mpd {
    pub(super) named: bool,
    pub(super) attributes: Attributes,
    pub(super) dynamic: bool,
    pub(super) start_unix_s: Option<f64>,
    pub(super) published_unix_s: Option<f64>,
    pub(super) update_s: Option<f64>,
    pub(super) depth_s: Option<f64>,
    pub(super) base: Vec<String>,
    pub(super) has_latency: bool,
    /// UTCTiming: scheme and value.
    pub(super) clocks: Vec<(String, String)>,
    pub(super) periods: Vec<Period>,
    /// Elements that come after one that the schema puts behind them.
    pub(super) misplaced: Vec<String>,
    /// All of it, to tell whether two are the same.
    pub(super) text: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Period {
    pub(super) id: Option<String>,
    pub(super) start_s: Option<f64>,
    pub(super) duration_s: Option<f64>,
    pub(super) sets: Vec<Set>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Set {
    /// `video`, `audio`; empty where nothing tells.
    pub(super) kind: String,
    pub(super) aligned: bool,
    pub(super) sap: Option<u8>,
    pub(super) base: Vec<String>,
    /// ProducerReferenceTime.
    pub(super) references: Vec<Attributes>,
    pub(super) representations: Vec<Representation>,
}

/// With what it inherits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Representation {
    pub(super) id: String,
    pub(super) attributes: Attributes,
    pub(super) base: Vec<String>,
    /// ContentProtection of its set and its own.
    pub(super) protection: Vec<Attributes>,
    /// Columns and rows of pictures in an image, as they are told.
    pub(super) tiles: Option<String>,
    pub(super) template: Option<Template>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Template {
    pub(super) media: String,
    pub(super) initialization: Option<String>,
    pub(super) timescale: f64,
    pub(super) duration: Option<f64>,
    pub(super) has_timeline: bool,
    pub(super) start_number: u64,
    pub(super) offset: f64,
    pub(super) early_s: Option<f64>,
    pub(super) complete: Option<bool>,
}

/// The order of the schema (DASH-MPD.xsd), as far as elements are usual.
const ORDERS: [(&str, &[&str]); 3] = [
    (
        "MPD",
        &[
            "ProgramInformation",
            "BaseURL",
            "Location",
            "PatchLocation",
            "ServiceDescription",
            "ContentSteering",
            "Period",
            "Metrics",
            "EssentialProperty",
            "SupplementalProperty",
            "UTCTiming",
        ],
    ),
    (
        "Period",
        &[
            "BaseURL",
            "SegmentBase",
            "SegmentList",
            "SegmentTemplate",
            "AssetIdentifier",
            "EventStream",
            "ServiceDescription",
            "ContentProtection",
            "AdaptationSet",
            "Subset",
            "SupplementalProperty",
        ],
    ),
    (
        "AdaptationSet",
        &[
            "FramePacking",
            "AudioChannelConfiguration",
            "ContentProtection",
            "OutputProtection",
            "EssentialProperty",
            "SupplementalProperty",
            "InbandEventStream",
            "Switching",
            "RandomAccess",
            "GroupLabel",
            "Label",
            "ProducerReferenceTime",
            "ContentPopularityRate",
            "Resync",
            "Accessibility",
            "Role",
            "Rating",
            "Viewpoint",
            "ContentComponent",
            "BaseURL",
            "SegmentBase",
            "SegmentList",
            "SegmentTemplate",
            "Representation",
        ],
    ),
];

const NAMESPACE: &str = "urn:mpeg:dash:schema:mpd:2011";

/// # Errors
/// It is no XML.
pub(super) fn read(text: &str) -> Result<Mpd, roxmltree::Error> {
    let document = Document::parse(text)?;
    let root = document.root_element();
    let attributes = attributes(root);
    let date = |name: &str| unix_s(attributes.get(name)?);
    let seconds = |name: &str| seconds(attributes.get(name)?);
    let mut misplaced = Vec::new();
    for node in document.descendants().filter(Node::is_element) {
        misplaced.extend(out_of_order(node));
    }
    Ok(Mpd {
        named: root.tag_name().name() == "MPD" && root.tag_name().namespace() == Some(NAMESPACE),
        dynamic: attributes.get("type").is_some_and(|kind| kind == "dynamic"),
        start_unix_s: date("availabilityStartTime"),
        published_unix_s: date("publishTime"),
        update_s: seconds("minimumUpdatePeriod"),
        depth_s: seconds("timeShiftBufferDepth"),
        base: base(root),
        has_latency: root.descendants().any(|node| node.has_tag_name((NAMESPACE, "Latency"))),
        clocks: children(root, "UTCTiming")
            .map(|node| {
                let of = |name: &str| node.attribute(name).unwrap_or_default().to_owned();
                (of("schemeIdUri"), of("value"))
            })
            .collect(),
        periods: children(root, "Period").map(period).collect(),
        misplaced,
        attributes,
        text: text.to_owned(),
    })
}

fn period(node: Node<'_, '_>) -> Period {
    Period {
        id: node.attribute("id").map(str::to_owned),
        start_s: node.attribute("start").and_then(seconds),
        duration_s: node.attribute("duration").and_then(seconds),
        sets: children(node, "AdaptationSet").map(|set| self::set(node, set)).collect(),
    }
}

fn set(period: Node<'_, '_>, node: Node<'_, '_>) -> Set {
    let kind = node.attribute("contentType").or_else(|| node.attribute("mimeType")?.split('/').next());
    let truth = |name: &str| node.attribute(name) == Some("true");
    Set {
        kind: kind.unwrap_or_default().to_owned(),
        aligned: truth("segmentAlignment") || truth("subsegmentAlignment"),
        sap: node.attribute("startWithSAP").and_then(|sap| sap.parse().ok()),
        base: base(period).into_iter().chain(base(node)).collect(),
        references: children(node, "ProducerReferenceTime").map(attributes).collect(),
        representations: children(node, "Representation").map(|one| representation([period, node, one])).collect(),
    }
}

fn representation(levels: [Node<'_, '_>; 3]) -> Representation {
    let [_, set, node] = levels;
    let mut all = attributes(set);
    all.remove("id");
    all.extend(attributes(node));
    let kind = set.attribute("mimeType").or_else(|| node.attribute("mimeType"));
    if let Some(kind) = kind {
        all.insert("mimeType".to_owned(), kind.to_owned());
    }
    // 5.3.9.1: what a level says holds below, unless that says otherwise.
    let mut template: Option<Attributes> = None;
    let mut has_timeline = false;
    for said in levels.into_iter().flat_map(|level| children(level, "SegmentTemplate")) {
        template.get_or_insert_default().extend(attributes(said));
        has_timeline |= children(said, "SegmentTimeline").next().is_some();
    }
    Representation {
        id: node.attribute("id").unwrap_or_default().to_owned(),
        attributes: all,
        base: base(node),
        protection: [set, node]
            .into_iter()
            .flat_map(|level| children(level, "ContentProtection"))
            .map(attributes)
            .collect(),
        tiles: [node, set].into_iter().find_map(tiles),
        template: template.map(|template| self::template(&template, has_timeline)),
    }
}

fn template(said: &Attributes, has_timeline: bool) -> Template {
    let number = |name: &str| said.get(name)?.parse::<f64>().ok();
    Template {
        media: said.get("media").cloned().unwrap_or_default(),
        initialization: said.get("initialization").cloned(),
        timescale: number("timescale").unwrap_or(1.0),
        duration: number("duration"),
        has_timeline,
        start_number: said.get("startNumber").and_then(|number| number.parse().ok()).unwrap_or(1),
        offset: number("presentationTimeOffset").unwrap_or(0.0),
        early_s: number("availabilityTimeOffset").filter(|early| *early > 0.0),
        complete: said.get("availabilityTimeComplete").map(|complete| complete == "true"),
    }
}

impl Mpd {
    /// How long a period is (5.3.2.1): as it says, else until the next begins, else until the presentation ends.
    pub(super) fn length_s(&self, index: usize) -> Option<f64> {
        let period = self.periods.get(index)?;
        let until = match self.periods.get(index + 1) {
            Some(next) => next.start_s,
            None => self.attributes.get("mediaPresentationDuration").and_then(|duration| seconds(duration)),
        };
        period.duration_s.or_else(|| Some(until? - period.start_s.unwrap_or(0.0)))
    }
}

impl Period {
    /// Every representation whose segments a template names.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&Set, &Representation, &Template)> {
        let all = self.sets.iter().flat_map(|set| set.representations.iter().map(move |one| (set, one)));
        all.filter_map(|(set, one)| Some((set, one, one.template.as_ref()?)))
    }
}

impl Set {
    pub(super) fn is_image(&self) -> bool {
        self.kind == "image"
    }

    pub(super) fn is_text(&self) -> bool {
        self.kind == "text"
    }
}

impl Template {
    /// Of a segment, where all are of one length and told apart by their number.
    pub(super) fn length_s(&self) -> Option<f64> {
        let counted = self.media.contains("$Number") && !self.has_timeline;
        self.duration.filter(|_| counted).map(|ticks| ticks / self.timescale)
    }

    /// The last segment whose availability time is past, so many seconds after the period's start.
    pub(super) fn newest(&self, since_start_s: f64, length_s: f64, early_s: f64) -> Option<u64> {
        let begun = ((since_start_s + early_s) / length_s).floor();
        (begun >= 1.0).then(|| self.start_number + begun as u64 - 1)
    }

    /// 5.3.9.4.4.
    pub(super) fn name(&self, pattern: &str, representation: &Representation, number: u64) -> String {
        let mut out = String::new();
        for (index, piece) in pattern.split('$').enumerate() {
            let (name, width) = piece.split_once("%0").unwrap_or((piece, "1d"));
            let width = width.trim_end_matches('d').parse().unwrap_or(1);
            match (index % 2, name) {
                (1, "RepresentationID") => out.push_str(&representation.id),
                (1, "Number") => out.push_str(&format!("{number:0width$}")),
                (1, "Bandwidth") => out.push_str(representation.attributes.get("bandwidth").map_or("", |text| text)),
                (1, "") => out.push('$'),
                _ => out.push_str(piece),
            }
        }
        out
    }
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name((NAMESPACE, name)))
}

fn attributes(node: Node<'_, '_>) -> Attributes {
    node.attributes().map(|attribute| (attribute.name().to_owned(), attribute.value().to_owned())).collect()
}

fn base(node: Node<'_, '_>) -> Vec<String> {
    children(node, "BaseURL").take(1).filter_map(|base| Some(base.text()?.trim().to_owned())).collect()
}

/// DASH-IF IOP, 6.2.6.
fn tiles(node: Node<'_, '_>) -> Option<String> {
    let is_told =
        |one: &Node<'_, '_>| one.attribute("schemeIdUri") == Some("http://dashif.org/guidelines/thumbnail_tile");
    let mut properties = children(node, "EssentialProperty").chain(children(node, "SupplementalProperty"));
    properties.find(is_told)?.attribute("value").map(str::to_owned)
}

fn out_of_order(node: Node<'_, '_>) -> Option<String> {
    let (_, order) = ORDERS.iter().find(|(name, _)| node.tag_name().name() == *name)?;
    let mut reached = 0;
    for child in node.children().filter(Node::is_element) {
        let name = child.tag_name().name();
        let Some(place) = order.iter().position(|known| *known == name) else { continue };
        if place < reached {
            return Some(format!("{name} after {}", order[reached]));
        }
        reached = place;
    }
    None
}

/// `P1DT2H3M4.5S`; years and months are nobody's.
fn seconds(duration: &str) -> Option<f64> {
    let duration = duration.strip_prefix('P')?;
    let (days, time) = duration.split_once('T').unwrap_or((duration, ""));
    let mut total = 0.0;
    for (text, units) in [(days, &[('D', 86_400.0)][..]), (time, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])] {
        let mut rest = text;
        for (unit, length_s) in units {
            if let Some((number, after)) = rest.split_once(*unit) {
                total += number.parse::<f64>().ok()? * length_s;
                rest = after;
            }
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_others_read_them() {
        for (text, expected) in [
            ("PT2S", Some(2.0)),
            ("PT1795226400.500S", Some(1_795_226_400.5)),
            ("P1DT2H3M4.5S", Some(93_784.5)),
            ("P2D", Some(172_800.0)),
            ("PT", Some(0.0)),
            ("2S", None),
            ("PT2X", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn names_are_made_as_others_make_them() {
        let attributes = Attributes::from([("bandwidth".to_owned(), "900".to_owned())]);
        let representation = Representation { id: "720p".to_owned(), attributes, ..Representation::default() };
        let made = |pattern: &str| Template::default().name(pattern, &representation, 7);
        assert_eq!(made("$RepresentationID$/$Number%05d$.m4s"), "720p/00007.m4s");
        assert_eq!(made("a$$b/$Bandwidth$/$Number$"), "a$b/900/7");
    }
}
