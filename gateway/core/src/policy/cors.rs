//! Cross-origin rules: preflight requests answered by the gateway, and fields added to the other answers (V-44).

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use isthmus_config::istio::virtual_service::{CorsPolicy, UnmatchedPreflights};
use isthmus_config::value::StringMatch;

use super::PolicyError;
use crate::route::{Pattern, Patterns};

/// The cross-origin rules of a route.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Vec<Origin>,
    methods: Option<HeaderValue>,
    allow_headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    forward_unmatched: bool,
}

#[derive(Clone, Debug)]
enum Origin {
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Pattern),
}

impl Origin {
    /// A rule that also fits `*` fits every origin, as in Envoy.
    fn allows(&self, origin: &[u8]) -> bool {
        self.fits(b"*") || self.fits(origin)
    }
    fn fits(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == origin,
            Self::Prefix(text) => origin.starts_with(text.as_bytes()),
            Self::Regex(pattern) => pattern.matches(origin),
        }
    }
}

/// What CORS makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsAnswer {
    /// Nothing: the request and its response go as they are.
    Pass,
    /// The response gets the fields of [`Cors::apply`] for this origin.
    Allowed(HeaderValue),
    /// A preflight: answered 200 with these fields and no body.
    Answer(HeaderMap),
}

impl Cors {
    /// Reads `corsPolicy`; its regexes are those of `patterns`.
    pub fn new(policy: &CorsPolicy, patterns: &mut Patterns) -> Result<Self, PolicyError> {
        let refused = |field, reason: String| PolicyError { field, reason };
        let list = |field, names: &[String]| -> Result<Option<HeaderValue>, PolicyError> {
            let joined = names.join(",");
            let value = HeaderValue::from_bytes(joined.as_bytes()).map_err(|e| refused(field, e.to_string()))?;
            Ok(Some(value).filter(|v| !v.is_empty()))
        };
        let mut origins = Vec::new();
        for origin in &policy.allow_origins {
            origins.push(match origin {
                StringMatch::Exact(text) => Origin::Exact(text.as_str().into()),
                StringMatch::Prefix(text) => Origin::Prefix(text.as_str().into()),
                StringMatch::Regex(text) => Origin::Regex(patterns.pattern(text).map_err(|e| refused("allowOrigins", e.to_string()))?),
                StringMatch::Present => return Err(refused("allowOrigins", "expected exact, prefix or regex, found none".into())),
            });
        }
        if policy.allow_origins.is_empty() {
            origins.extend(policy.allow_origin.iter().map(|text| Origin::Exact(text.as_str().into())));
        }
        Ok(Self {
            origins,
            methods: list("allowMethods", &policy.allow_methods)?,
            allow_headers: list("allowHeaders", &policy.allow_headers)?,
            expose: list("exposeHeaders", &policy.expose_headers)?,
            max_age: policy.max_age.map(|age| HeaderValue::from(age.0.as_secs())),
            credentials: policy.allow_credentials.unwrap_or(false),
            forward_unmatched: match policy.unmatched_preflights {
                UnmatchedPreflights::Unspecified | UnmatchedPreflights::Forward => true,
                UnmatchedPreflights::Ignore => false,
            },
        })
    }
    /// Judges a request. A preflight is OPTIONS with `origin` and `access-control-request-method`.
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> CorsAnswer {
        let Some(origin) = headers.get(header::ORIGIN).filter(|origin| !origin.is_empty()) else { return CorsAnswer::Pass };
        let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|m| !m.is_empty());
        let preflight = *method == Method::OPTIONS && asked;
        match (self.origins.iter().any(|o| o.allows(origin.as_bytes())), preflight) {
            (true, false) => CorsAnswer::Allowed(origin.clone()),
            (true, true) => CorsAnswer::Answer(self.preflight(origin)),
            (false, true) if !self.forward_unmatched => CorsAnswer::Answer(HeaderMap::new()),
            (false, _) => CorsAnswer::Pass,
        }
    }
    fn preflight(&self, origin: &HeaderValue) -> HeaderMap {
        let mut answer = HeaderMap::new();
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let fields = [
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, self.credentials.then(|| HeaderValue::from_static("true"))),
            (header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone()),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone()),
            (header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone()),
        ];
        answer.extend(fields.into_iter().filter_map(|(name, value)| Some((name, value?))));
        answer
    }
    /// Adds to a response what an allowed origin may see; what the backend said of the same is replaced.
    pub fn apply(&self, origin: &HeaderValue, response: &mut HeaderMap) {
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_config::value::Duration;

    fn policy() -> CorsPolicy {
        CorsPolicy {
            allow_origins: vec![
                StringMatch::Exact("https://ok.com".into()),
                StringMatch::Prefix("https://pre".into()),
                StringMatch::Regex("https://[a-z]+\\.re".into()),
            ],
            allow_methods: vec!["GET".into(), "POST".into()],
            allow_headers: vec!["x-one".into()],
            expose_headers: vec!["x-two".into()],
            max_age: Some(Duration::parse("24h").unwrap()),
            allow_credentials: Some(true),
            ..CorsPolicy::default()
        }
    }

    fn judge(policy: &CorsPolicy, method: Method, origin: &str, asked: &str) -> CorsAnswer {
        let headers = [(header::ORIGIN, origin.parse().unwrap()), (header::ACCESS_CONTROL_REQUEST_METHOD, asked.parse().unwrap())];
        Cors::new(policy, &mut Patterns::default()).unwrap().judge(&method, &headers.into_iter().collect())
    }

    #[test]
    fn requests_are_judged_v44() {
        let ignoring = CorsPolicy { unmatched_preflights: UnmatchedPreflights::Ignore, ..policy() };
        let old = CorsPolicy { allow_origin: vec!["*".into()], ..CorsPolicy::default() };
        for (about, policy, method, origin, asked, want) in [
            ("preflight", &policy(), Method::OPTIONS, "https://ok.com", "GET", "answer"),
            ("simple", &policy(), Method::GET, "https://prefix.com", "", "allowed"),
            ("regex", &policy(), Method::GET, "https://a.re", "", "allowed"),
            ("regex is whole", &policy(), Method::GET, "https://a.res", "", "pass"),
            ("another origin", &policy(), Method::GET, "https://no.com", "", "pass"),
            ("preflight of another origin is forwarded", &policy(), Method::OPTIONS, "https://no.com", "GET", "pass"),
            ("or answered without fields", &ignoring, Method::OPTIONS, "https://no.com", "GET", "empty"),
            ("which is for preflights only", &ignoring, Method::GET, "https://no.com", "", "pass"),
            ("OPTIONS alone is no preflight", &policy(), Method::OPTIONS, "https://ok.com", "", "allowed"),
            ("no origin", &policy(), Method::OPTIONS, "", "GET", "pass"),
            ("the deprecated form, and a star", &old, Method::GET, "https://no.com", "", "allowed"),
        ] {
            let got = match judge(policy, method, origin, asked) {
                CorsAnswer::Pass => "pass",
                CorsAnswer::Allowed(echoed) => {
                    assert_eq!(echoed, origin, "{about}");
                    "allowed"
                }
                CorsAnswer::Answer(headers) if headers.is_empty() => "empty",
                CorsAnswer::Answer(_) => "answer",
            };
            assert_eq!(got, want, "{about}");
        }
    }

    #[test]
    fn the_fields_of_both_answers_v44() {
        let texts =
            |headers: &HeaderMap| headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect::<std::collections::BTreeSet<_>>();
        let CorsAnswer::Answer(answer) = judge(&policy(), Method::OPTIONS, "https://ok.com", "GET") else { panic!("no answer") };
        let want = [
            "access-control-allow-origin: https://ok.com",
            "access-control-allow-methods: GET,POST",
            "access-control-allow-headers: x-one",
            "access-control-max-age: 86400",
            "access-control-allow-credentials: true",
        ];
        assert_eq!(texts(&answer), want.into_iter().map(String::from).collect());
        let mut response: HeaderMap = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))].into_iter().collect();
        Cors::new(&policy(), &mut Patterns::default()).unwrap().apply(&HeaderValue::from_static("https://ok.com"), &mut response);
        let want = ["access-control-allow-origin: https://ok.com", "access-control-expose-headers: x-two", "access-control-allow-credentials: true"];
        assert_eq!(texts(&response), want.into_iter().map(String::from).collect());
    }
}
