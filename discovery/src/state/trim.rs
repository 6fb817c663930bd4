//! What of an object is worth keeping: what is decoded again, no more.

use std::collections::BTreeMap;

use isthmus_config::object::Kind;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// An object's fields; those that nothing is taken from are not looked into.
type Fields = BTreeMap<String, Box<RawValue>>;

/// The object without what nobody reads; `None` where it is no object. One line, for it has no line breaks outside texts.
pub(super) fn trim(kind: Kind, json: &str) -> Option<String> {
    if json.contains('\n') {
        // API servers write none.
        return trim(kind, &serde_json::from_str::<Value>(json).ok()?.to_string());
    }
    let mut object: Fields = serde_json::from_str(json).ok()?;
    change(&mut object, "metadata", |metadata| {
        for key in ["managedFields", "ownerReferences", "finalizers", "selfLink", "generateName", "uid", "resourceVersion", "generation"] {
            metadata.remove(key);
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    });
    match kind {
        Kind::Pod => {
            change(&mut object, "spec", |spec| {
                keep(spec, &["nodeName", "serviceAccountName", "containers"]);
                if let Some(containers) = spec.get_mut("containers").and_then(Value::as_array_mut) {
                    containers.iter_mut().filter_map(Value::as_object_mut).for_each(|c| keep(c, &["ports"]));
                }
            });
            change(&mut object, "status", |status| keep(status, &["phase", "podIP", "podIPs", "conditions"]));
        }
        Kind::Node => {
            object.remove("spec");
            change(&mut object, "status", |status| keep(status, &["addresses"]));
        }
        Kind::Namespace => {
            object.remove("spec");
            object.remove("status");
        }
        Kind::Gateway
        | Kind::VirtualService
        | Kind::DestinationRule
        | Kind::ServiceEntry
        | Kind::WorkloadEntry
        | Kind::WorkloadGroup
        | Kind::EnvoyFilter
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Secret => {}
    }
    serde_json::to_string(&object).ok()
}

fn change(object: &mut Fields, field: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let Some(raw) = object.get_mut(field) else { return };
    if let Ok(mut inner) = serde_json::from_str(raw.get()) {
        change(&mut inner);
        // What was read can be written.
        if let Ok(written) = to_raw_value(&inner) {
            *raw = written;
        }
    }
}

fn keep(fields: &mut Map<String, Value>, keys: &[&str]) {
    fields.retain(|key, _| keys.contains(&key.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_keeps_what_is_read() {
        let pod = r#"{"metadata":{"name":"p","uid":"u","managedFields":[{}],"labels":{"a":"b"}},
            "spec":{"nodeName":"n","volumes":[1],"containers":[{"image":"i","ports":[{"containerPort":80}]}]},"status":{"phase":"Running","hostIP":"h"}}"#;
        let want = r#"{"metadata":{"labels":{"a":"b"},"name":"p"},"spec":{"containers":[{"ports":[{"containerPort":80}]}],"nodeName":"n"},"status":{"phase":"Running"}}"#;
        assert_eq!(trim(Kind::Pod, pod).as_deref(), Some(want));
        let node = r#"{"spec":{"x":[1]},"metadata":{"name":"n","finalizers":[]},"status":{"addresses":[{"a":"b\n"}],"images":[1]}}"#;
        let want = r#"{"metadata":{"name":"n"},"status":{"addresses":[{"a":"b\n"}]}}"#;
        assert_eq!(trim(Kind::Node, node).as_deref(), Some(want));
        assert_eq!(trim(Kind::Service, "{\"spec\":\n{\"a\" :\n1}}").as_deref(), Some(r#"{"spec":{"a":1}}"#), "one line");
        assert_eq!(trim(Kind::Service, "[1]"), None);
    }
}
