#!/usr/bin/env python3
"""Measures one server by baton bench and by aiperf, in turn, under the same load (development only; pip install aiperf==0.13.0).

    scripts/compare_bench.py --aiperf VENV/bin/aiperf [--rounds 3] [--concurrency 4] [--requests 200] [--isl 200] [--osl 64]

Starts `build/baton serve` with the bundled model. Both clients stream chat completions of fixed ISL and OSL (ignore_eos) at the same concurrency, after
the same warm-up; rounds are interleaved. Prints the median and the p99 of every metric that both have, medians over the rounds, and their ratio.
"""
import argparse
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ["time_to_first_token", "time_to_second_token", "request_latency", "inter_token_latency", "output_token_throughput_per_user",
          "output_sequence_length", "input_sequence_length", "output_token_throughput", "request_throughput"]


def wait_ready(port: int) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not become ready")


def with_baton(o, folder: pathlib.Path, seed: int) -> dict:
    subprocess.run([ROOT / "build/baton", "bench", "--url", f"http://127.0.0.1:{o.port}", "--model", "demo", "--tokenizer", ROOT / "models/demo", "--concurrency",
                    str(o.concurrency), "--request-count", str(o.requests), "--warmup-request-count", str(o.warmup), "--isl", str(o.isl), "--osl",
                    str(o.osl), "--extra-inputs", "ignore_eos:true", "--random-seed", str(seed), "--no-server-metrics", "--out", folder],
                   check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def with_aiperf(o, folder: pathlib.Path, seed: int) -> dict:
    command = [o.aiperf, "profile", "--model", "demo", "--url", f"http://127.0.0.1:{o.port}", "--endpoint-type", "chat", "--streaming",
               "--tokenizer", str(ROOT / "models/demo"), "--concurrency", str(o.concurrency), "--request-count", str(o.requests),
               "--warmup-request-count", str(o.warmup), "--isl", str(o.isl), "--osl", str(o.osl), "--extra-inputs", "ignore_eos:true",
               "--random-seed", str(seed), "--artifact-dir", str(folder), "--ui", "none"] + o.aiperf_extra
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    files = list(folder.rglob("profile_export_aiperf.json"))
    if done.returncode != 0 or not files:
        raise SystemExit(f"aiperf failed:\n{done.stdout[-3000:]}")
    return json.loads(files[0].read_text(encoding="utf-8"))


def value(result: dict, tag: str, which: str):
    metric = result.get(tag)
    if not isinstance(metric, dict):
        return None
    return metric.get(which, metric.get("avg") if which == "p50" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aiperf", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=8)
    parser.add_argument("--isl", type=int, default=200)
    parser.add_argument("--osl", type=int, default=64)
    parser.add_argument("--port", type=int, default=18123)
    parser.add_argument("--serve", nargs="*", default=[], help="further arguments of baton serve")
    parser.add_argument("--server", help="use this running command instead, e.g. a scripted server; --port says where")
    parser.add_argument("--aiperf-extra", nargs="*", default=[])
    o = parser.parse_args()
    command = o.server.split() if o.server else [ROOT / "build/baton", "serve", "--port", str(o.port), *o.serve]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not o.server:
            wait_ready(o.port)
        results: dict = {"baton": [], "aiperf": []}
        for turn in range(o.rounds):
            for name, measure in (("baton", with_baton), ("aiperf", with_aiperf)):
                folder = pathlib.Path(tempfile.mkdtemp())
                results[name].append(measure(o, folder, 1000 * turn + (1 if name == "baton" else 2)))
                print(f"round {turn + 1}: {name} done", file=sys.stderr, flush=True)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    print(f"concurrency {o.concurrency}, {o.requests} requests, ISL {o.isl}, OSL {o.osl}, {o.rounds} interleaved rounds\n")
    print("| metric | | baton bench | aiperf | ratio |\n|---|---|---|---|---|")
    for tag in SHARED:
        for which in ("p50", "p99"):
            pairs = [[value(r, tag, which) for r in results[name]] for name in ("baton", "aiperf")]
            if any(v is None for values in pairs for v in values):
                continue
            ours, theirs = (statistics.median(values) for values in pairs)
            ratio = ours / theirs if theirs else float("nan")
            print(f"| {tag} | {which} | {ours:.3f} | {theirs:.3f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
