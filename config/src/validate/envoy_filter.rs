//! Admission of an EnvoyFilter (contract 1.7, IST0151-IST0155).
//!
//! Whether a patch is one that Isthmus applies (section 8) is not decided here.

use super::{Checker, grammar};
use crate::istio::envoy_filter::{ApplyTo, EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter, FilterMatch, Operation, Patch, PatchContext};
use crate::object::{Kind, Object};
use crate::problem::{Problem, Severity};

const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// What is wrong with an EnvoyFilter by itself.
pub fn envoy_filter(object: &Object<EnvoyFilter>) -> Vec<Problem> {
    let mut c = Checker::new(Kind::EnvoyFilter, object);
    let spec = &object.spec;
    c.warning("", "an EnvoyFilter touches the internals of a proxy, which may change; prefer other APIs where there is one");
    c.some("workloadSelector", spec.workload_selector.as_ref(), |c, selector| c.selector("labels", &selector.labels));
    c.at_most("targetRefs", spec.target_refs.len(), 16);
    if spec.workload_selector.is_some() && !spec.target_refs.is_empty() {
        c.error("targetRefs", "cannot stand beside workloadSelector");
    }
    let mut versioned = Vec::new();
    c.each("configPatches", &spec.config_patches, |c, patch| config_patch(c, patch, spec.priority, &mut versioned));
    c.problems
}

/// `versioned`: names of filters that earlier patches bound to a proxy version.
fn config_patch<'p>(c: &mut Checker<'_>, config: &'p EnvoyConfigObjectPatch, priority: i32, versioned: &mut Vec<&'p str>) {
    if config.r#match.as_ref().is_some_and(|m| m.context == PatchContext::Waypoint) {
        return;
    }
    if config.apply_to == ApplyTo::Invalid {
        c.error("applyTo", "is needed");
        return;
    }
    let Some(patch) = &config.patch else {
        c.error("patch", "is needed");
        return;
    };
    c.at("patch", |c| match (patch.operation, &patch.value) {
        (Operation::Invalid, _) => c.error("operation", "is needed"),
        (Operation::Remove, _) | (_, Some(_)) => {}
        (_, None) => c.error("value", "is needed for every operation but REMOVE"),
    });
    c.some("match", config.r#match.as_ref(), |c, matched| object_match(c, config.apply_to, matched));
    let name = filter_name(config, patch);
    fragile(c, config.apply_to, patch.operation, priority == 0, versioned.contains(&name));
    if config.r#match.as_ref().and_then(|m| m.proxy.as_ref()).is_some_and(|proxy| !proxy.proxy_version.is_empty()) {
        versioned.push(name);
    }
}

fn filter_name<'p>(config: &'p EnvoyConfigObjectPatch, patch: &'p Patch) -> &'p str {
    let named = patch.value.as_ref().and_then(|value| value.get("name")).and_then(|name| name.as_str());
    let matched = || config.r#match.as_ref()?.listener.as_ref()?.filter_chain.as_ref()?.filter.as_ref();
    named.or_else(|| matched().map(|filter| filter.name.as_str())).unwrap_or_default()
}

/// Operations that do nothing for what they are applied to, and operations that hang on the order of filters.
fn fragile(c: &mut Checker<'_>, to: ApplyTo, operation: Operation, unordered: bool, versioned: bool) {
    let routes = matches!(to, ApplyTo::RouteConfiguration | ApplyTo::HttpRoute);
    let misused = match operation {
        Operation::Add if routes => Some(("IST0153", "ADD is ignored for routes and route configurations")),
        Operation::Remove if routes => Some(("IST0154", "REMOVE is ignored for routes and route configurations")),
        Operation::Replace if !matches!(to, ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::VirtualHost) => {
            Some(("IST0152", "REPLACE works for NETWORK_FILTER, HTTP_FILTER and VIRTUAL_HOST only"))
        }
        Operation::Invalid
        | Operation::Merge
        | Operation::Add
        | Operation::Remove
        | Operation::InsertBefore
        | Operation::InsertAfter
        | Operation::InsertFirst
        | Operation::Replace
        | Operation::MergeAndReplaceList => None,
    };
    let relative = matches!(operation, Operation::InsertBefore | Operation::InsertAfter | Operation::Remove | Operation::Replace);
    if let Some((code, message)) = misused {
        c.report(Severity::Error, code, "", message);
    } else if relative && unordered && versioned {
        let message =
            "the operation hangs on another filter's place, and an earlier patch of this filter holds for one proxy version only: set priority";
        c.report(Severity::Warning, "IST0155", "", message);
    } else if relative && unordered {
        c.report(Severity::Warning, "IST0151", "", "the operation hangs on another filter's place: set priority where several EnvoyFilters touch it");
    }
}

fn object_match(c: &mut Checker<'_>, to: ApplyTo, matched: &EnvoyConfigObjectMatch) {
    c.some("proxy", matched.proxy.as_ref(), |c, proxy| {
        if proxy.proxy_version.len() > 1024 {
            c.warning("proxyVersion", "has more than 1024 characters and is ignored");
        } else if !proxy.proxy_version.is_empty() {
            c.check("proxyVersion", grammar::regex(&proxy.proxy_version));
        }
    });
    let given = [
        ("listener", matched.listener.is_some()),
        ("routeConfiguration", matched.route_configuration.is_some()),
        ("cluster", matched.cluster.is_some()),
        ("waypoint", matched.waypoint.is_some()),
    ];
    if given.iter().filter(|(_, given)| *given).count() > 1 {
        c.error("", "only one of listener, routeConfiguration, cluster and waypoint may be given");
    }
    let fitting = match to {
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter => Some("listener"),
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => Some("routeConfiguration"),
        ApplyTo::Cluster => Some("cluster"),
        ApplyTo::Invalid | ApplyTo::ExtensionConfig | ApplyTo::Bootstrap | ApplyTo::ListenerFilter => None,
    };
    if let Some(fitting) = fitting {
        for (field, _) in given.iter().filter(|(field, given)| *given && *field != fitting) {
            c.error(field, format!("what is patched here is matched by {fitting}"));
        }
    }
    let filter = matched.listener.as_ref().and_then(|l| l.filter_chain.as_ref()).and_then(|chain| chain.filter.as_ref());
    if let Some(filter) = filter.filter(|_| fitting == Some("listener")) {
        c.at("listener", |c| c.at("filterChain", |c| c.at("filter", |c| filter_match(c, to, filter))));
    }
}

fn filter_match(c: &mut Checker<'_>, to: ApplyTo, filter: &FilterMatch) {
    if matches!(to, ApplyTo::Listener | ApplyTo::FilterChain) {
        c.warning("", "a filter is not matched where a listener or filter chain is patched");
    }
    if filter.name.is_empty() {
        c.error("name", "is needed");
        return;
    }
    let Some(sub_filter) = &filter.sub_filter else { return };
    if to != ApplyTo::HttpFilter {
        c.error("subFilter", "is matched for applyTo HTTP_FILTER only");
    } else if filter.name != CONNECTION_MANAGER && filter.name != "envoy.http_connection_manager" {
        c.error("name", format!("a subFilter stands in {CONNECTION_MANAGER} only"));
    } else if sub_filter.name.is_empty() {
        c.at("subFilter", |c| c.error("name", "is needed"));
    }
}
