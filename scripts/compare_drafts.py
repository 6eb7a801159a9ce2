#!/usr/bin/env python3
"""What --draft-tokens brings: tokens a second of one client, with and without it, side by side.

  scripts/compare_drafts.py [--binary build/baton] [--model DIR] [--draft-tokens 6] [--tokens 200] [--rounds 3]

Without --model a random-weights one of 1.1 billion parameters is made, whose greedy answers soon go round in circles and
whose sampled ones hardly repeat themselves: neither says how often guesses are right in real answers. Answers must be equal to the last bit.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test/e2e"))
os.environ.setdefault("BATON_SOURCE_DIR", str(ROOT))
KINDS = {"greedy": dict(temperature=0), "temperature 0.7": dict(temperature=0.7, seed=1), "temperature 1": dict(temperature=1, seed=2)}


def prompts(tokens: int) -> list:
    words = "the cat sat on a mat and saw that it was red so then he went home to eat".split()
    return [" ".join(words[(i * step + i // 7) % len(words)] for i in range(tokens)) for step in (1, 3, 5)]


def ask(daemon, chat, text, sampling, tokens):
    """(tokens a second, what the answer says)"""
    begun = time.monotonic()
    answer = chat(daemon, [{"role": "user", "content": text}], max_tokens=tokens, ignore_eos=True, logprobs=True, **sampling)
    seconds = time.monotonic() - begun
    return tokens / seconds, answer["choices"][0]["logprobs"]["content"]


def measure(daemons, chat, name, sampling, arguments):
    rates, before = ([], []), daemons[1].metrics()
    for _ in range(arguments.rounds):
        for text in prompts(60):
            told = [ask(daemon, chat, text, sampling, arguments.tokens) for daemon in daemons]
            if told[0][1] != told[1][1]:
                sys.exit(f"the answers to {text!r} ({name}) differ")
            for rate, (tokens_a_second, _) in zip(rates, told):
                rate.append(tokens_a_second)
    after = daemons[1].metrics()
    guessed, right = (after[f"baton_engine_{kind}_tokens_total"] - before[f"baton_engine_{kind}_tokens_total"] for kind in ("drafted", "accepted"))
    without, with_drafts = (statistics.median(rate) for rate in rates)
    share = f"{right / guessed:.0%}" if guessed else "-"
    print(f"{name:<16} {without:>10.1f} {with_drafts:>10.1f} {with_drafts / without:>6.2f}  {guessed:>7.0f}  {share:>5}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "build/baton"))
    parser.add_argument("--model")
    parser.add_argument("--draft-tokens", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["BATON_BINARY"] = arguments.binary
    from daemons import Daemon, chat  # read the environment

    with tempfile.TemporaryDirectory(prefix="baton-drafts-") as folder:
        model = arguments.model
        if model is None:
            model = folder + "/model"
            print("making a random-weights model of 1.1 billion parameters ...", flush=True)
            subprocess.run([arguments.binary, "synth", model, "--shape", "1.1B"], check=True, stdout=subprocess.DEVNULL)
        daemons = []
        try:
            for drafts in (0, arguments.draft_tokens):
                print(f"starting a daemon with --draft-tokens {drafts} ...", flush=True)
                daemons.append(Daemon(f"drafts-{drafts}", cluster=False, kv_memory="256M", threads=0,
                                      extra=("--model", model, "--served-model-name", "demo", "--draft-tokens", str(drafts))).wait_ready(300))
            print(f"\n{'sampling':<16} {'without':>10} {'with':>10} {'ratio':>6}  guesses  right")
            for name, sampling in KINDS.items():
                measure(daemons, chat, name, sampling, arguments)
        finally:
            for daemon in daemons:
                daemon.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
