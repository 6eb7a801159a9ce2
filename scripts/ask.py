#!/usr/bin/env python3
"""Asks a running daemon one question, prints the answer as it streams in, and where its KV cache went.

Usage: ask.py URL QUESTION
"""
import json
import sys
import time
import urllib.request


def main() -> int:
    url, question = sys.argv[1], sys.argv[2]
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 200, "stream": True}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    print(f"\n  Q: {question}\n  A: ", end="", flush=True)
    handoff, begun, first, pieces = None, time.monotonic(), None, 0
    with urllib.request.urlopen(request, timeout=60) as response:
        for line in response:
            if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                print(f"\nerror: {chunk['error']['message']}", file=sys.stderr)
                return 1
            handoff = chunk.get("baton", handoff)
            for choice in chunk["choices"]:
                text = choice["delta"].get("content") or ""
                if text:
                    first = first or time.monotonic()
                    pieces += 1
                    print(text, end="", flush=True)
    print("\n")
    if first is None or handoff is None:
        print("error: the stream ended without an answer", file=sys.stderr)
        return 1
    print(f"  prefill node: {handoff['prefill_node']}   decode node: {handoff['decode_node']}   "
          f"KV blocks moved: {handoff['kv_blocks']} ({handoff['kv_bytes']:,} bytes) over {handoff['transport'] or 'nothing'} "
          f"in {handoff['transfer_ms']:.2f} ms")
    print(f"  first text after {(first - begun) * 1000:.1f} ms, {pieces} pieces in {(time.monotonic() - begun) * 1000:.1f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
