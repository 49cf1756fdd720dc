//! Decisions over small fleets, and what holds of every decision over any fleet.

use super::*;
use crate::metrics::Polled;
use crate::steer::load::Load;
use config::{FleetEdge, FleetFile};
use std::time::Instant;

const PARIS: (f64, f64) = (48.86, 2.35);
const LONDON: (f64, f64) = (51.51, -0.13);
const TOKYO: (f64, f64) = (35.68, 139.69);

fn edge(name: &str, (latitude, longitude): (f64, f64)) -> FleetEdge {
    let url = format!("http://{name}.example");
    let name = name.to_owned();
    FleetEdge { name, url, latitude, longitude, viewers_max: 100, drain: false, countries: Vec::new() }
}

fn load(name: &str) -> Load {
    Load { name: name.to_owned(), viewers: 0, viewers_max: Some(100), full: false, draining: false }
}

/// A fleet seen from `own`, whose other edges have all answered.
fn fleet(own: &str, edges: Vec<FleetEdge>) -> Fleet {
    let names: Vec<_> = edges.iter().map(|edge| edge.name.clone()).collect();
    let mut fleet = Fleet::new(FleetFile { edges }, own, None).unwrap();
    names.iter().for_each(|name| fleet.polled(name, Ok(load(name)), Instant::now()));
    fleet
}

fn at((latitude, longitude): (f64, f64)) -> Viewer {
    Viewer { place: Place::new(latitude, longitude).unwrap(), country: Country::new("FR") }
}

fn told(fleet: &Fleet, viewer: Viewer, own: Own) -> String {
    match decide(fleet, &viewer, own, 300.0) {
        Decision::Near => "near".to_owned(),
        Decision::Alone => "alone".to_owned(),
        Decision::Send(edge, why) => format!("{} {}", edge.name, why.label()),
    }
}

fn all() -> Vec<FleetEdge> {
    vec![edge("paris", PARIS), edge("london", LONDON), edge("tokyo", TOKYO)]
}

const WELL: Own = Own { draining: false, full: false };

#[test]
fn a_far_viewer_is_sent_to_the_nearest() {
    assert_eq!(told(&fleet("tokyo", all()), at(PARIS), WELL), "paris far");
    assert_eq!(told(&fleet("tokyo", all()), at(LONDON), WELL), "london far");
    assert_eq!(told(&fleet("tokyo", all()), at(TOKYO), WELL), "near");
}

#[test]
fn neither_of_two_edges_within_the_margin_sends_a_viewer_to_the_other() {
    // Calais: 230 km from Paris, 150 km from London.
    let calais = at((50.95, 1.86));
    assert_eq!(told(&fleet("paris", all()), calais, WELL), "near");
    assert_eq!(told(&fleet("london", all()), calais, WELL), "near");
}

#[test]
fn whoever_is_full_or_draining_sends_without_a_margin_and_gets_nobody() {
    let paris = fleet("paris", all());
    assert_eq!(told(&paris, at(PARIS), Own { full: true, ..WELL }), "london full");
    assert_eq!(told(&paris, at(PARIS), Own { draining: true, full: true }), "london draining");
    let mut edges = all();
    edges[0].drain = true;
    assert_eq!(told(&fleet("paris", edges.clone()), at(PARIS), WELL), "london draining");
    assert_eq!(told(&fleet("tokyo", edges), at(PARIS), WELL), "london far");
    for said in [
        Load { full: true, ..load("paris") },
        Load { draining: true, ..load("paris") },
        Load { viewers: 100, ..load("paris") },
    ] {
        let mut fleet = fleet("tokyo", all());
        fleet.polled("paris", Ok(said), Instant::now());
        assert_eq!(told(&fleet, at(PARIS), WELL), "london far");
    }
}

#[test]
fn viewers_sent_count_until_the_edge_says_how_many_it_has() {
    let mut fleet = fleet("tokyo", all());
    let paris = |fleet: &Fleet| fleet.edges()[0].send();
    (0..100).for_each(|_| paris(&fleet));
    assert_eq!(told(&fleet, at(PARIS), WELL), "london far");
    fleet.polled("paris", Ok(load("paris")), Instant::now());
    assert_eq!(told(&fleet, at(PARIS), WELL), "paris far");
}

#[test]
fn an_edge_that_does_not_answer_gets_nobody_and_without_others_the_viewer_stays() {
    let mut fleet = fleet("tokyo", all());
    for _ in 0..2 {
        fleet.polled("paris", Err(Polled::Timeout), Instant::now());
    }
    assert_eq!(told(&fleet, at(PARIS), WELL), "london far");
    for _ in 0..2 {
        fleet.polled("london", Err(Polled::Unreachable), Instant::now());
    }
    assert_eq!(told(&fleet, at(PARIS), WELL), "near");
    assert_eq!(told(&fleet, at(PARIS), Own { full: true, ..WELL }), "alone");
    let unpolled = Fleet::new(FleetFile { edges: all() }, "tokyo", None).unwrap();
    assert_eq!(told(&unpolled, at(PARIS), WELL), "near", "nobody is sent to an edge that was never heard of");
}

#[test]
fn countries_are_served_where_they_are_listed() {
    let mut edges = all();
    edges[0].countries = vec!["DE".to_owned()];
    assert_eq!(told(&fleet("tokyo", edges.clone()), at(PARIS), WELL), "london far");
    assert_eq!(told(&fleet("paris", edges.clone()), at(PARIS), WELL), "london country");
    edges[0].countries = vec!["fr".to_owned()];
    assert_eq!(told(&fleet("paris", edges.clone()), at(PARIS), WELL), "near");
    let nowhere = Viewer { country: None, ..at(PARIS) };
    assert_eq!(told(&fleet("paris", edges), nowhere, WELL), "london country");
}

#[test]
fn a_new_file_keeps_what_is_known_and_must_list_this_node() {
    let before = fleet("tokyo", all());
    let mut edges = all();
    edges[1].url = "http://elsewhere.example".to_owned();
    let after = Fleet::new(FleetFile { edges }, "tokyo", Some(&before)).unwrap();
    let up: Vec<_> = after.others().map(|edge| edge.health.is_up()).collect();
    assert_eq!(up, [true, false], "another URL is another edge");
    assert!(Fleet::new(FleetFile { edges: all() }, "rome", None).is_err());
}

#[test]
fn any_decision_sends_to_the_nearest_edge_that_takes_the_viewer_and_never_back() {
    let mut state = 9_u64;
    let mut below = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let (mut sent, mut stayed) = (0, 0);
    for round in 0..3000 {
        // A coarse grid, so that several edges share a place.
        let mut place = || (below(7) as f64 * 20.0 - 60.0, below(9) as f64 * 40.0 - 160.0);
        let mut edges: Vec<_> = (0..8).map(|index| edge(&format!("e{index}"), place())).collect();
        let viewer = at(place());
        let mut loads = Vec::new();
        for edge in &mut edges {
            edge.drain = below(6) == 0;
            let mut said = load(&edge.name);
            (said.full, said.draining, said.viewers) = (below(6) == 0, below(6) == 0, below(110));
            loads.push((edge.name.clone(), if below(5) == 0 { None } else { Some(said) }));
        }
        let make = |edges: Vec<FleetEdge>, own: &str| {
            let mut fleet = Fleet::new(FleetFile { edges }, own, None).unwrap();
            for (name, said) in &loads {
                let end = said.clone().ok_or(Polled::Timeout);
                fleet.polled(name, end, Instant::now());
            }
            fleet
        };
        let own = Own { draining: below(5) == 0, full: below(5) == 0 };
        let fleet = make(edges.clone(), "e0");
        let decision = told(&fleet, viewer, own);

        let mut shuffled = edges.clone();
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, below(index as u64 + 1) as usize);
        }
        assert_eq!(
            told(&make(shuffled, "e0"), viewer, own),
            decision,
            "the order of the file decides nothing: {round}"
        );

        let takers: Vec<_> = fleet.others().filter(|edge| edge.takes(viewer.country)).collect();
        let leaves = own.draining || own.full || fleet.own().drain;
        match decide(&fleet, &viewer, own, 300.0) {
            Decision::Send(to, why) => {
                sent += 1;
                let km = |edge: &Edge| edge.place.distance_km(viewer.place);
                assert!(takers.iter().any(|taker| taker.name == to.name), "round {round}");
                assert!(takers.iter().all(|taker| km(to) <= km(taker)), "round {round}");
                if why == Why::Far {
                    let there = make(edges.clone(), &to.name);
                    let back = told(&there, viewer, WELL);
                    assert!(!back.starts_with("e0 "), "round {round}: sent to {} and back: {back}", to.name);
                }
            }
            Decision::Alone => assert!(leaves && takers.is_empty(), "round {round}"),
            Decision::Near => {
                stayed += 1;
                assert!(!leaves, "round {round}");
            }
        }
    }
    assert!(sent > 500 && stayed > 200, "{sent} sent, {stayed} stayed");
}
