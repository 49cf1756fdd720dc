//! Which edge a viewer should have: the nearest that takes it, unless the one that was asked is about as near.

use super::fleet::{Edge, Fleet};
use geo::{Country, Place};

/// Where a viewer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewer {
    pub place: Place,
    pub country: Option<Country>,
}

/// How the node that was asked is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    pub draining: bool,
    pub full: bool,
}

/// Where to.
#[derive(Clone, Copy)]
pub enum Decision<'a> {
    /// No other is nearer by the margin.
    Near,
    /// There is a reason to leave, and nobody to go to.
    Alone,
    Send(&'a Edge, Why),
}

/// Why not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Far,
    Full,
    Draining,
    /// This edge does not serve the viewer's country.
    Country,
}

/// Decides for a viewer who asked this node. Only distance has a margin: two edges that are about as far from a viewer
/// must not send it to and fro, and databases are wrong by tens of kilometres.
pub fn decide<'a>(fleet: &'a Fleet, viewer: &Viewer, own: Own, margin_km: f64) -> Decision<'a> {
    let here = fleet.own();
    let why = if own.draining || here.drain {
        Why::Draining
    } else if own.full {
        Why::Full
    } else if !here.serves(viewer.country) {
        Why::Country
    } else {
        Why::Far
    };
    let nearest = nearest(fleet, viewer);
    match nearest {
        Some((km, _)) if why == Why::Far && km + margin_km >= here.place.distance_km(viewer.place) => Decision::Near,
        Some((_, edge)) => Decision::Send(edge, why),
        None if why == Why::Far => Decision::Near,
        None => Decision::Alone,
    }
}

/// The nearest other edge that takes the viewer. Of several at one place the first by name, whatever order the file has.
fn nearest<'a>(fleet: &'a Fleet, viewer: &Viewer) -> Option<(f64, &'a Edge)> {
    let takers = fleet.others().filter(|edge| edge.takes(viewer.country));
    let distances = takers.map(|edge| (edge.place.distance_km(viewer.place), edge));
    distances.min_by(|(one, a), (other, b)| one.total_cmp(other).then_with(|| a.name.cmp(&b.name)))
}

impl Why {
    pub fn label(self) -> &'static str {
        match self {
            Self::Far => "far",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Country => "country",
        }
    }
}

#[cfg(test)]
mod tests;
