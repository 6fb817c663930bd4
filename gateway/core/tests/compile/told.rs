//! What people are told of a world: `golden/told/NAME.in.yaml`, whose header asks: `{explain: host/path, from: r/z/s}`,
//! `{whatif: [zone=z], from: r/z/s}`, `{matrix: part of a backend's name, by: zone}`.

use std::fmt::Write as _;
use std::time::Instant;

use http::HeaderMap;
use isthmus_core::explain::{CLIENT, Question, explain};
use isthmus_core::model::Endpoint;
use isthmus_core::whatif::{By, Down, Matrix, localities, whatif};
use serde::{Deserialize, Serialize};

use super::Compiled;
use super::place::header;

#[derive(Debug, Deserialize)]
struct Ask {
    explain: Option<String>,
    whatif: Option<Vec<String>>,
    matrix: Option<String>,
    from: Option<String>,
    by: Option<By>,
}

/// The answers, in order.
pub(super) fn told(text: &str) -> String {
    let asks: Vec<Ask> = serde_yaml::from_value(header(text, "ask").expect("something is asked")).expect("asks");
    let compiled = Compiled::of(text);
    let mut out = compiled.place.refusals();
    for ask in asks {
        writeln!(out, "---").expect("writing");
        out += &answer(&ask, &compiled);
    }
    compiled.place.shown(&out)
}

fn answer(ask: &Ask, compiled: &Compiled) -> String {
    let snapshot = compiled.snapshot();
    let from = ask.from.as_deref().map(Into::into);
    if let Some(url) = &ask.explain {
        let (authority, path) = url.split_once('/').unwrap_or((url, ""));
        let question = Question {
            method: "GET".into(),
            tls: false,
            port: 80,
            authority: authority.into(),
            target: format!("/{path}"),
            headers: HeaderMap::new(),
            client: CLIENT,
            from,
        };
        let mut told = explain(snapshot, &question, &|_| None, Instant::now());
        // How a route is found and what becomes of the head is told elsewhere.
        told.servers.clear();
        told.route = None;
        told.destinations.iter_mut().for_each(|d| d.limits.retain(|l| l.limit.is_some()));
        return yaml(&told);
    }
    if let Some(down) = &ask.whatif {
        let down: Vec<Down> = down.iter().map(|d| d.parse().expect("something that can be down")).collect();
        return yaml(&whatif(snapshot, &down, from.as_ref()));
    }
    let name = ask.matrix.as_deref().expect("explain, whatif or matrix");
    let all: Vec<&Endpoint> = compiled.world.catalog.endpoints.values().flat_map(|e| e.iter()).map(|e| &**e).collect();
    let known = localities(all.into_iter());
    let slots = compiled.compiler.slots();
    let named = slots.iter().filter(|s| s.name().contains(name));
    named.map(|s| yaml(&Matrix::of(&s.key, &s.view.load(), &known, ask.by.unwrap_or_default()))).collect()
}

fn yaml<T: Serialize>(value: &T) -> String {
    serde_yaml::to_string(value).expect("it is YAML")
}
