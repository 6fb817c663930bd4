//! What `deploy/` asks of Kubernetes: rights to exactly what is read, and what keeps a gateway safe and served.

use std::collections::BTreeSet;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_tests::kube::objects;
use isthmus_tests::project;
use serde_json::Value;

fn text(path: &str) -> String {
    let path = project::root().join("deploy").join(path);
    let read = std::fs::read_to_string(&path);
    assert!(read.is_ok(), "{}: {read:?}", path.display());
    read.unwrap_or_default()
}

/// The object of a kind in a file.
fn of_kind(path: &str, kind: &str) -> Value {
    let found = objects(&text(path)).into_iter().find(|object| object["kind"] == kind);
    assert!(found.is_some(), "{path} has no {kind}");
    found.unwrap_or_default()
}

fn words(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Group and resource that a role allows to list and watch, and nothing but that.
fn allowed(role: &Value) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        assert_eq!(words(&rule["verbs"]), words(&serde_json::json!(["list", "watch"])), "{rule}");
        assert!(rule.as_object().is_some_and(|rule| rule.len() == 3), "{rule}");
        for group in words(&rule["apiGroups"]) {
            all.extend(words(&rule["resources"]).into_iter().map(|resource| (group.clone(), resource)));
        }
    }
    all
}

#[test]
fn every_file_is_kubernetes_yaml_and_part_of_an_overlay() {
    let mut seen = 0;
    for file in project::files().into_iter().filter(|f| f.path.starts_with("deploy/") && f.path.ends_with(".yaml")) {
        let (folder, name) = file.path.trim_start_matches("deploy/").split_once('/').expect("a folder");
        let listed = &objects(&text(&format!("{folder}/kustomization.yaml")))[0];
        let generated = listed["configMapGenerator"].as_array().into_iter().flatten().flat_map(|c| words(&c["files"]));
        let named: BTreeSet<String> = words(&listed["resources"]).into_iter().chain(generated).collect();
        assert!(name == "kustomization.yaml" || named.contains(name), "{} is part of no overlay", file.path);
        if name != "isthmus.yaml" {
            assert!(objects(&file.text).iter().all(|o| o["apiVersion"].is_string() && o["kind"].is_string()), "{}", file.path);
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn rights_are_to_exactly_what_is_read() {
    let read: BTreeSet<(String, String)> = isthmus_discovery::reads().into_iter().map(|(group, name)| (group.to_owned(), name.to_owned())).collect();
    assert_eq!(allowed(&of_kind("base/rbac.yaml", "ClusterRole")), read);
    assert_eq!(allowed(&of_kind("member/reader.yaml", "ClusterRole")), read);
    // Secrets are read in one namespace of the config cluster, nowhere else.
    assert_eq!(allowed(&of_kind("base/rbac.yaml", "Role")), BTreeSet::from([(String::new(), "secrets".to_owned())]));
    for (path, role, account) in [("base/rbac.yaml", "isthmus", "isthmus"), ("member/reader.yaml", "isthmus-reader", "isthmus-reader")] {
        let binding = of_kind(path, "ClusterRoleBinding");
        assert_eq!((binding["roleRef"]["name"].as_str(), binding["subjects"][0]["name"].as_str()), (Some(role), Some(account)), "{path}");
        assert_eq!(of_kind(path, "ServiceAccount")["metadata"]["name"], account, "{path}");
    }
}

/// What `kubectl apply -k` sends of an overlay, each kind once but for the accounts' rights.
fn in_overlay(overlay: &str, kind: &str) -> Value {
    let found = project::rendered(overlay).into_iter().find(|object| object["kind"] == kind);
    assert!(found.is_some(), "{overlay} has no {kind}");
    found.unwrap_or_default()
}

fn served(deployment: &Value) -> BTreeSet<u64> {
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    container["ports"].as_array().expect("ports").iter().filter_map(|p| p["containerPort"].as_u64()).collect()
}

const OVERLAYS: [&str; 2] = ["ingress", "east-west"];

#[test]
fn the_configuration_is_read_by_the_gateway_and_fits_its_pod() {
    for overlay in OVERLAYS {
        let config = in_overlay(overlay, "ConfigMap");
        let text = config["data"]["isthmus.yaml"].as_str().expect("isthmus.yaml");
        let (bootstrap, problems) = Bootstrap::parse(text, std::path::Path::new("/etc/isthmus/isthmus.yaml")).expect("isthmus.yaml");
        assert!(problems.is_empty(), "{problems:?}");
        let deployment = in_overlay(overlay, "Deployment");
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert!(pod["volumes"].as_array().is_some_and(|all| all.iter().any(|v| v["configMap"]["name"] == config["metadata"]["name"])), "{pod}");
        let ports = served(&deployment);
        assert!([bootstrap.status.port(), bootstrap.metrics.port()].iter().all(|port| ports.contains(&u64::from(*port))), "{ports:?}");
        assert!(bootstrap.admin.ip().is_loopback() && !ports.contains(&u64::from(bootstrap.admin.port())), "the admin port is reached by nobody");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a grace");
        assert!(grace > (bootstrap.grace.0 + bootstrap.drain.0).as_secs(), "{grace} s end what grace and drain let finish");
        let state = bootstrap.state.expect("a state");
        let mounts = container["volumeMounts"].as_array().expect("mounts");
        assert!(mounts.iter().any(|m| m["mountPath"] == state.to_string_lossy().as_ref() && m["readOnly"] != true), "what disk keeps can be written");
        assert_eq!((&container["securityContext"]["readOnlyRootFilesystem"], &pod["securityContext"]["runAsNonRoot"]), (&true.into(), &true.into()));
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
        // Without rights, ports below 1024 are opened by leave of the pod's network alone.
        let leave = serde_json::json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]);
        assert!(ports.contains(&80) && pod["securityContext"]["sysctls"] == leave, "{pod}");
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert!(bootstrap.gateway.labels.iter().all(|(key, value)| labels[&**key] == **value), "Gateways select what Services select");
        let policy = in_overlay(overlay, "NetworkPolicy");
        let open =
            policy["spec"]["ingress"][0]["ports"].as_array().expect("ports").iter().filter_map(|p| p["port"].as_u64()).collect::<BTreeSet<_>>();
        assert_eq!(open, ports, "the policy opens what the container serves");
        assert_eq!(in_overlay(overlay, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    }
}

#[test]
fn each_overlay_selects_its_own_pods_and_no_others() {
    let pods = OVERLAYS.map(|overlay| in_overlay(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"].clone());
    for (i, overlay) in OVERLAYS.iter().enumerate() {
        let selectors = [
            in_overlay(overlay, "Service")["spec"]["selector"].clone(),
            in_overlay(overlay, "Deployment")["spec"]["selector"]["matchLabels"].clone(),
            in_overlay(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].clone(),
            in_overlay(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].clone(),
        ];
        for selector in selectors {
            let selector = selector.as_object().expect("a selector");
            let takes = |labels: &Value| selector.iter().all(|(key, value)| labels[key] == *value);
            assert!(!selector.is_empty() && takes(&pods[i]) && !takes(&pods[1 - i]), "{overlay}: {selector:?}");
        }
    }
}

#[test]
fn services_lead_to_the_gateway() {
    for overlay in OVERLAYS {
        let ports = served(&in_overlay(overlay, "Deployment"));
        let service = in_overlay(overlay, "Service");
        let all = service["spec"]["ports"].as_array().expect("ports");
        assert!(all.iter().all(|p| p["targetPort"].as_u64().is_some_and(|n| ports.contains(&n))), "{overlay}");
    }
    let east_west = in_overlay("east-west", "Service");
    assert!(east_west["metadata"]["labels"]["topology.istio.io/network"].is_string() && east_west["spec"]["ports"][0]["port"] == 15443);
    let readme = text("README.md");
    for told in ["1.36", "type: NodePort", "type: LoadBalancer", "isthmus remote-secret"] {
        assert!(readme.contains(told), "README.md says nothing of {told}");
    }
}

#[test]
fn the_image_runs_as_nobody_in_particular() {
    let text = text("Containerfile");
    let last = text.lines().rfind(|line| line.starts_with("USER ")).expect("a user");
    let pod = &of_kind("base/deployment.yaml", "Deployment")["spec"]["template"]["spec"];
    let user = pod["securityContext"]["runAsUser"].as_u64().expect("a user");
    assert_eq!(last, format!("USER {user}:{user}"));
    assert!(user != 0 && text.contains("rust:1.95"), "the compiler of rust-version");
}
