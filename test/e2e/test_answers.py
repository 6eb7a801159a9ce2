"""The same words and tokens, however the work is divided: aggregated, disaggregated, preempted, from the prefix cache, sampled with a seed."""
import concurrent.futures
import json
import subprocess
import tempfile
import unittest

from daemons import BINARY, SHARED, Daemon, DaemonTest, chat, content, demo_cases, post

CASES = demo_cases()
# A pool of 2 MiB holds 64 blocks of the demo model: too small for eight long conversations at once.
TIGHT = "2M"


def ask_all(daemon, cases, workers=8, **fields):
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda case: chat(daemon, case["messages"], **fields), cases))


def sampled(daemon):
    cases = CASES[:8]
    return [content(a) for a in ask_all(daemon, cases, temperature=1.2, top_p=0.95, seed=1234, max_tokens=40)]


class Answers(DaemonTest):
    def assert_word_for_word(self, answers, cases=CASES):
        for case, answer in zip(cases, answers):
            self.assertEqual(content(answer), case["answer"], case["id"])
            self.assertEqual(answer["choices"][0]["finish_reason"], "stop", case["id"])

    def test_every_question_aggregated_and_from_the_prefix_cache(self):
        daemon = self.start("alone", cluster=False).wait_ready()
        self.assert_word_for_word(ask_all(daemon, CASES))
        first = daemon.wait_at_rest()
        self.assert_word_for_word(ask_all(daemon, CASES))
        second = daemon.wait_at_rest()
        self.assertGreater(second["baton_engine_prefix_hit_tokens_total"], first["baton_engine_prefix_hit_tokens_total"] + 1000)
        self.assertGreater(second["baton_engine_largest_batch"], 1)

    def test_every_question_disaggregated(self):
        prefill, decode = self.start_pair()
        for entry in (prefill, decode):   # any daemon accepts any request
            answers = ask_all(entry, CASES)
            self.assert_word_for_word(answers)
            for answer in answers:
                self.assertEqual(answer["baton"]["prefill_node"], "prefill")
                self.assertEqual(answer["baton"]["decode_node"], "decode")
                self.assertFalse(answer["baton"]["recomputed"])
        at_decode = decode.wait_at_rest()
        self.assertEqual(at_decode["baton_engine_prefill_tokens_total"], 0)
        self.assertEqual(at_decode["baton_engine_recomputed_tokens_total"], 0)
        self.assertGreater(at_decode["baton_transfer_blocks_received_total"], len(CASES))
        self.assertEqual(prefill.wait_at_rest()["baton_transfer_failures_total"], 0)

    def test_every_question_with_weights_rounded_to_fp8(self):
        extra = ("--quantization", "fp8")
        prefill, decode = self.start_pair(prefill_extra=extra, decode_extra=(*extra, "--tensor-parallel", "2"))
        answers = ask_all(prefill, CASES)
        right = sum(content(answer) == case["answer"] for case, answer in zip(CASES, answers))
        self.assertGreaterEqual(right, 0.97 * len(CASES))
        self.assertTrue(all(answer["baton"]["kv_blocks"] + answer["baton"]["kv_blocks_held"] for answer in answers))

    def test_rounded_weights_are_another_model(self):
        rounded = self.start("rounded", "prefill", extra=("--quantization", "fp8"))
        self.start("whole", "decode", peers=[rounded])
        self.eventually(rounded.log_text, lambda text: "model_fingerprint" in text)

    def test_every_question_with_an_fp8_cache(self):
        extra = ("--kv-dtype", "fp8")
        prefill, decode = self.start_pair(prefill_extra=extra, decode_extra=extra)
        answers = ask_all(prefill, CASES)
        right = sum(content(answer) == case["answer"] for case, answer in zip(CASES, answers))
        self.assertGreaterEqual(right, 0.97 * len(CASES))  # e4m3 has three bits of mantissa: a close call may fall otherwise
        received = decode.wait_at_rest()
        blocks, bytes_received = received["baton_transfer_blocks_received_total"], received["baton_transfer_received_bytes_total"]
        self.assertEqual(bytes_received / blocks, 16 * 2 * 4 * 4 * 32)  # tokens, K and V, layers, KV heads, head size: one byte each
        prefill.wait_at_rest()

    def test_every_question_under_preemption(self):
        daemon = self.start("tight", cluster=False, kv_memory=TIGHT).wait_ready()
        long_cases = [case for case in CASES if len(case["prompt_ids"]) > 100] * 2
        self.assert_word_for_word(ask_all(daemon, CASES))
        self.assert_word_for_word(ask_all(daemon, long_cases), long_cases)
        self.assertGreater(daemon.wait_at_rest()["baton_engine_preemptions_total"], 0)

    def test_seeded_sampling_is_the_same_everywhere(self):
        alone = self.start("alone", cluster=False).wait_ready()
        expected = sampled(alone)
        self.assertEqual(sampled(alone), expected, "from the prefix cache")
        self.assertGreater(len(set(expected)), 1)
        tight = self.start("tight", cluster=False, kv_memory=TIGHT).wait_ready()
        self.assertEqual(sampled(tight), expected, "under preemption")
        prefill, _ = self.start_pair()
        self.assertEqual(sampled(prefill), expected, "disaggregated")

    def test_a_second_turn_moves_only_what_the_first_did_not_leave(self):
        prefill, decode = self.start_pair()
        case = next(c for c in CASES if len(c["messages"]) > 2)
        first = chat(prefill, case["messages"][:-2])
        second = chat(prefill, case["messages"])
        self.assertEqual(content(second), case["answer"])
        blocks = (len(case["prompt_ids"]) + 15) // 16
        self.assertGreaterEqual(second["baton"]["kv_blocks_held"], first["baton"]["kv_blocks"] - 1)
        self.assertEqual(second["baton"]["kv_blocks"] + second["baton"]["kv_blocks_held"], blocks)

    def test_choices_share_a_prompt(self):
        prefill, _ = self.start_pair()
        answer = chat(prefill, CASES[2]["messages"], n=3)
        self.assertEqual([c["message"]["content"] for c in answer["choices"]], [CASES[2]["answer"]] * 3)


@unittest.skipUnless((SHARED / "models/stories260K").exists(), "needs the optional test data")
class GoldenModel(unittest.TestCase):
    """A really trained model: 199 greedy tokens, checked against two independent implementations."""

    @classmethod
    def setUpClass(cls):
        cls.directory = SHARED / "models/stories260K"
        cls.golden = json.loads((cls.directory / "golden.json").read_text())

    def check(self, daemon):
        body = {"prompt": self.golden["prompt_ids"], "max_tokens": len(self.golden["greedy_ids"]), "temperature": 0, "ignore_eos": True}
        with post(daemon.url + "/v1/completions", body) as response:
            answer = json.load(response)
        self.assertEqual(answer["choices"][0]["text"].strip(), self.golden["text"].strip())
        self.assertEqual(answer["usage"]["completion_tokens"], len(self.golden["greedy_ids"]))

    def test_golden_ids(self):
        for extra in ([], ["--block-size", "8"], ["--block-size", "32"], ["--max-batch-tokens", "16"], ["--isa", "portable"]):
            with self.subTest(extra=extra):
                daemons = []
                try:
                    arguments = ["--model", str(self.directory)] + extra
                    daemons.append(Daemon("alone", cluster=False, extra=arguments))
                    daemons.append(Daemon("prefill", "prefill", extra=arguments))
                    daemons.append(Daemon("decode", "decode", peers=[daemons[1]], extra=arguments))
                    for daemon in daemons:
                        self.check(daemon.wait_ready())
                finally:
                    for daemon in daemons:
                        daemon.kill()


class Experts(DaemonTest):
    """A random mixture of experts: which experts a row goes to depends on that row alone, whoever is in its step and wherever it runs."""

    PROMPTS = [f"{'expert ' * (1 + 9 * i)}number {i}" for i in range(12)]

    def answers(self, daemon, workers):
        def ask(prompt):
            answer = json.load(post(daemon.url + "/v1/completions", {"prompt": prompt, "max_tokens": 24, "temperature": 0, "logprobs": 1}))
            return answer["choices"][0]["text"], answer["choices"][0]["logprobs"]["token_logprobs"]

        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            return list(pool.map(ask, self.PROMPTS))

    def test_a_mixture_of_experts_alone_in_batches_and_disaggregated(self):
        with tempfile.TemporaryDirectory() as directory:
            model = directory + "/model"
            subprocess.run([BINARY, "synth", model, "--hidden", "64", "--layers", "2", "--heads", "4", "--kv-heads", "2", "--head-dim", "16", "--ffn", "48",
                            "--experts", "8", "--experts-per-token", "2", "--vocab", "1000", "--context", "1024"], check=True, capture_output=True)
            extra = ("--model", model)
            alone = self.start("alone", extra=extra, cluster=False).wait_ready()
            expected = self.answers(alone, 1)
            self.assertGreater(len({text for text, _ in expected}), 6)  # it does not say the same to everybody
            self.assertEqual(self.answers(alone, 12), expected)
            prefill, decode = self.start_pair(prefill_extra=extra, decode_extra=extra)
            self.assertEqual(self.answers(prefill, 12), expected)
            self.assertEqual(self.answers(decode, 12), expected)
            self.assertGreater(decode.wait_at_rest()["baton_transfer_blocks_received_total"], len(self.PROMPTS))
            prefill.wait_at_rest()


if __name__ == "__main__":
    if not (SHARED / "models/stories260K").exists():
        print("BATON-SKIPPED[shared] e2e: golden ids of stories260K")
    unittest.main()
