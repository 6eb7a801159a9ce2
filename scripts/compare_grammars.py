#!/usr/bin/env python3
"""Masks of outputs bound to a grammar: Baton's beside llguidance's, in one run.

    compare_grammars.py build/test/bench/grammar_bench FOLDER_OF_A_TOKENIZER

Both write the same JSON text (grammar_bench prints it with --text) token by token, masks over the whole vocabulary: as any JSON object, and as an
object whose strings have a most length.
Needs the Python packages llguidance and tokenizers.
"""
import pathlib
import statistics
import subprocess
import sys
import time

import llguidance
import llguidance.numpy
import tokenizers


SHORT, MEDIUM = {"type": "string", "minLength": 1, "maxLength": 20}, {"type": "string", "minLength": 2, "maxLength": 60}
PERSON = {"name": SHORT, "age": {"type": "integer"}, "city": SHORT, "tags": {"type": "array", "items": MEDIUM}, "score": {"type": "number"},
          "active": {"type": "boolean"}, "notes": {"type": "null"}}
BOUNDED = {"type": "object", "properties": {"people": {"type": "array", "items": {"type": "object", "properties": PERSON, "required": list(PERSON),
                                                                                  "additionalProperties": False}}},
           "required": ["people"], "additionalProperties": False}


def report(what: str, times: list[float]) -> None:
    times = sorted(t * 1e6 for t in times)
    print(f"{what:<34} {statistics.mean(times):8.1f} mean {times[len(times) // 2]:8.1f} median "
          f"{times[len(times) * 99 // 100]:8.1f} p99 {times[-1]:8.1f} max (microseconds a token)")


def main() -> None:
    bench, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    print("Baton:")
    print(subprocess.run([bench, folder], check=True, capture_output=True, text=True).stdout, end="")
    text = subprocess.run([bench, folder, "--text"], check=True, capture_output=True, text=True).stdout
    file = (folder / "tokenizer.json").read_text(encoding="utf-8")
    ids = tokenizers.Tokenizer.from_str(file).encode(text, add_special_tokens=False).ids
    print("llguidance", llguidance.__version__ + ":" if hasattr(llguidance, "__version__") else ":")
    begin = time.perf_counter()
    tokenizer = llguidance.LLTokenizer(file)
    print(f"vocabulary of {tokenizer.vocab_size} read in {(time.perf_counter() - begin) * 1000:.1f} ms")
    for name, schema in (("any JSON object", {"type": "object"}), ("bounded strings", BOUNDED)):
        measure(name, schema, tokenizer, ids)


def measure(name: str, schema: dict, tokenizer: llguidance.LLTokenizer, ids: list[int]) -> None:
    begin = time.perf_counter()
    grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
    matcher = llguidance.LLMatcher(tokenizer, grammar)
    print(f"{name}: grammar compiled in {(time.perf_counter() - begin) * 1000:.1f} ms")
    mask = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)
    for what in ("masks, first output", "masks, second output"):
        matcher = llguidance.LLMatcher(tokenizer, grammar) if "second" in what else matcher
        writes, advances = [], []
        for token in ids:
            begin = time.perf_counter()
            llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
            writes.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            assert matcher.consume_token(token), matcher.get_error()
            advances.append(time.perf_counter() - begin)
        report(what, writes)
        report("  taking the token", advances)


if __name__ == "__main__":
    main()
