"""LoRA adapters: models of their own to clients, rows of one step to engines, with a prefix cache of their own, also from node to node."""
import json
import pathlib
import tempfile
import threading
import unittest
import urllib.error

from daemons import SOURCE, DaemonTest, chat, content, demo_cases, get, post
from lora import write_adapter

CASES = demo_cases()[:6]
DEMO = SOURCE / "models/demo"


class Adapters(DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="baton-adapters-")
        root = pathlib.Path(cls.folder.name)
        cls.one, cls.two = write_adapter(DEMO, root / "one", 1), write_adapter(DEMO, root / "two", 2)
        cls.both = ("--lora", f"one={cls.one}", "--lora", f"two={cls.two}")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def answers(self, daemon, model, cases=CASES):
        return [content(chat(daemon, case["messages"], model=model, max_tokens=24)) for case in cases]

    def test_each_is_a_model(self):
        daemon = self.start("lone", cluster=False, extra=self.both).wait_ready()
        listed = json.load(get(daemon.url + "/v1/models"))["data"]
        self.assertEqual([(model["id"], model["parent"]) for model in listed], [("demo", None), ("one", "demo"), ("two", "demo")])
        self.assertEqual(json.load(get(daemon.url + "/v1/models/two"))["parent"], "demo")
        self.assertEqual(chat(daemon, CASES[0]["messages"], model="two", max_tokens=2)["model"], "two")
        for case in CASES:
            self.assertEqual(content(chat(daemon, case["messages"], model="demo")), case["answer"])
        plain, one, two = (self.answers(daemon, model) for model in ("demo", "one", "two"))
        self.assertNotEqual(plain, one)
        self.assertNotEqual(one, two)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            chat(daemon, CASES[0]["messages"], model="three")
        self.assertEqual(refused.exception.code, 404)
        self.assertEqual(self.together(daemon, ("demo", "one", "two")), [plain, one, two])

    def together(self, daemon, models):
        """All of them at once, so that their rows share steps."""
        results = {}
        def ask(model, index):
            results[model, index] = content(chat(daemon, CASES[index]["messages"], model=model, max_tokens=24))
        threads = [threading.Thread(target=ask, args=(model, index)) for model in models for index in range(len(CASES))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [[results[model, index] for index in range(len(CASES))] for model in models]

    def test_each_has_its_own_prefix_cache(self):
        daemon = self.start("lone", cluster=False, extra=self.both).wait_ready()
        text = "Attention over long prompts takes time, and the cache keeps it. " * 4
        def cached(model):
            body = {"model": model, "prompt": text, "max_tokens": 2, "temperature": 0}
            usage = json.load(post(daemon.url + "/v1/completions", body))["usage"]
            return usage["prompt_tokens_details"]["cached_tokens"]
        for model in ("demo", "one", "two"):
            self.assertEqual(cached(model), 0, model)
            self.assertGreater(cached(model), 0, model)

    def test_from_node_to_node(self):
        lone = self.start("lone", cluster=False, extra=self.both).wait_ready()
        expected = [self.answers(lone, model) for model in ("demo", "one", "two")]
        # Names are a daemon's own: the decode node calls them otherwise.
        other_names = ("--lora", f"second={self.two}", "--lora", f"first={self.one}")
        prefill, decode = self.start_pair(prefill_extra=self.both, decode_extra=other_names)
        self.assertEqual(self.together(prefill, ("demo", "one", "two")), expected)
        self.assertEqual(self.answers(decode, "first"), expected[1])
        answer = chat(prefill, CASES[0]["messages"], model="one", max_tokens=24)
        self.assertEqual((answer["baton"]["prefill_node"], answer["baton"]["decode_node"]), ("prefill", "decode"))
        self.assertFalse(answer["baton"]["recomputed"])
        self.assertGreater(answer["baton"]["kv_blocks"] + answer["baton"]["kv_blocks_held"], 0)
        prefill.wait_at_rest()
        received = decode.wait_at_rest()
        self.assertGreater(received["baton_transfer_blocks_received_total"], len(CASES))
        self.assertEqual(received["baton_transfer_failures_total"], 0)

    def test_only_engines_that_have_it_are_asked(self):
        with_it = self.start("with", "mixed", extra=("--lora", f"one={self.one}")).wait_ready()
        without = self.start("without", "mixed", peers=[with_it]).wait_ready()
        with_it.wait_for_peers(1)
        expected = self.answers(with_it, "one")
        self.assertEqual(self.together(with_it, ["one"]), [expected])
        for case in CASES:
            baton = chat(with_it, case["messages"], model="one", max_tokens=4)["baton"]
            self.assertEqual((baton["prefill_node"], baton["decode_node"]), ("with", "with"))
        engines = json.load(post(with_it.url + "/route/explain", {"model": "one", "messages": CASES[0]["messages"]}))["engines"]
        self.assertEqual([engine["node"] for engine in engines], ["with"])
        with self.assertRaises(urllib.error.HTTPError) as refused:
            chat(without, CASES[0]["messages"], model="one")
        self.assertEqual(refused.exception.code, 404)

    def test_tensor_parallel(self):
        exact = ("--kv-dtype", "f32")
        lone = self.start("lone", cluster=False, extra=(*self.both, *exact)).wait_ready()
        wide = self.start("wide", cluster=False, extra=(*self.both, *exact, "--tensor-parallel", "2")).wait_ready()
        first = lambda daemon, model: content(chat(daemon, CASES[0]["messages"], model=model, max_tokens=8))
        for model in ("demo", "one", "two"):
            self.assertEqual(first(lone, model), first(wide, model))

    def test_what_cannot_be_loaded_is_said(self):
        self.assertIn("--lora one: must be NAME=DIR", self.refused_start("--lora", "one"))
        self.assertIn("printable ASCII", self.refused_start("--lora", f"o ne={self.one}"))
        self.assertIn("another adapter has this name", self.refused_start("--lora", f"one={self.one}", "--lora", f"one={self.two}"))
        self.assertIn("the model has this name", self.refused_start("--lora", f"demo={self.one}"))
        self.assertIn("adapter 'gone': cannot open /nonexistent/adapter_config.json", self.refused_start("--lora", "gone=/nonexistent"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
