//! A VirtualService's rules with its delegates put in (V-60..V-64).
//!
//! The result is a plain list of rules, each with the object and field path that it came from, so that no later pass knows
//! what a delegate is.

use std::borrow::Cow;
use std::sync::Arc;

use isthmus_config::istio::virtual_service::{HttpMatchRequest, HttpRoute, VirtualService};
use isthmus_config::object::{ByKey, Kind, Object, ObjectRef};
use isthmus_config::problem::{Problem, Severity};
use isthmus_config::value::StringMatch;

use super::report::code;
use crate::model::{ExportTo, NamespacedName, World};
use crate::snapshot::RuleOrigin;

/// A rule, ready to become routes.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    /// The rule; of its match blocks see `blocks`.
    pub(super) http: Cow<'a, HttpRoute>,
    /// Match blocks with the paths that they came from; none means that everything matches.
    pub(super) blocks: Vec<Block<'a>>,
    /// Where it stands; `path` is the rule's own.
    pub(super) origin: RuleOrigin,
    /// Short names are services of this namespace (V-20).
    pub(super) namespace: Arc<str>,
}

/// A match block and the path that it came from.
pub(super) type Block<'a> = (Cow<'a, HttpMatchRequest>, Arc<str>);

/// What was read on the way.
#[derive(Debug, Default)]
pub(super) struct Expansion<'a> {
    pub(super) rules: Vec<Rule<'a>>,
    pub(super) problems: Vec<Problem>,
    /// Delegates asked for, whether or not they exist.
    pub(super) delegates: Vec<NamespacedName>,
}

/// The object's name.
pub(super) fn reference(object: &Object<VirtualService>) -> ObjectRef {
    ObjectRef::new(Kind::VirtualService, object.meta.namespace.clone(), object.meta.name.clone())
}

/// Lists the rules of a root VirtualService.
pub(super) fn expand<'a>(world: &'a World, root: &'a Arc<Object<VirtualService>>) -> Expansion<'a> {
    let mut expansion = Expansion { rules: Vec::with_capacity(root.spec.http.len()), ..Expansion::default() };
    for (i, http) in root.spec.http.iter().enumerate() {
        let path: Arc<str> = format!("spec.http[{i}]").into();
        let Some(delegate) = &http.delegate else {
            let origin = RuleOrigin { source: root.clone(), path: path.clone(), root: None };
            let blocks = http.r#match.iter().enumerate().map(|(m, block)| (Cow::Borrowed(block), format!("{path}.match[{m}]").into())).collect();
            expansion.rules.push(Rule { http: Cow::Borrowed(http), blocks, origin, namespace: root.meta.namespace.clone() });
            continue;
        };
        let namespace = if delegate.namespace.is_empty() { root.meta.namespace.clone() } else { delegate.namespace.as_str().into() };
        let name: NamespacedName = (namespace, delegate.name.as_str().into());
        expansion.delegates.push(name.clone());
        match find(world, root, &name) {
            Ok(object) => expansion.delegate(root, http, &path, object),
            Err(why) => {
                let problem = Problem::new(Severity::Warning, code::IGNORED, format!("delegate {}/{} {why}: the rule is left out", name.0, name.1));
                expansion.problems.push(problem.of(reference(root), &root.origin).at(format!("{path}.delegate")));
            }
        }
    }
    expansion
}

/// The delegate, where the root's namespace may see it (V-61).
fn find<'a>(world: &'a World, root: &Object<VirtualService>, name: &NamespacedName) -> Result<&'a Arc<Object<VirtualService>>, &'static str> {
    let object = world.documents.virtual_services.get(name).ok_or("does not exist")?;
    if !object.spec.hosts.is_empty() {
        return Err("has hosts of its own, so it is no delegate");
    }
    let export_to = ExportTo::parse(&object.spec.export_to, &name.0, &world.mesh.default_virtual_service_export_to);
    if export_to.includes(&root.meta.namespace) { Ok(object) } else { Err("is not exported to the namespace of its root") }
}

impl<'a> Expansion<'a> {
    fn delegate(&mut self, root: &Object<VirtualService>, rule: &'a HttpRoute, root_path: &Arc<str>, object: &'a Arc<Object<VirtualService>>) {
        for (i, http) in object.spec.http.iter().enumerate() {
            let path: Arc<str> = format!("spec.http[{i}]").into();
            let ignored = |field: &str, why: String| {
                Problem::new(Severity::Warning, code::IGNORED, why).of(reference(object), &object.origin).at(format!("{path}{field}"))
            };
            if http.delegate.is_some() {
                self.problems.push(ignored(".delegate", "a delegate cannot delegate further: the rule is left out".into()));
                continue;
            }
            let Some(blocks) = multiply(&rule.r#match, http, root_path, &path) else {
                self.problems.push(ignored(
                    "",
                    format!("no match block of {} {root_path} is compatible with this rule: it is left out there (V-63)", reference(root)),
                ));
                continue;
            };
            let origin = RuleOrigin { source: object.clone(), path: path.clone(), root: Some(Box::new((reference(root), root_path.clone()))) };
            self.rules.push(Rule { http: Cow::Owned(combine(rule, http)), blocks, origin, namespace: object.meta.namespace.clone() });
        }
    }
}

/// The delegate's fields win whole (V-62); names are joined (V-64).
fn combine(root: &HttpRoute, own: &HttpRoute) -> HttpRoute {
    let name = match (&*root.name, &*own.name) {
        (root, "") => root.into(),
        ("", own) => own.into(),
        (root, own) => format!("{root}-{own}").into(),
    };
    let own_mirrors = own.mirror.is_some() || !own.mirrors.is_empty();
    HttpRoute {
        name,
        r#match: Vec::new(),
        route: own.route.clone(),
        redirect: own.redirect.clone(),
        direct_response: own.direct_response.clone().or_else(|| root.direct_response.clone()),
        delegate: None,
        rewrite: own.rewrite.clone().or_else(|| root.rewrite.clone()),
        timeout: own.timeout.or(root.timeout),
        retries: own.retries.clone().or_else(|| root.retries.clone()),
        fault: own.fault.clone().or_else(|| root.fault.clone()),
        mirror: if own_mirrors { own.mirror.clone() } else { root.mirror.clone() },
        mirrors: if own_mirrors { own.mirrors.clone() } else { root.mirrors.clone() },
        mirror_percentage: own.mirror_percentage.or(root.mirror_percentage),
        mirror_percent: own.mirror_percent.or(root.mirror_percent),
        cors_policy: own.cors_policy.clone().or_else(|| root.cors_policy.clone()),
        headers: own.headers.clone().or_else(|| root.headers.clone()),
    }
}

/// Every block of the delegate's rule with every compatible block of the root's; `None` where a block of the delegate has
/// no compatible one (V-63).
fn multiply<'a>(root: &'a [HttpMatchRequest], rule: &'a HttpRoute, root_path: &str, path: &str) -> Option<Vec<Block<'a>>> {
    let own = |i: usize| -> Arc<str> { format!("{path}.match[{i}]").into() };
    if root.is_empty() {
        return Some(rule.r#match.iter().enumerate().map(|(i, block)| (Cow::Borrowed(block), own(i))).collect());
    }
    if rule.r#match.is_empty() {
        let _ = root_path;
        return Some(root.iter().map(|block| (Cow::Borrowed(block), path.into())).collect());
    }
    let mut blocks = Vec::new();
    for (i, block) in rule.r#match.iter().enumerate() {
        let before = blocks.len();
        blocks.extend(root.iter().filter(|r| compatible(r, block)).map(|r| (Cow::Owned(united(r, block)), own(i))));
        if blocks.len() == before {
            return None;
        }
    }
    Some(blocks)
}

fn texts(block: &HttpMatchRequest) -> [Option<&StringMatch>; 4] {
    [block.uri.as_ref(), block.scheme.as_deref(), block.method.as_deref(), block.authority.as_deref()]
}

fn compatible(root: &HttpMatchRequest, own: &HttpMatchRequest) -> bool {
    let maps = [(&root.headers, &own.headers), (&root.without_headers, &own.without_headers), (&root.query_params, &own.query_params)];
    let shared = maps.iter().all(|(r, o)| r.iter().all(|(key, want)| o.get(key).is_none_or(|other| narrows(want, other))));
    texts(root).into_iter().zip(texts(own)).all(|(r, o)| match (r, o) {
        (Some(r), Some(o)) => narrows(r, o),
        (None, _) | (_, None) => true,
    }) && shared
        && root.ignore_uri_case == own.ignore_uri_case
        && (root.port == 0 || own.port == 0 || root.port == own.port)
        && (root.source_namespace.is_empty() || root.source_namespace == own.source_namespace)
        && root.source_labels.iter().all(|(k, v)| own.source_labels.get(k).is_none_or(|o| o == v))
        && (root.gateways.is_empty() || own.gateways.iter().all(|g| root.gateways.contains(g)))
}

/// True where the delegate's condition may stand beside the root's.
fn narrows(root: &StringMatch, own: &StringMatch) -> bool {
    match (root, own) {
        (StringMatch::Present, _) | (_, StringMatch::Present) => true,
        (StringMatch::Regex(_), _) | (_, StringMatch::Regex(_)) => false,
        (StringMatch::Exact(a), StringMatch::Exact(b)) => a == b,
        (StringMatch::Exact(_), StringMatch::Prefix(_)) => false,
        (StringMatch::Prefix(a), StringMatch::Exact(b) | StringMatch::Prefix(b)) => b.starts_with(a.as_str()),
    }
}

/// Both blocks as one: the delegate's conditions, the root's where it has none.
fn united(root: &HttpMatchRequest, own: &HttpMatchRequest) -> HttpMatchRequest {
    let map = |root: &ByKey<StringMatch>, own: &ByKey<StringMatch>| -> ByKey<StringMatch> { root.clone().into_iter().chain(own.clone()).collect() };
    let name = match (&*root.name, &*own.name) {
        ("", name) | (name, "") => name.into(),
        (root, own) => format!("{root}-{own}").into(),
    };
    let mut source_labels = root.source_labels.clone();
    source_labels.extend(own.source_labels.clone());
    HttpMatchRequest {
        name,
        uri: own.uri.clone().or_else(|| root.uri.clone()),
        scheme: own.scheme.clone().or_else(|| root.scheme.clone()),
        method: own.method.clone().or_else(|| root.method.clone()),
        authority: own.authority.clone().or_else(|| root.authority.clone()),
        headers: map(&root.headers, &own.headers),
        without_headers: map(&root.without_headers, &own.without_headers),
        query_params: map(&root.query_params, &own.query_params),
        port: if own.port == 0 { root.port } else { own.port },
        source_labels,
        source_namespace: if own.source_namespace.is_empty() { root.source_namespace.clone() } else { own.source_namespace.clone() },
        gateways: if own.gateways.is_empty() { root.gateways.clone() } else { own.gateways.clone() },
        ignore_uri_case: own.ignore_uri_case,
        stat_prefix: if own.stat_prefix.is_empty() { root.stat_prefix.clone() } else { own.stat_prefix.clone() },
    }
}
