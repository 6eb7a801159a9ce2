"""Engines of several devices that share each layer (--tensor-parallel): the same words, KV blocks that go from one width to another, and failures."""
import signal
import unittest

from daemons import DaemonTest, chat, content, demo_cases
from streams import MIX, Stream

CASES = demo_cases()[:24]


def wide(width, *more):
    return ("--tensor-parallel", str(width), *more)


class TensorParallel(DaemonTest):
    def assert_answers(self, daemon, cases=CASES, nodes=None):
        for case in cases:
            answer = chat(daemon, case["messages"])
            self.assertEqual(content(answer), case["answer"], case["id"])
            if nodes:
                baton = answer["baton"]
                self.assertEqual((baton["prefill_node"], baton["decode_node"]), nodes)
                self.assertFalse(baton["recomputed"])
                self.assertGreater(baton["kv_blocks"] + baton["kv_blocks_held"], 0)

    def test_alone(self):
        for width in (2, 4):
            daemon = self.start(f"wide-{width}", cluster=False, extra=wide(width)).wait_ready()
            self.assertIn(f"/tp{width}", daemon.log_text())
            self.assert_answers(daemon)
            daemon.wait_at_rest()
            self.assertEqual(daemon.end(), 0)

    def test_between_widths(self):
        for prefill_width, decode_width in ((2, 1), (1, 2), (2, 4)):
            prefill, decode = self.start_pair(prefill_extra=wide(prefill_width), decode_extra=wide(decode_width))
            self.assert_answers(prefill, nodes=("prefill", "decode"))
            prefill.wait_at_rest()
            received = decode.wait_at_rest()
            self.assertGreater(received["baton_transfer_blocks_received_total"], len(CASES))
            self.assertEqual(received["baton_transfer_failures_total"], 0)
            for daemon in (prefill, decode):
                self.assertEqual(daemon.end(), 0)

    def test_streams_of_every_kind(self):
        """Sampling, several choices, penalties, log probabilities, a grammar: as one device has them, but for the last digits of a log probability."""
        exact = ("--kv-dtype", "f32")  # rounded to bf16, the sums' last bits would show in the third digit
        lone = self.start("lone", cluster=False, extra=exact).wait_ready()
        shared = self.start("shared", cluster=False, extra=wide(2, *exact)).wait_ready()
        pairs = [(Stream(lone, body), Stream(shared, body)) for body in MIX]
        for body, (expected, got) in zip(MIX, pairs):
            one, other = expected.result(), got.result()
            self.assertIsNone(one["error"])
            self.assertIsNone(other["error"])
            for index, choice in one["choices"].items():
                self.assertEqual(choice["text"], other["choices"][index]["text"], body)
                self.assertEqual(choice["finish_reason"], other["choices"][index]["finish_reason"])
                for ours, theirs in zip(choice["logprobs"], other["choices"][index]["logprobs"], strict=True):
                    self.assertAlmostEqual(ours["logprob"], theirs["logprob"], 3)

    def test_one_command_for_engines_of_unlike_width(self):
        node = self.start("node", "prefill,decode", extra=("--devices", "cpu,cpu,cpu", "--tensor-parallel", "2,1"), ports=2)
        answered = lambda: chat(node, CASES[0]["messages"])["baton"]
        node.wait_ready()
        self.eventually(answered, lambda baton: (baton["prefill_node"], baton["decode_node"]) == ("node-0", "node-1"))
        self.assert_answers(node, nodes=("node-0", "node-1"))
        self.assertEqual(node.end(), 0)

    def test_a_dead_decode_node_of_another_width(self):
        """Its streams go on at one of another width, to the end; which of two close words comes next may change."""
        slow = ("--faults", "engine.decode=hold:40")
        prefill, first = self.start_pair(decode_extra=wide(2, *slow))
        streams = [Stream(prefill, dict(MIX[0], max_tokens=60)) for _ in range(3)]
        for stream in streams:
            self.assertTrue(stream.began.wait(60))
        second = self.start("second", "decode", peers=[prefill, first], extra=wide(4)).wait_ready()
        prefill.wait_for_peers(2)
        first.signal(signal.SIGKILL)
        results = [stream.result() for stream in streams]
        for result in results:
            self.assertIsNone(result["error"])
            self.assertEqual(result["choices"][0]["finish_reason"], "length")
            self.assertEqual(result["choices"][0]["text"], results[0]["choices"][0]["text"])
        self.assertGreater(second.metrics()["baton_engine_decode_tokens_total"], 0)

    def test_what_cannot_be_shared_out_is_said(self):
        self.assertIn("num_attention_heads is 8, which is no multiple of the 3 devices", self.refused_start("--tensor-parallel", "3"))
        self.assertIn("num_key_value_heads is 4", self.refused_start("--tensor-parallel", "8"))
        self.assertIn("--tensor-parallel", self.refused_start("--tensor-parallel", "16"))
        self.assertIn("--tensor-parallel 2,1", self.refused_start("--tensor-parallel", "2,1"))
        self.assertIn("--devices names 3", self.refused_start("--tensor-parallel", "2", "--devices", "cpu,cpu,cpu"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
