//! `isthmus explain`: one request decided step by step.

use isthmus_core::explain::{AnswerTold, DestinationTold, Edit, EndpointTold, Explanation, LimitTold};

use super::args::Explain;
use super::client::{self, Url};
use super::out::{Exit, Out, Paint, bar, dash, percent, table};
use super::print::print;
use super::{Done, Failed, offline};
use crate::admin::ExplainForm;

/// Runs `isthmus explain`.
pub(super) fn run(out: Out, explain: &Explain) -> Done {
    let (method, url) = match &explain.request[..] {
        [method] if http::Method::from_bytes(method.as_bytes()).is_ok_and(|m| KNOWN.contains(&m)) => {
            return Err(Failed::Usage(format!("{method} of what? A URL is missing, such as http://shop.example/api")));
        }
        [url] => ("GET", url),
        [method, url] => (method.as_str(), url),
        _ => return Err(Failed::Usage("expected [METHOD] URL".to_owned())),
    };
    let url = Url::parse(url).map_err(Failed::Usage)?;
    let mut headers = explain.headers.iter().map(|h| client::header(h)).collect::<Result<Vec<_>, _>>().map_err(Failed::Usage)?;
    let authority = match headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("host")) {
        Some(host) => headers.remove(host).1,
        None => url.authority,
    };
    let form =
        ExplainForm { method: method.to_owned(), tls: url.tls, port: url.port, authority, target: url.target, headers, from: explain.from.clone() };
    let told = match explain.place.asked()? {
        Some(asked) => offline(out, &asked).explain(&form.into()),
        None => {
            let body = serde_json::to_vec(&form).map_err(|e| Failed::Other(e.to_string()))?;
            let answer = client::ask_json(explain.place.admin(), "/explain", body).map_err(Failed::Other)?;
            serde_json::from_slice(&answer).map_err(|e| Failed::Other(format!("the admin port answered something else: {e}")))?
        }
    };
    print(out, explain.output.output, &told, |wide| text(out, &told, wide))?;
    Ok(Exit::Done)
}

/// What nobody means as the name of a host.
const KNOWN: [http::Method; 7] = {
    use http::Method as M;
    [M::GET, M::HEAD, M::POST, M::PUT, M::PATCH, M::DELETE, M::OPTIONS]
};

/// An explanation for people. Envoy's names only where `wide`.
pub(super) fn text(out: Out, told: &Explanation, wide: bool) -> String {
    let mut text = out.paint(Paint::Bold, &told.request) + "\n";
    let mut step = |name: &str, line: &str| text.push_str(&format!("{} {line}\n", out.paint(Paint::Cyan, &format!("{name:>13}"))));
    if let Some(listener) = &told.listener {
        step("listener", &format!("{}:{}", listener.address, listener.port));
    }
    for server in &told.servers {
        step("server", &format!("port {} {} for {}  {}", server.port, server.protocol, server.hosts.join(" "), server.place));
    }
    if let Some(host) = &told.virtual_host {
        let routes = if host.routes == 1 { "1 route".to_owned() } else { format!("{} routes", host.routes) };
        step("virtual host", &format!("{} ({routes})", host.domain));
    }
    for passed in &told.passed_over {
        step("not", &format!("{} {}\n{:15}{}", out.paint(Paint::Dim, "✗"), passed.rule, "", out.paint(Paint::Dim, &passed.reason)));
    }
    if let Some(route) = &told.route {
        let name = if route.name.is_empty() { String::new() } else { format!("{:?} ", route.name) };
        step("route", &format!("{} {name}{}\n{:15}{}", out.paint(Paint::Green, "✓"), route.rule, "", out.paint(Paint::Dim, &route.matched)));
        if let Some(root) = &route.root {
            step("delegated by", root);
        }
        for word in &route.words {
            step("then", word);
        }
        for edit in &route.edits {
            step("edit", &edited(edit));
        }
    }
    for destination in &told.destinations {
        text += &destined(out, destination, wide);
    }
    if let Some(answer) = &told.answer {
        text += &format!("{} {}\n", out.paint(Paint::Cyan, &format!("{:>13}", "answer")), answered(answer));
    }
    for note in &told.notes {
        text += &format!("{} {note}\n", out.paint(Paint::Yellow, &format!("{:>13}", "note")));
    }
    text
}

fn edited(edit: &Edit) -> String {
    match (&edit.before, &edit.after) {
        (None, Some(after)) => format!("{} {}: {after} added", edit.of, edit.what),
        (Some(before), None) => format!("{} {}: {before} removed", edit.of, edit.what),
        (before, after) => format!("{} {}: {} -> {}", edit.of, edit.what, before.as_deref().unwrap_or("-"), after.as_deref().unwrap_or("-")),
    }
}

fn destined(out: Out, told: &DestinationTold, wide: bool) -> String {
    let subset = if told.subset.is_empty() { String::new() } else { format!(" subset {}", told.subset) };
    let name = if wide { told.backend.clone() } else { format!("{}:{}{subset}", told.host, told.port) };
    let step = |name: &str, line: &str| format!("{} {line}\n", out.paint(Paint::Cyan, &format!("{name:>13}")));
    let mut text =
        step("backend", &format!("{} {:.4} % {}", out.paint(Paint::Bold, &name), told.share * 100.0, bar(told.share, 10)).replace(".0000 %", " %"));
    for edit in &told.edits {
        text += &step("edit", &edited(edit));
    }
    if let Some(problem) = &told.problem {
        return text + &step("", &out.paint(Paint::Red, problem));
    }
    text += &step("balanced", &told.balancing);
    text += &step("limits", &limits(out, &told.limits));
    text += &step("localities", &told.lined_up);
    text += &inset(&priorities(told));
    text += &inset(&endpoints(told));
    if told.more_endpoints > 0 {
        text += &format!("{:15}and {} more\n", "", told.more_endpoints);
    }
    text
}

/// Limits with what there is at once; those that are reached stand out.
fn limits(out: Out, limits: &[LimitTold]) -> String {
    let one = |told: &LimitTold| {
        let limit = told.limit?;
        let refused = if told.overflow > 0 { format!(", refused {}", told.overflow) } else { String::new() };
        let text = format!("{} {} of {limit} (peak {}{refused})", told.field, told.used, told.peak);
        Some(if told.open { out.paint(Paint::Red, &format!("{text}: full")) } else { text })
    };
    let limits: Vec<String> = limits.iter().filter_map(one).collect();
    if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }
}

/// A line per priority and locality.
fn priorities(told: &DestinationTold) -> String {
    let weighted = told.priorities.iter().flat_map(|p| &p.localities).any(|l| l.weight.is_some());
    let mut rows = Vec::new();
    for priority in &told.priorities {
        let panic = if priority.panic { " in panic" } else { "" };
        let head = [priority.priority.to_string(), format!("{}/{}{panic}", priority.healthy, priority.total), format!("{} %", priority.load)];
        let mut head = Some(head);
        for place in &priority.localities {
            let [number, healthy, load] = head.take().unwrap_or_default();
            let healthy_here = format!("{}/{}", place.healthy, place.total);
            let mut row = vec![number, healthy, load, dash(&place.locality), healthy_here, percent(place.share)];
            row.extend(place.weight.filter(|_| weighted).map(|w| w.to_string()));
            rows.push(row);
        }
        // One that has no locality has no endpoint.
        rows.extend(head.map(Vec::from));
    }
    let mut columns = vec!["PRIORITY", "HEALTHY", "LOAD", "LOCALITY", "HEALTHY THERE", "SHARE"];
    columns.extend(weighted.then_some("WEIGHT"));
    table(&columns, &rows)
}

fn endpoints(told: &DestinationTold) -> String {
    let row = |e: &EndpointTold| {
        let priority = e.priority.map_or_else(|| "-".to_owned(), |p| p.to_string());
        vec![e.address.clone(), e.cluster.clone(), dash(&e.locality), dash(&e.workload), priority, health(e), percent(e.odds)]
    };
    let rows: Vec<Vec<String>> = told.endpoints.iter().map(row).collect();
    table(&["ENDPOINT", "CLUSTER", "LOCALITY", "WORKLOAD", "PRIORITY", "HEALTH", "ODDS"], &rows)
}

fn health(endpoint: &EndpointTold) -> String {
    match &endpoint.ejection {
        Some(ejection) => format!("{} ({}, until {})", endpoint.health, ejection.cause, ejection.until),
        None => endpoint.health.clone(),
    }
}

fn inset(table: &str) -> String {
    table.lines().map(|line| format!("{:14} {line}\n", "")).collect()
}

fn answered(answer: &AnswerTold) -> String {
    let location = answer.location.as_ref().map(|l| format!(" to {l}")).unwrap_or_default();
    let body = if answer.body.is_empty() { String::new() } else { format!(", body {:?}", answer.body) };
    format!("{}{location}{body} (flags {}, {})", answer.status, answer.flags, answer.details)
}
