"""Embeddings from real daemons: the same bits alone, in a batch, in chunks and from another node; whoever dies."""
import base64
import concurrent.futures
import hashlib
import json
import math
import pathlib
import shutil
import signal
import struct
import tempfile
import time
import unittest
import urllib.error

from daemons import SOURCE, DaemonTest, chat, content, demo_cases, post
from lora import write_adapter

ON = ("--embeddings", "on")
TEXTS = [case["messages"][-1]["content"] for case in demo_cases()[:8]]
LONG = " ".join(TEXTS)
SHIPPED = SOURCE / "models/demo"


def ask(daemon, given, **fields) -> dict:
    return json.load(post(daemon.url + "/v1/embeddings", {"input": given, **fields}, headers=daemon.headers))


def codes(daemon, given, **fields) -> list[str]:
    """The vectors in base64: equal texts are equal bits."""
    return [item["embedding"] for item in ask(daemon, given, encoding_format="base64", **fields)["data"]]


def floats(code: str) -> list[float]:
    data = base64.b64decode(code)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


class Embeddings(DaemonTest):
    def refusal(self, daemon, given="a", **fields):
        with self.assertRaises(urllib.error.HTTPError) as refused:
            ask(daemon, given, **fields)
        return refused.exception.code, json.load(refused.exception)["error"]

    def test_of_a_daemon_alone(self):
        daemon = self.start("lone", cluster=False, extra=ON).wait_ready()
        expected = codes(daemon, TEXTS)  # in one batch
        self.assertEqual(len(set(expected)), len(TEXTS))
        self.assertEqual([codes(daemon, text)[0] for text in TEXTS], expected)
        for code in expected:
            self.assertAlmostEqual(math.hypot(*floats(code)), 1, delta=1e-6)
        answer = ask(daemon, TEXTS)
        self.assertEqual([item["index"] for item in answer["data"]], list(range(len(TEXTS))))
        self.assertEqual([struct.pack("<256f", *item["embedding"]) for item in answer["data"]], [base64.b64decode(code) for code in expected])
        ids = [json.load(post(daemon.url + "/tokenize", {"prompt": text}))["tokens"] for text in TEXTS]
        self.assertEqual(codes(daemon, ids), expected)
        self.assertEqual(codes(daemon, ids[0]), expected[:1])
        tokens = sum(map(len, ids))
        self.assertEqual(answer["usage"], {"prompt_tokens": tokens, "total_tokens": tokens})
        self.assertEqual((answer["object"], answer["model"]), ("list", "demo"))
        short = floats(codes(daemon, TEXTS[0], dimensions=64)[0])
        whole = floats(expected[0])[:64]
        self.assertAlmostEqual(math.hypot(*short), 1, delta=1e-6)
        for a, b in zip(short, whole):
            self.assertAlmostEqual(a, b / math.hypot(*whole), delta=1e-6)
        self.assertEqual(codes(daemon, ids[1], truncate_prompt_tokens=3), codes(daemon, ids[1][-3:]))
        daemon.wait_at_rest()

    def test_beside_answers_and_in_chunks(self):
        lone = self.start("lone", cluster=False, extra=ON).wait_ready()
        chunks = self.start("chunks", cluster=False, extra=(*ON, "--max-batch-tokens", "16", "--max-sequences", "4")).wait_ready()
        texts = [*TEXTS, LONG]
        expected = codes(lone, texts)
        case = demo_cases()[0]
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(chat, chunks, case["messages"]) for _ in range(4)]
            together = [pool.submit(codes, chunks, texts) for _ in range(2)]
            apart = [pool.submit(codes, chunks, text) for text in texts]
            self.assertEqual([done.result() for done in together], [expected, expected])
            self.assertEqual([done.result()[0] for done in apart], expected)
            for answer in answers:
                self.assertEqual(content(answer.result()), case["answer"])
        chunks.wait_at_rest()

    def test_more_inputs_than_the_queue_holds(self):
        daemon = self.start("small", cluster=False, extra=(*ON, "--max-sequences", "2", "--max-waiting", "3")).wait_ready()
        one, *_ = codes(daemon, TEXTS[0])
        many = codes(daemon, [TEXTS[i % 3] for i in range(60)])
        self.assertEqual(len(many), 60)
        self.assertEqual(many[::3], [one] * 20)
        self.assertEqual(len(set(many)), 3)
        daemon.wait_at_rest()

    def test_of_two_nodes(self):
        lone = self.start("lone", cluster=False, extra=ON).wait_ready()
        expected = codes(lone, [*TEXTS, LONG])
        prefill, decode = self.start_pair(prefill_extra=ON, decode_extra=ON)
        received = decode.metrics()["baton_transfer_blocks_received_total"]  # of the request that asks whether it is ready
        for daemon in (prefill, decode):
            self.assertEqual(codes(daemon, [*TEXTS, LONG]), expected)
            reply = post(daemon.url + "/v1/embeddings", {"input": "a"})
            self.assertEqual(reply.headers["x-baton-route"], "prefill=prefill, decode=prefill")  # there is nothing to hand over
            self.assertTrue(reply.headers["x-request-id"].startswith("embd-"))
        prefill.wait_at_rest()
        self.assertEqual(decode.wait_at_rest()["baton_transfer_blocks_received_total"], received)

    def lose(self, number):
        dead = self.start("dead", "prefill", extra=(*ON, "--faults", "engine.prefill=hold:4000"))
        alive = self.start("alive", "decode", peers=[dead], extra=ON).wait_ready()
        dead.wait_ready()
        lone = self.start("lone", cluster=False, extra=ON).wait_ready()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(codes, alive, TEXTS)
            time.sleep(0.7)
            self.assertFalse(asked.done())
            dead.signal(number)
            self.assertEqual(asked.result(timeout=30), codes(lone, TEXTS))
        alive.wait_at_rest()

    def test_a_node_killed_before_it_answers(self):
        self.lose(signal.SIGKILL)

    def test_a_node_frozen_before_it_answers(self):
        self.lose(signal.SIGSTOP)

    def test_a_client_that_leaves(self):
        daemon = self.start("lone", cluster=False, extra=(*ON, "--max-sequences", "4", "--faults", "engine.prefill=hold:300")).wait_ready()
        with self.assertRaises((TimeoutError, OSError)):
            post(daemon.url + "/v1/embeddings", {"input": TEXTS * 100}, timeout=0.5)
        daemon.wait_at_rest(8)

    def test_adapters_embed_otherwise(self):
        with tempfile.TemporaryDirectory() as folder:
            adapter = write_adapter(SHIPPED, pathlib.Path(folder, "one"), 1)
            daemon = self.start("lone", cluster=False, extra=(*ON, "--lora", f"one={adapter}")).wait_ready()
        self.assertNotEqual(codes(daemon, TEXTS[0]), codes(daemon, TEXTS[0], model="one"))
        self.assertEqual(ask(daemon, "a", model="one")["model"], "one")
        self.assertEqual(self.refusal(daemon, model="two")[0], 404)

    def test_which_models_embed(self):
        generator = self.start("generator", cluster=False).wait_ready()
        status, error = self.refusal(generator)
        self.assertEqual((status, error["param"], error["code"]), (400, "model", "unsupported_value"))
        self.assertIn("start the daemon with --embeddings on", error["message"])
        with tempfile.TemporaryDirectory() as folder:
            model = shutil.copytree(SHIPPED, pathlib.Path(folder, "model"))
            pooling = model / "1_Pooling/config.json"
            pooling.parent.mkdir()
            pooling.write_text('{"pooling_mode_mean_tokens": true, "pooling_mode_lasttoken": false}')
            mean = self.start("mean", cluster=False, extra=("--model", str(model))).wait_ready()
            self.assertIn("'mean_tokens'", self.refusal(mean)[1]["message"])
            pooling.write_text('{"pooling_mode_mean_tokens": false, "pooling_mode_lasttoken": true}')
            last = self.start("last", cluster=False, extra=("--model", str(model))).wait_ready()
            self.assertEqual(len(floats(codes(last, "a")[0])), 256)
            off = self.start("off", cluster=False, extra=("--model", str(model), "--embeddings", "off")).wait_ready()
            self.assertIn("--embeddings off", self.refusal(off)[1]["message"])

    def test_what_is_too_long_is_said(self):
        daemon = self.start("lone", cluster=False, extra=(*ON, "--max-context", "32")).wait_ready()
        self.assertEqual(len(codes(daemon, [list(range(5, 37)), [7] * 32])), 2)  # fill it
        status, error = self.refusal(daemon, [[7], [7] * 33])
        self.assertEqual((status, error["param"], error["code"]), (400, "input[1]", "context_length_exceeded"))
        self.assertIn("33 tokens", error["message"])
        self.assertEqual(codes(daemon, [7] * 100, truncate_prompt_tokens=-1), codes(daemon, [7] * 32))

    def test_tenants_and_metrics(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
            for name, role in (("alice", ""), ("bob", "admin")):
                file.write(f"{name} {hashlib.sha256(name.encode()).hexdigest()} {role}\n")
            file.flush()
            daemon = self.start("lone", cluster=False, extra=(*ON, "--api-key-file", file.name)).wait_ready()
        self.assertEqual(self.refusal(daemon)[0], 401)
        vectors, hits = [], []
        daemon.headers = {"x-api-key": "bob"}
        queried = daemon.wait_at_rest()["baton_engine_prefix_queried_tokens_total"]  # of the request that asks whether it is ready
        for name in ("alice", "bob", "bob"):
            daemon.headers = {"x-api-key": name}
            vectors += codes(daemon, LONG)
            daemon.headers = {"x-api-key": "bob"}
            looked_up = lambda metrics: metrics["baton_engine_prefix_queried_tokens_total"] > queried + 20  # more than that request has
            metrics = self.eventually(daemon.metrics, looked_up)  # an answer may be faster than the engine's numbers
            queried = metrics["baton_engine_prefix_queried_tokens_total"]
            hits.append(metrics["baton_engine_prefix_hit_tokens_total"])
        self.assertEqual(len(set(vectors)), 1)
        self.assertEqual(hits[:2], [0, 0])
        self.assertGreater(hits[2], 0)
        counted = 'dynamo_frontend_requests_total{endpoint="embeddings",model="demo",request_type="unary",status="success"}'
        self.assertEqual(daemon.metrics()[counted], 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
