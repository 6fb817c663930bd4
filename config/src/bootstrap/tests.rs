//! isthmus.yaml as written: what is read, and what is refused with its line.

use super::*;

fn told(text: &str) -> Vec<String> {
    let problems = match Bootstrap::parse(text, Path::new("/etc/isthmus/isthmus.yaml")) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let line = |p: Problem| {
        let hint = p.hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
        format!("{} {}: {} {}{hint}", p.severity, p.origin.spot(&p.path).line, p.path, p.message)
    };
    problems.into_iter().map(line).collect()
}

#[test]
fn every_key_is_read_and_paths_are_relative_to_the_file() -> Result<(), Vec<Problem>> {
    let text = "
gateway: {name: gw, namespace: ns, labels: {a: b}, cluster: c2, network: n, locality: r/z/s, node: n1, bind: '::1', ports: {80: 8080, 443: 8443}, threads: 2}
clusters: [{name: c1, path: clusters/c1}, {name: c2, kubeconfig: c2.yaml, context: x}, {name: c3, inCluster: true}]
remoteSecrets: {namespace: infra}
state: /var/lib/isthmus
remoteTimeout: 1s
grace: 2s
drain: 3s
config: {cluster: c3, files: [mesh/, vms/a.yaml]}
mesh: {rootNamespace: root, accessLogFile: /dev/stdout}
accessLog: {path: access.log, format: json}
admin: {address: 127.0.0.1:1}
status: {address: 127.0.0.1:2}
metrics: {address: 127.0.0.1:3}
";
    let (read, warnings) = Bootstrap::parse(text, Path::new("/etc/isthmus/isthmus.yaml"))?;
    assert_eq!(warnings, []);
    assert_eq!((read.gateway.name.as_ref(), read.gateway.cluster.as_str(), read.config.cluster.as_str()), ("gw", "c2", "c3"));
    let read_from: Vec<_> = read.clusters.iter().map(|c| c.read.clone()).collect();
    let kubeconfig = ReadFrom::Kubeconfig { file: "/etc/isthmus/c2.yaml".into(), context: Some("x".to_owned()) };
    assert_eq!(read_from, [ReadFrom::Directory("/etc/isthmus/clusters/c1".into()), kubeconfig, ReadFrom::InCluster]);
    assert_eq!((read.remote_secrets.as_deref(), read.state.as_deref()), (Some("infra"), Some(Path::new("/var/lib/isthmus"))));
    assert_eq!(read.config.files, [Path::new("/etc/isthmus/mesh/"), Path::new("/etc/isthmus/vms/a.yaml")]);
    assert_eq!((read.gateway.ports.get(&443), &*read.gateway.node), (Some(&8443), "n1"));
    assert_eq!(read.access_log, Some(AccessLog { path: "/etc/isthmus/access.log".into(), format: Some(AccessLogEncoding::Json) }));
    assert_eq!((&*read.mesh.root_namespace, read.metrics.port(), read.drain.as_millis()), ("root", 3, 3000));
    Ok(())
}

#[test]
fn a_directory_is_the_cluster_local_with_all_defaults() -> Result<(), Vec<Problem>> {
    let short = Bootstrap::for_directory(Path::new("/etc/d"));
    let (long, _) = Bootstrap::parse("clusters: [{name: local, path: d}]", Path::new("/etc/isthmus.yaml"))?;
    assert_eq!(short, long);
    assert_eq!((short.gateway.cluster.as_str(), short.config.cluster.as_str()), ("local", "local"));
    Ok(())
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (text, want) in [
        ("clusters:\n- {name: a, path: p}\ngrase: 5s\n", "error 3: grase unknown field `grase` (did you mean `grace`?)"),
        ("clusters: [{name: a, path: p}]\nidentity: {}\n", "error 2: identity `identity` is not in force yet"),
        ("clusters: [{name: a}]", "error 1: clusters[0] cluster \"a\" needs a path, a kubeconfig or inCluster: true"),
        ("clusters: [{name: a, path: p, inCluster: true}]", "error 1: clusters[0] cluster \"a\" has more than one of path, kubeconfig and inCluster"),
        ("clusters: [{name: a, path: p, context: c}]", "error 1: clusters[0] cluster \"a\" has a context and no kubeconfig"),
        ("clusters: [{name: a, path: p}]\nremoteSecrets: {}", "error 2: remoteSecrets remote secrets are read from the config cluster's API server"),
        ("clusters: [{name: a, path: p}]\ngrace: 5\n", "error 2: grace expected a duration such as 500ms, 1.5s or 1h30m, found 5"),
        ("clusters: [{name: a, path: p}]\ngateway: {bind: nowhere}\n", "error 2: gateway.bind invalid IP address syntax"),
        ("clusters: [{name: a, path: p}, {name: a, path: q}]\ngateway: {cluster: a}", "error 1: clusters[1].name a second cluster named \"a\""),
        (
            "clusters: [{name: east, path: p}]\nconfig: {cluster: eats}",
            "error 2: config.cluster no cluster \"eats\" among clusters (did you mean `east`?)",
        ),
        ("clusters: [{name: a, path: p}]\nmesh: {tracing: true}\n", "warning 2: mesh.tracing unknown field `tracing`: a gateway does not take it"),
        ("clusters: [{name: a, path: p}]\nmesh: {}\nmeshFile: m.yaml\n", "error 3: meshFile mesh and meshFile exclude each other"),
        ("{}", "error 1: clusters nothing to read: name clusters, or files in config"),
        ("a: [", "error 2:  not YAML: "),
    ] {
        let told = told(text);
        assert!(told.iter().any(|line| line.starts_with(want)), "{text}: {told:?}");
    }
}

#[test]
fn a_mesh_config_warns_of_what_a_gateway_does_not_take() -> Result<(), Vec<Problem>> {
    let (mesh, warnings) = MeshConfig::parse("enableTracing: true\nconnectTimeout: 3s\n", Path::new("mesh.yaml"))?;
    assert_eq!((mesh.connect_timeout.as_millis(), warnings.len()), (3000, 1));
    assert_eq!(warnings[0].path, "enableTracing");
    Ok(())
}
