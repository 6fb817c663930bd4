//! What of an object is worth keeping: what is decoded again, no more.

use isthmus_config::object::Kind;
use serde_json::{Map, Value};

/// The object without what nobody reads; `None` where it is no object. One line, for it has no line breaks outside texts.
pub(super) fn trim(kind: Kind, json: &str) -> Option<String> {
    let Ok(Value::Object(mut object)) = serde_json::from_str(json) else { return None };
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for key in ["managedFields", "ownerReferences", "finalizers", "selfLink", "generateName", "uid", "resourceVersion", "generation"] {
            metadata.remove(key);
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    match kind {
        Kind::Pod => {
            keep(&mut object, "spec", &["nodeName", "serviceAccountName", "containers"]);
            keep(&mut object, "status", &["phase", "podIP", "podIPs", "conditions"]);
            if let Some(containers) = object.get_mut("spec").and_then(|s| s.get_mut("containers")).and_then(Value::as_array_mut) {
                containers.iter_mut().filter_map(Value::as_object_mut).for_each(|c| c.retain(|key, _| key == "ports"));
            }
        }
        Kind::Node => {
            object.remove("spec");
            keep(&mut object, "status", &["addresses"]);
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
    serde_json::to_string(&Value::Object(object)).ok()
}

fn keep(object: &mut Map<String, Value>, field: &str, keys: &[&str]) {
    if let Some(Value::Object(inner)) = object.get_mut(field) {
        inner.retain(|key, _| keys.contains(&key.as_str()));
    }
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
    }
}
