"""Streams that must not notice what happens to the cluster: a mix of requests, and everything that a client sees of each."""
import concurrent.futures
import http.client
import json
import threading
import time

from daemons import Daemon, demo_cases

QUESTIONS = [case["messages"] for case in demo_cases() if len(case["messages"]) == 1][:6]
LONG = {"max_tokens": 150, "ignore_eos": True}

# Greedy, seeded, several choices, penalties, a stop string that is met in the middle, logprobs, a grammar.
MIX = [
    {"messages": QUESTIONS[0], "temperature": 0, **LONG},
    {"messages": QUESTIONS[1], "temperature": 0.9, "seed": 7, "n": 3, **LONG},
    {"messages": QUESTIONS[2], "temperature": 0.8, "seed": 3, "presence_penalty": 0.6, "frequency_penalty": 0.4, "repetition_penalty": 1.1, **LONG},
    {"messages": QUESTIONS[3], "temperature": 0, "logprobs": True, "top_logprobs": 3, **LONG},
    {"messages": QUESTIONS[4], "temperature": 1.2, "seed": 11, "top_p": 0.9, "top_k": 40, "min_p": 0.02, "logprobs": True, "top_logprobs": 2, **LONG},
    {"messages": QUESTIONS[5], "temperature": 0.7, "seed": 5, "stop": ["zq", "and the"], **LONG},
    {"messages": QUESTIONS[0], "temperature": 1.3, "seed": 9, "structured_outputs": {"regex": r"([a-z]{2,9} ){30,50}end\."}, **LONG},
]


class Stream:
    """One streamed chat request, read by a thread of its own."""

    def __init__(self, daemon: Daemon, body: dict, timeout: float = 180):
        self.choices = {}  # index: {"text", "logprobs", "finish_reason"}
        self.arrivals = []  # (time, characters of all choices so far)
        self.error, self.done, self.status = None, False, None
        self.began = threading.Event()  # 20 characters are here
        self._request = (daemon.host, daemon.port, dict(body, stream=True), timeout)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        host, port, body, timeout = self._request
        try:
            client = http.client.HTTPConnection(host, port, timeout=timeout)
            client.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = client.getresponse()
            self.status = response.status
            if response.status != 200:
                self.error = json.loads(response.read())["error"]
                return
            for line in response:
                self._take(line)
            client.close()
        except (OSError, http.client.HTTPException, ValueError) as problem:
            self.error = {"message": repr(problem), "type": "connection"}
        finally:
            self.began.set()

    def _take(self, line: bytes):
        if not line.startswith(b"data: "):
            return
        if line.strip() == b"data: [DONE]":
            self.done = True
            return
        chunk = json.loads(line[6:])
        if "error" in chunk:
            self.error = chunk["error"]
            return
        for part in chunk["choices"]:
            choice = self.choices.setdefault(part["index"], {"text": "", "logprobs": [], "finish_reason": None})
            choice["text"] += part["delta"].get("content") or ""
            choice["logprobs"] += (part.get("logprobs") or {}).get("content") or []
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
        characters = sum(len(choice["text"]) for choice in self.choices.values())
        self.arrivals.append((time.monotonic(), characters))
        if characters > 20:
            self.began.set()

    def seen_at(self, moment: float) -> int:
        """Characters that were here by then."""
        return max((characters for when, characters in self.arrivals if when <= moment), default=0)

    def longest_gap(self, since: float) -> float:
        times = [when for when, _ in self.arrivals if when >= since]
        return max((b - a for a, b in zip([since] + times, times)), default=0.0)

    def result(self, timeout: float = 180) -> dict:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"a client hangs after {timeout} s; it has {self.choices}"
        return {"choices": self.choices, "error": self.error, "done": self.done}


def start_all(daemon: Daemon, mix=MIX) -> list[Stream]:
    return [Stream(daemon, body) for body in mix]


def undisturbed(daemon: Daemon, mix=MIX) -> list[dict]:
    """What each is answered when nothing happens, one after the other."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda body: Stream(daemon, body).result(), mix))
    for result in results:
        assert result["error"] is None and result["done"], result
    return results
