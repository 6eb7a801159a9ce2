"""A model with sliding windows on real daemons: the same bits whole and in chunks, from the prefix cache and from another node."""
import math
import pathlib
import tempfile
import unittest

from daemons import DaemonTest, chat, content, demo_cases
from windows import WINDOW, windowed_demo

CASES = [case["messages"] for case in demo_cases()[:6]]
BLOCK = 16  # tokens
LONG = [[{"role": "user", "content": " ".join(messages[-1]["content"] for messages in CASES)}]]


def answers(daemon, conversations=CASES + LONG):
    """Texts and log probabilities, to the last bit."""
    told = []
    for messages in conversations:
        answer = chat(daemon, messages, max_tokens=40, logprobs=True, ignore_eos=True)
        told.append((content(answer), [token["logprob"] for token in answer["choices"][0]["logprobs"]["content"]]))
    return told


class Windows(DaemonTest):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.TemporaryDirectory(prefix="baton-windows-")
        self.addCleanup(self.folder.cleanup)
        self.model = ("--model", str(windowed_demo(pathlib.Path(self.folder.name))), "--served-model-name", "demo")

    def test_chunks_cache_and_handoffs(self):
        lone = self.start("lone", cluster=False, extra=self.model).wait_ready()
        expected = answers(lone)
        again = chat(lone, LONG[0], max_tokens=1)
        self.assertGreater(again["usage"]["prompt_tokens_details"]["cached_tokens"], 2 * WINDOW)
        self.assertEqual(answers(lone), expected)  # from the cache
        chunked = self.start("chunked", cluster=False, extra=self.model + ("--max-batch-tokens", "32")).wait_ready()
        self.assertEqual(answers(chunked), expected)

        whole = self.start("whole", cluster=False).wait_ready()  # without windows
        self.assertNotEqual([text for text, _ in answers(whole)], [text for text, _ in expected])

        prefill, decode = self.start_pair(self.model, self.model)
        moved = chat(prefill, LONG[0], max_tokens=8)
        text = math.ceil(moved["usage"]["prompt_tokens"] / BLOCK)
        of_the_window = moved["baton"]["kv_blocks"] + moved["baton"]["kv_blocks_held"] - text
        self.assertIn(of_the_window, range(1, WINDOW // BLOCK + 3))  # of the layers with one, no more
        self.assertGreater(text, of_the_window + 2)
        self.assertEqual(answers(prefill), expected)
        received = decode.wait_at_rest()
        self.assertGreater(received["baton_transfer_blocks_received_total"], 0)
        self.assertEqual(received["baton_engine_prefill_tokens_total"], 0)

    def test_a_node_without_the_windows_is_refused(self):
        windowed = self.start("windowed", "prefill", extra=self.model)
        whole = self.start("whole", "decode", peers=[windowed]).wait_ready()
        self.eventually(whole.log_text, lambda text: "fingerprint" in text)


if __name__ == "__main__":
    unittest.main()
