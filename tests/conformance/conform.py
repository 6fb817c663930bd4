#!/usr/bin/env python3
"""Plays conformance cases against Isthmus.

usage: conform.py [--isthmus BINARY] [--keep] [--api CLUSTER=KUBECONFIG ...] [CASE.yaml ...]
                                                                   (default: target/debug/isthmus, every case in cases/)

Runs itself in a network namespace of its own (unshare, no root needed), where it gives the loopback device the addresses that
the cases name. Each case becomes one directory of YAML per cluster plus an isthmus.yaml; `isthmus run` is started on it, the
backends of the case are started, the steps are played. With --api the objects go to API servers instead, the first of which is
the config cluster's, and the others are its members. What Isthmus printed is in the case's directory (--keep keeps it).
Needs python3 with PyYAML, unshare (util-linux) and ip (iproute2). Exits 0 when every case holds.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import yaml

import api
import case as cases

HERE = pathlib.Path(__file__).resolve().parent


def own_network():
    """Starts this program anew in a network namespace of its own, as any user or as root."""
    if os.environ.get("CONFORM_NETNS") != "1":
        for tool, package in (("unshare", "util-linux"), ("ip", "iproute2")):
            if not shutil.which(tool):
                sys.exit(f"conform.py needs `{tool}`: apt-get install {package}")
        ways = [["unshare", "--user", "--map-root-user", "--net"], ["unshare", "--net"]]
        way = next((w for w in ways if subprocess.run([*w, "true"], capture_output=True).returncode == 0), None)
        if not way:
            sys.exit("conform.py needs a network namespace and may not make one: run it as root, or allow user namespaces "
                     "(sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces>0, kernel.apparmor_restrict_unprivileged_userns=0; "
                     "in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN)")
        os.environ["CONFORM_NETNS"] = "1"
        os.execvp(way[0], [*way, sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def key(d):
    return d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]


class Gateway:
    def __init__(self, case, binary, directory, clusters):
        self.clusters = clusters
        for cluster, docs in case["objects"].items():
            clusters.change(cluster, docs, False)
        g = case["gateway"]
        (directory / "isthmus.yaml").write_text(yaml.safe_dump({
            "gateway": {"name": g["name"], "namespace": g["namespace"], "cluster": g["cluster"], "network": g["network"], "locality": g["locality"],
                        "labels": g["labels"], "bind": g["address"]},
            "clusters": clusters.sources(),
            "config": {"cluster": "cluster1"},
            "mesh": {"enableAutoMtls": False, **case.get("mesh", {})},
            "grace": "0s", "drain": "2s",
            "accessLog": {"path": str(directory / "access.log"), "format": "json"},
            "admin": {"address": "127.0.0.1:15000"}, "status": {"address": "127.0.0.1:15021"}, "metrics": {"address": "127.0.0.1:15090"}}, sort_keys=False))
        self.log = open(directory / "isthmus.log", "w")
        self.process = subprocess.Popen([binary, "run", "--config", str(directory / "isthmus.yaml")], stdout=self.log, stderr=self.log, cwd=directory)

    def ready(self, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen("http://127.0.0.1:15021/healthz/ready", timeout=1) as r:
                    if r.status == 200:
                        return True
            except OSError:
                time.sleep(0.05)
        return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.clusters.stop()


class Directories:
    """The clusters of a case as directories."""

    def __init__(self, case, directory):
        self.dir, self.objects, self.age = directory, {c: {} for c in case["objects"]}, 0

    def sources(self):
        return [{"name": c, "path": f"clusters/{c}"} for c in self.objects]

    def stop(self):
        pass

    def change(self, cluster, docs, delete):
        """Applies or deletes objects and rewrites the cluster's file in one step. Age follows the order of arrival."""
        for d in docs:
            if d["kind"] not in ("Node", "Namespace"):
                d["metadata"].setdefault("namespace", "default")
            if delete:
                self.objects[cluster].pop(key(d), None)
                continue
            old = self.objects[cluster].get(key(d))
            self.age += 1
            d["metadata"]["creationTimestamp"] = (old or {}).get("metadata", {}).get(
                "creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1700000000 + self.age)))
            self.objects[cluster][key(d)] = d
        folder = self.dir / "clusters" / cluster
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".objects.tmp").write_text(yaml.safe_dump_all(self.objects[cluster].values(), sort_keys=False))
        (folder / ".objects.tmp").rename(folder / "objects.yaml")


def play(path, binary, keep, servers):
    case = cases.load(path)
    print(case["name"], flush=True)
    for a in cases.addresses(case):
        subprocess.run(["ip", "addr", "add", a + ("/128" if ":" in a else "/32"), "dev", "lo"], capture_output=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"conform-{case['name']}-"))
    echo = cases.Echo(case["backends"], directory / "backends.json")
    clusters = api.Clusters(servers, case) if servers else Directories(case, directory)
    gateway = Gateway(case, binary, directory, clusters)

    def apply(cluster, docs, delete):
        clusters.change(cluster, docs, delete)
        time.sleep(0.5)
    try:
        if not gateway.ready():
            wrong = ["not ready after 10 s: " + (directory / "isthmus.log").read_text()[-400:]]
            print("  " + wrong[0])
        else:
            time.sleep(0.2)
            wrong = cases.play(case, case["gateway"]["address"], echo, apply, lambda s: print(s, flush=True), directory / "access.log")
    finally:
        gateway.stop()
        echo.stop()
    print(f"  {'FAIL ' + str(directory) if wrong else 'ok'}", flush=True)
    if not wrong and not keep:
        shutil.rmtree(directory)
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isthmus", default="target/debug/isthmus")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--api", action="append", default=[], metavar="CLUSTER=KUBECONFIG")
    parser.add_argument("cases", nargs="*")
    args = parser.parse_args()
    binary = os.path.abspath(args.isthmus)
    own_network()
    paths = args.cases or sorted(str(p) for p in (HERE / "cases").glob("*.yaml"))
    servers = {name: api.ApiServer(os.path.abspath(path)) for name, path in (a.split("=", 1) for a in args.api)}
    passed = sum(play(p, binary, args.keep, servers) for p in paths)
    print(f"{passed} passed, {len(paths) - passed} failed")
    sys.exit(passed != len(paths))


main()
