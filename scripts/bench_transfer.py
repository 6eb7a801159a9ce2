#!/usr/bin/env python3
"""KV transfer between two processes beside `ucx_perftest -t ucp_am_bw`: interleaved runs, medians, ratios.

    scripts/bench_transfer.py [--build build] [--runs 5] [--bytes 524288] [--count 4096] [--tls tcp]

Both use the same size, UCX_TLS and network device. Needs the package ucx-utils and the target transfer_bench.
Prints a Markdown table (docs/benchmarks.md); exits 1 where a ratio is below its goal (90 % without digests, 75 % with).
"""
import argparse
import os
import statistics
import subprocess
import sys
import time


def perftest(args, environment, port):
    command = ["ucx_perftest", "-p", str(port), "-t", "ucp_am_bw", "-s", str(args.bytes), "-n", str(args.count),
               "-w", "256", "-f"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        client = subprocess.run(command[:1] + ["127.0.0.1"] + command[1:], env=environment, capture_output=True,
                                text=True, timeout=300, check=True)
    finally:
        server.kill()
        server.wait()
    # iterations, three overheads, bandwidth average and overall (MB/s), two message rates
    rows = [line.split() for line in client.stdout.splitlines() if line.strip()[:1].isdigit()]
    return float(rows[-1][5])


# Row: digests, source of the blocks, goal. "ahead" is what a prefill engine does: a block is digested when it is
# finished. "One block" sends what ucx_perftest sends: the same bytes each time, out of the processor's cache.
OURS = {
    "digests off": ("off", "scattered", 0.90),
    "digests on": ("ahead", "scattered", 0.75),
    "digests on, of blocks from the prefix cache": ("on", "scattered", 0),
    "digests off, one block again and again": ("off", "one", 0),
    "digests on, one block again and again": ("ahead", "one", 0),
}


def ours(args, environment, digests, source):
    command = [os.path.join(args.build, "test/transfer/transfer_bench"), "--bytes", str(args.bytes), "--count",
               str(args.count), "--digests", digests, "--source", source]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300,
                                check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=512 << 10)
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--tls", default="tcp")
    parser.add_argument("--device", default="lo")
    args = parser.parse_args()
    environment = dict(os.environ, UCX_TLS=args.tls, UCX_NET_DEVICES=args.device, UCX_WARN_UNUSED_ENV_VARS="n")

    figures = {"ucx_perftest": []} | {name: [] for name in OURS}
    for run in range(args.runs):
        figures["ucx_perftest"].append(perftest(args, environment, 14000 + os.getpid() % 1000 + run))
        for name, (digests, source, _) in OURS.items():
            figures[name].append(ours(args, environment, digests, source))
        print(f"run {run + 1}: " + ", ".join(f"{name} {values[-1]:.0f}" for name, values in figures.items()),
              file=sys.stderr)

    base = statistics.median(figures["ucx_perftest"])
    goals = {"ucx_perftest": 0} | {name: goal for name, (_, _, goal) in OURS.items()}
    print("| | MiB/s, each run | median | of ucx_perftest | goal |\n|---|---|---|---|---|")
    failed = False
    for name, values in figures.items():
        ratio = statistics.median(values) / base
        failed = failed or ratio < goals[name]
        print(f"| {name} | {', '.join(f'{value:.0f}' for value in values)} | {statistics.median(values):.0f} | "
              f"{ratio:.0%} | {f'≥ {goals[name]:.0%}' if goals[name] else ''} |")
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
