"""API servers in the place of directories: a case's objects are applied to them, and taken away again."""
import json
import ssl
import time
import urllib.error
import urllib.request

import yaml

PLURAL = {"ServiceEntry": "serviceentries", "WorkloadEntry": "workloadentries"}
RULES = ("Gateway", "VirtualService", "DestinationRule", "ServiceEntry", "EnvoyFilter")
ORDER = {"Namespace": 0, "Node": 1, "Pod": 2}


class ApiServer:
    """One that is reached by a kubeconfig with a token in it."""

    def __init__(self, kubeconfig):
        self.kubeconfig = kubeconfig
        with open(kubeconfig) as f:
            text = f.read()
        self.text, config = text, yaml.safe_load(text)
        self.server, self.token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
        self.context = ssl._create_unverified_context()

    def call(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(self.server + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind})
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=20) as answer:
                answer.read()
        except urllib.error.HTTPError as e:
            if not (method == "DELETE" and e.code == 404):
                raise RuntimeError(f"{method} {path}: {e.code} {e.read().decode()[:600]}") from None

    def apply(self, d):
        self.call("PATCH", path(d) + "?fieldManager=conformance&force=true", d, "application/apply-patch+yaml")
        if "status" in d and d["kind"] in ("Pod", "Service", "WorkloadEntry"):
            self.call("PATCH", path(d) + "/status", {"status": d["status"]}, "application/merge-patch+json")

    def delete(self, d):
        if d["kind"] == "Namespace":
            # Nobody here would clear it out; what the case said of it goes.
            return self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": d["metadata"]["name"]}})
        self.call("DELETE", path(d) + ("?gracePeriodSeconds=0" if d["kind"] == "Pod" else ""))


def path(d):
    version, kind, namespace = d["apiVersion"], d["kind"], d["metadata"].get("namespace")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = f"/namespaces/{namespace}" if namespace and kind not in ("Node", "Namespace") else ""
    return f"{root}{scope}/{PLURAL.get(kind, kind.lower() + 's')}/{d['metadata']['name']}"


class Clusters:
    """The clusters of a case: the first one is read by its kubeconfig, the others by remote secrets in it."""

    def __init__(self, servers, case):
        self.servers, self.aged, self.applied = servers, case.get("aged"), []
        self.own = next(iter(servers))
        for name in case["objects"]:
            if name != self.own:
                self.change(self.own, [secret(name, servers[name].text)], False)

    def sources(self):
        return [{"name": self.own, "kubeconfig": self.servers[self.own].kubeconfig}]

    def change(self, cluster, docs, delete):
        server = self.servers[cluster]
        for d in sorted(docs, key=lambda d: ORDER.get(d["kind"], 3)):
            if d["kind"] not in ("Node", "Namespace"):
                d["metadata"].setdefault("namespace", "default")
            server.delete(d) if delete else server.apply(d)
            self.applied.append((server, d))
            if self.aged and d["kind"] in RULES:
                # Age is told in seconds.
                time.sleep(1.1)

    def stop(self):
        for server, d in reversed(self.applied):
            server.delete(d)


def secret(name, kubeconfig):
    return {"apiVersion": "v1", "kind": "Secret", "stringData": {name: kubeconfig},
            "metadata": {"name": f"istio-remote-secret-{name}", "namespace": "istio-system", "labels": {"istio/multiCluster": "true"}}}
