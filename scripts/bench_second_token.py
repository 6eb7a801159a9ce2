#!/usr/bin/env python3
"""What disaggregation costs one client: time to the second token, prefill and decode apart against one daemon.

    scripts/bench_second_token.py --model DIRECTORY [--binary build/baton] [--prompt 2000] [--requests 9] [--rate MIB_PER_S]

One request at a time, alternating between an aggregated daemon and a prefill/decode pair on this machine, prompts of random
token ids that share no prefix. A request for two tokens ends with the second one, so its duration is what is measured.
Goal: disaggregated <= 1.10 x aggregated + bytes / rate, with the rate scripts/bench_transfer.py measured. Exits 1 beyond it.
Make the model with: baton synth --shape 150M DIRECTORY
"""
import argparse
import json
import pathlib
import random
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "test/e2e"))
import daemons  # noqa: E402  (starts, asks and ends real daemons)


def ask(daemon, ids):
    begun = time.monotonic()
    with daemons.post(daemon.url + "/v1/completions", {"prompt": ids, "max_tokens": 2, "temperature": 0, "ignore_eos": True}) as response:
        answer = json.load(response)
    assert answer["usage"]["completion_tokens"] == 2, answer["usage"]
    return time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default=daemons.BINARY)
    parser.add_argument("--prompt", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=9)
    parser.add_argument("--rate", type=float, default=2000, help="MiB/s of a transfer with digests")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    daemons.BINARY = args.binary
    vocabulary = json.loads((pathlib.Path(args.model) / "config.json").read_text())["vocab_size"]
    draw = random.Random(1)
    prompts = [[draw.randrange(300, vocabulary) for _ in range(args.prompt)] for _ in range(args.requests + 1)]

    options = {"extra": ["--model", args.model], "threads": args.threads, "kv_memory": "1G"}
    started = []
    try:
        started.append(daemons.Daemon("aggregated", cluster=False, **options))
        started.append(daemons.Daemon("prefill", "prefill", **options))
        started.append(daemons.Daemon("decode", "decode", peers=[started[1]], **options))
        alone, prefill, decode = [daemon.wait_ready(120) for daemon in started]
        times = {"aggregated": [], "disaggregated": []}
        moved = 0
        for i, ids in enumerate(prompts):  # the first one warms up
            times["aggregated"].append(ask(alone, ids))
            times["disaggregated"].append(ask(decode, ids))
            print(f"\r{i}/{args.requests} requests", end="", file=sys.stderr)
            if i == 0:
                moved = decode.metrics()["baton_transfer_received_bytes_total"]
        print(file=sys.stderr)
        recomputed = decode.metrics()["baton_engine_recomputed_tokens_total"]
    finally:
        for daemon in started:
            daemon.kill()

    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    limit = 1.10 * medians["aggregated"] + moved / (args.rate * (1 << 20))
    print("| time to the second token, ms | each request | median |\n|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {', '.join(f'{1000 * value:.0f}' for value in values[1:])} | {1000 * medians[name]:.0f} |")
    print(f"\n{args.prompt} prompt tokens, {moved:.0f} bytes moved a request, {recomputed:.0f} tokens recomputed; "
          f"ratio {medians['disaggregated'] / medians['aggregated']:.3f}; "
          f"limit 1.10 x aggregated + bytes / {args.rate:.0f} MiB/s = {1000 * limit:.0f} ms")
    return 0 if medians["disaggregated"] <= limit and recomputed == 0 and moved > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
