#!/usr/bin/env python3
"""Every static split of the engines into prefill and decode, all mixed, and `--roles auto`, simulated on one trace: goodput, side by side.

    scripts/sweep_roles.py --trace FILE|flip:SEED [--engines 8] [--load 3] [--itl 25ms] [--requests 4000]

flip:SEED is a mix of ours: for two minutes long prompts with short answers, for two minutes short prompts with long answers, and so on, with Poisson arrivals.
Exit 0: auto reaches at least 95 % of the best static split's goodput.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[1]


def flip_trace(seed: int, requests: int) -> str:
    dice, now, lines = random.Random(seed), 0.0, []
    while len(lines) < requests:
        prompts = int(now / 120) % 2 == 0
        now += dice.expovariate(4.0 if prompts else 12.0)
        size, answer = (dice.randint(8000, 16000), dice.randint(20, 60)) if prompts else (dice.randint(200, 600), dice.randint(500, 1000))
        chunks = (size + 511) // 512
        lines.append(json.dumps({"timestamp": int(now * 1000), "input_length": size, "output_length": answer, "hash_ids": [len(lines) * 1000 + i for i in range(chunks)]}))
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", required=True)
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--load", default="3")
    parser.add_argument("--ttft", default="2s")
    parser.add_argument("--itl", default="25ms")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--build", default=SOURCE / "build", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        trace = options.trace
        if trace.startswith("flip:"):
            file.write(flip_trace(int(trace[5:]), options.requests))
            file.flush()
            trace = file.name

        def goodput(prefill: int, decode: int, mixed: int, *more: str) -> float:
            command = [options.build / "baton", "simulate", "--trace", trace, "--model", "llama-3.1-8b", "--system", "h200_sxm", "--prefill", prefill, "--decode", decode, "--mixed", mixed,
                       "--slo", f"ttft={options.ttft},itl={options.itl}", "--load", options.load, "--requests", options.requests, "--json", "-", *more]
            out = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
            run = json.loads(out[out.index("\n[") :])[0]
            print(f"{prefill} prefill, {decode} decode, {mixed} mixed {' '.join(more):14} goodput {run['goodput']:8.2f}/s  TTFT {run['ttft_s']['mean'] * 1e3:8.0f} ms  ITL {run['itl_s']['mean'] * 1e3:7.2f} ms", flush=True)
            return run["goodput"]

        n = options.engines
        best = max([goodput(0, 0, n)] + [goodput(prefill, n - prefill, 0) for prefill in range(n - 1, 0, -1)])
        auto = goodput(0, 0, n, "--roles", "auto")
    print(f"auto reaches {100 * auto / best:.1f} % of the best static split")
    return 0 if auto >= 0.95 * best else 1


if __name__ == "__main__":
    sys.exit(main())
