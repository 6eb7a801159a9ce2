#!/usr/bin/env python3
"""Replays a production trace, scaled down, against three real daemons on this machine, and simulates the same: prefix hit rates, side by side.

    scripts/compare_simulation.py [--trace FILE] [--requests N] [--policy kv] [--build build]

All lengths are divided by 32 (512 trace tokens become one KV block of 16), requests that do not fit the bundled model's context are left out, and arrivals keep
their order but come as fast as the daemons answer, at most --in-flight at once. The simulator gets the same requests, engines and KV memory.
Exit 0: the two hit rates differ by at most 2 points.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

SOURCE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "test/e2e"))
SHRINK, CHUNK, BLOCK = 32, 512, 16


def scaled(length: int) -> int:
    return (length + SHRINK - 1) // SHRINK


def prompt_of(request: dict, vocab: int) -> list[int]:
    """Token ids that share what the trace says is shared: any fixed function of (hash id, position) does."""
    ids = []
    for position in range(scaled(request["input_length"])):
        chunk, offset = request["hash_ids"][position // BLOCK], position % BLOCK
        ids.append((chunk * 7919 + offset * 104729 + chunk * offset * 31) % (vocab - 10) + 10)
    return ids


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", default=SOURCE / "../shared/traces/mooncake_conversation.jsonl", type=pathlib.Path)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--policy", default="kv")
    parser.add_argument("--kv-memory", default="24M")
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--build", default=SOURCE / "build", type=pathlib.Path)
    options = parser.parse_args()
    os.environ["BATON_BINARY"] = str(options.build / "baton")
    import daemons

    config = json.loads((SOURCE / "models/demo/config.json").read_text())
    context, vocab = config["max_position_embeddings"], config["vocab_size"]
    trace = []
    for line in options.trace.read_text().splitlines():
        request = json.loads(line)
        if scaled(request["input_length"]) + scaled(request["output_length"]) < context - 2:
            trace.append(request)
        if len(trace) == options.requests:
            break

    nodes = []
    for name in "abc":
        nodes.append(daemons.Daemon(name, peers=nodes, kv_memory=options.kv_memory, extra=("--policy", options.policy)))
    try:
        for node in nodes:
            node.wait_ready()
        for node in nodes:
            node.wait_for_peers(2)
        blocks = int(nodes[0].metrics()['baton_kv_blocks{state="free"}'])
        before = [node.metrics() for node in nodes]

        def ask(request):
            body = {"model": "demo", "prompt": prompt_of(request, vocab), "max_tokens": scaled(request["output_length"]), "ignore_eos": True, "temperature": 0}
            json.load(daemons.post(nodes[0].url + "/v1/completions", body))

        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(options.in_flight) as pool:
            for done, _ in enumerate(pool.map(ask, trace), 1):
                if sys.stderr.isatty():
                    print(f"\r  {done}/{len(trace)}", end="", file=sys.stderr)
        seconds = time.monotonic() - begun
        total = lambda name: sum(node.metrics()[name] - old[name] for node, old in zip(nodes, before))
        real = total("baton_engine_prefix_hit_tokens_total") / total("baton_engine_prefix_queried_tokens_total")
    finally:
        for node in nodes:
            node.kill()

    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        span = trace[-1]["timestamp"] - trace[0]["timestamp"]
        for request in trace:
            print(json.dumps(request), file=file)
        file.flush()
        load = span / 1000 / seconds
        command = [options.build / "baton", "simulate", "--trace", file.name, "--model", SOURCE / "models/demo", "--system", "cpu", "--mixed", "3", "--policy", options.policy,
                   "--shrink", str(SHRINK), "--kv-blocks", str(blocks), "--max-sequences", "64", "--load", str(load), "--json", "-"]
        out = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
    simulated = json.loads(out[out.index("\n["):])[0]["hit_rate"] if "\n[" in out else float("nan")
    print(f"{len(trace)} requests of {options.trace.name}, lengths / {SHRINK}, 3 daemons of {blocks} KV blocks, policy {options.policy}, {seconds:.0f} s")
    print(f"prefix hit rate: real {100 * real:.2f} %, simulated {100 * simulated:.2f} %, difference {100 * abs(real - simulated):.2f} points")
    return 0 if abs(real - simulated) <= 0.02 else 1


if __name__ == "__main__":
    sys.exit(main())
