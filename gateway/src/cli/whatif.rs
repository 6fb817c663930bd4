//! `isthmus whatif`: where traffic goes when something is down, and who has no survivor.

use std::collections::BTreeMap;

use isthmus_config::problem::Severity;
use isthmus_core::whatif::{Down, Finding, Flow, Load, Outcome, Whatif};

use super::args;
use super::out::{Exit, Out, Paint, dash, percent, table};
use super::print::print;
use super::{Done, Failed, client, offline};
use crate::admin::WhatifForm;

/// Runs `isthmus whatif`.
pub(super) fn run(out: Out, asked: &args::Whatif) -> Done {
    let form = WhatifForm { down: asked.down.iter().map(ToString::to_string).collect(), from: asked.from.clone() };
    let told: Whatif = match asked.place.asked()? {
        Some(world) => offline(out, &world).whatif(&asked.down, form.from().as_ref()),
        None => {
            let body = serde_json::to_vec(&form).map_err(|e| Failed::Other(e.to_string()))?;
            let answer = client::ask_json(asked.place.admin(), "/whatif", body).map_err(Failed::Other)?;
            serde_json::from_slice(&answer).map_err(|e| Failed::Other(format!("the admin port answered something else: {e}")))?
        }
    };
    print(out, asked.output.output, &told, |wide| text(out, &told, Places::of(&asked.down), wide))?;
    let found = told.findings.iter().filter_map(|f| severity(f.outcome)).any(|s| asked.failure_threshold.fails(s));
    Ok(if found { Exit::Findings } else { Exit::Done })
}

/// How bad an outcome is, for the exit code.
fn severity(outcome: Outcome) -> Option<Severity> {
    match outcome {
        Outcome::NoSurvivor => Some(Severity::Error),
        Outcome::Strained => Some(Severity::Warning),
        Outcome::Moved => Some(Severity::Info),
        Outcome::Spared => None,
    }
}

/// By what traffic is summed up: what is down says what a person looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Places {
    Clusters,
    Regions,
    Zones,
    Localities,
}

impl Places {
    fn of(down: &[Down]) -> Self {
        let one = |down: &Down| match down {
            Down::Cluster(_) | Down::Network(_) => Self::Clusters,
            Down::Region(_) => Self::Regions,
            Down::Zone(_) => Self::Zones,
            Down::Locality(_) | Down::Endpoint(..) => Self::Localities,
        };
        down.first().map_or(Self::Localities, one)
    }
    fn name(self, flow: &Flow) -> String {
        let segments = |n: usize| flow.locality.splitn(4, '/').take(n).collect::<Vec<_>>().join("/");
        match self {
            Self::Clusters => dash(&flow.cluster),
            Self::Regions => dash(&segments(1)),
            Self::Zones => dash(&segments(2)),
            Self::Localities if flow.locality.is_empty() => dash(&flow.cluster),
            Self::Localities => format!("{} {}", flow.cluster, flow.locality).trim().to_owned(),
        }
    }
}

/// Places named in one cell at most.
const NAMED: usize = 4;

/// For people; `wide` adds whose requests go there.
fn text(out: Out, told: &Whatif, places: Places, wide: bool) -> String {
    let from = if told.from.is_empty() { String::new() } else { format!(", seen from {}", told.from) };
    let mut text = format!("{}: {} of {} endpoints{from}\n", told.down.join(" and "), told.endpoints_down, told.endpoints);
    let shown: Vec<&Finding> = told.findings.iter().filter(|f| f.outcome != Outcome::Spared).collect();
    if !shown.is_empty() {
        let mut head = vec!["BACKEND", "DOWN", "NOW", "THEN", "LOAD", "NOTICED BY"];
        head.extend(wide.then_some("HOSTS"));
        let rows: Vec<Vec<String>> = shown.iter().map(|f| row(f, places, head.len())).collect();
        let table = table(&head, &rows);
        let mut lines = table.lines();
        text += &format!("\n{}\n", lines.next().unwrap_or_default());
        for (line, finding) in lines.zip(&shown) {
            let line = match finding.outcome {
                Outcome::NoSurvivor => out.paint(Paint::Red, line),
                Outcome::Strained => out.paint(Paint::Yellow, line),
                Outcome::Moved | Outcome::Spared => line.to_owned(),
            };
            text += &format!("{line}\n");
        }
    }
    text += &format!("\n{}\n", summary(told));
    for note in &told.notes {
        text += &format!("{} {note}\n", out.paint(Paint::Yellow, "note:"));
    }
    text
}

fn row(finding: &Finding, places: Places, columns: usize) -> Vec<String> {
    let subset = if finding.subset.is_empty() { String::new() } else { format!(" subset {}", finding.subset) };
    let then = if finding.outcome == Outcome::NoSurvivor { "nobody: 503 UH".to_owned() } else { flows(&finding.then, places) };
    let load = if finding.load.is_empty() { "-".to_owned() } else { finding.load.iter().take(2).map(load).collect::<Vec<_>>().join(", ") };
    let cells = [
        format!("{}:{}{subset}", finding.host, finding.port),
        format!("{}/{}", finding.endpoints_down, finding.endpoints),
        flows(&finding.now, places),
        then,
        load,
        noticed(finding),
        finding.hosts.join(" "),
    ];
    cells.into_iter().take(columns).collect()
}

fn flows(flows: &[Flow], places: Places) -> String {
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    for flow in flows {
        *shares.entry(places.name(flow)).or_default() += flow.share;
    }
    let mut shares: Vec<(String, f64)> = shares.into_iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let more = shares.len().saturating_sub(NAMED);
    let mut words: Vec<String> = shares.iter().take(NAMED).map(|(name, share)| format!("{name} {}", percent(*share))).collect();
    words.extend((more > 0).then(|| format!("{more} more")));
    words.join(", ")
}

fn load(load: &Load) -> String {
    let verb = if load.endpoints == 1 { "carries" } else { "carry" };
    let who = match (load.idle, load.endpoints) {
        (false, 1) => "endpoint",
        (false, _) => "endpoints",
        (true, 1) => "idle one",
        (true, _) => "idle ones",
    };
    format!("{} {who} {verb} {:.1}x", load.endpoints, load.factor)
}

/// What tells the gateway that the endpoints are down.
fn noticed(finding: &Finding) -> String {
    match finding.ejectable {
        None => "readiness".to_owned(),
        Some(0) => "readiness, ejects none".to_owned(),
        Some(n) if (n as usize) < finding.endpoints_down => format!("readiness, ejects {n}"),
        Some(_) => "readiness, ejection".to_owned(),
    }
}

fn summary(told: &Whatif) -> String {
    let count = |outcome: Outcome| told.findings.iter().filter(|f| f.outcome == outcome).count();
    let gone = count(Outcome::NoSurvivor);
    let strained = count(Outcome::Strained);
    let mut parts = vec![match gone {
        0 => "every backend has a survivor".to_owned(),
        1 => "1 backend has no survivor".to_owned(),
        n => format!("{n} backends have no survivor"),
    }];
    if strained > 0 {
        parts.push(format!("{strained} carry twice as much or more"));
    }
    let changed = told.findings.len() - count(Outcome::Spared);
    parts.push(format!("{changed} of {} change", told.backends));
    if told.empty_now > 0 {
        parts.push(format!("{} have nobody even now", told.empty_now));
    }
    parts.join(", ")
}
