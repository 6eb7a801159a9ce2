"""Daemons whose engines have a GPU, an emulated one: BATON_BINARY is baton_emulated. The same words as everywhere, blocks that go from one GPU's memory to the other's."""
import os
import pathlib
import signal
import tempfile
import unittest
import unittest.mock
import urllib.error

from daemons import SOURCE, DaemonTest, chat, content, demo_cases
from lora import write_adapter
from windows import WINDOW, windowed_demo

# The shortest: a token takes a tenth of a second here.
CASES = sorted(demo_cases(), key=lambda case: len(case["prompt_ids"]) + 4 * len(case["answer_ids"]))[:2]
MODEL = ("--model", str(SOURCE / "models/demo"))
SMALL = MODEL + ("--gpu-memory", "200M", "--max-batch-tokens", "64", "--max-sequences", "4")
GPU = SMALL + ("--device", "cuda")
CPU = MODEL + ("--device", "cpu")


class Gpu(DaemonTest):
    def assert_handed_over(self, prefill, decode):
        for case in CASES:
            answer = chat(prefill, case["messages"])
            self.assertEqual(content(answer), case["answer"], case["id"])
            self.assertEqual((answer["baton"]["prefill_node"], answer["baton"]["decode_node"]), ("prefill", "decode"))
            self.assertFalse(answer["baton"]["recomputed"])
            self.assertGreater(answer["baton"]["kv_blocks"], 0)
        received = decode.wait_at_rest()
        self.assertGreater(received["baton_transfer_blocks_received_total"], 0)
        self.assertEqual(received["baton_engine_prefill_tokens_total"], 0)
        self.assertEqual(prefill.wait_at_rest()["baton_transfer_failures_total"], 0)

    def test_from_gpu_to_gpu(self):
        prefill, decode = self.start_pair(GPU, GPU)
        self.assertIn("device=cuda", prefill.log_text())
        self.assert_handed_over(prefill, decode)

    def test_from_gpu_to_cpu(self):
        self.assert_handed_over(*self.start_pair(GPU, CPU))

    def test_from_cpu_to_gpu(self):
        self.assert_handed_over(*self.start_pair(CPU, GPU))

    def test_from_two_gpus_to_one(self):
        with unittest.mock.patch.dict(os.environ, {"BATON_EMULATOR_GPUS": "2"}):
            # A prediction that makes no sense of several GPUs would refuse what it predicts to take minutes.
            prefill, decode = self.start_pair(GPU + ("--tensor-parallel", "2", "--admission-ttft", "30s"), GPU)
        self.assertIn("tensor_parallel=2", prefill.log_text())
        self.assert_handed_over(prefill, decode)

    def test_from_one_gpu_to_two(self):
        with unittest.mock.patch.dict(os.environ, {"BATON_EMULATOR_GPUS": "2"}):
            self.assert_handed_over(*self.start_pair(GPU, GPU + ("--tensor-parallel", "2")))

    def test_windows(self):
        with tempfile.TemporaryDirectory(prefix="baton-windows-") as folder:
            model = ("--model", str(windowed_demo(pathlib.Path(folder))), "--served-model-name", "demo")
            cpu = self.start("cpu", cluster=False, extra=model + ("--device", "cpu")).wait_ready()
            prefill, decode = self.start_pair(model + GPU[2:], model + GPU[2:])
            for case in CASES:
                self.assertGreater(len(case["prompt_ids"]), WINDOW)
                expected = chat(cpu, case["messages"], max_tokens=8)
                self.assertEqual(content(chat(prefill, case["messages"], max_tokens=8)), content(expected), case["id"])
            self.assertGreater(decode.wait_at_rest()["baton_transfer_blocks_received_total"], 0)

    def test_drafts(self):
        told = []
        for drafts in ("0", "4"):
            gpu = self.start("gpu", cluster=False, extra=GPU + ("--deterministic", "on", "--draft-tokens", drafts)).wait_ready()
            asked = [case["messages"] for case in demo_cases() if case["id"] in ("hello", "what-is-baton")]
            answers = [chat(gpu, messages, max_tokens=14, ignore_eos=True, logprobs=True) for messages in asked]
            told.append([answer["choices"][0]["logprobs"] for answer in answers])
        self.assertEqual(told[0], told[1])  # to the last bit
        metrics = gpu.metrics()
        self.assertGreater(metrics["baton_engine_accepted_tokens_total"], 0)
        self.assertGreater(metrics["baton_engine_drafted_tokens_total"], metrics["baton_engine_accepted_tokens_total"])

    def test_an_adapter(self):
        with tempfile.TemporaryDirectory(prefix="baton-adapters-") as folder:
            adapter = ("--lora", f"one={write_adapter(SOURCE / 'models/demo', pathlib.Path(folder) / 'one', 1)}")
            gpu = self.start("gpu", cluster=False, extra=GPU + adapter).wait_ready()
            cpu = self.start("cpu", cluster=False, extra=CPU + adapter).wait_ready()
            first_words = lambda daemon, model: content(chat(daemon, CASES[0]["messages"], model=model, max_tokens=6))
            for model in ("demo", "one", "demo"):
                self.assertEqual(first_words(gpu, model), first_words(cpu, model), model)
            self.assertNotEqual(first_words(cpu, "demo"), first_words(cpu, "one"))

    def test_gpus_that_cannot_be_one_engine(self):
        for gpus, unreachable, why in (("1", "", "there are no 2 GPUs"), ("2", "1", "cannot reach the memory of GPU")):
            surroundings = {"BATON_EMULATOR_GPUS": gpus} | ({"BATON_EMULATOR_NO_PEERS": "1"} if unreachable else {})
            with unittest.mock.patch.dict(os.environ, surroundings):
                node = self.start("node", cluster=False, extra=GPU + ("--tensor-parallel", "2"))
            self.assertEqual(node.process.wait(60), 1)
            self.assertIn(why, node.log_text())

    def test_alone_sampled_with_a_seed(self):
        daemon = self.start("alone", cluster=False, extra=GPU).wait_ready()
        case = CASES[0]
        first, second = (chat(daemon, case["messages"], temperature=1.1, seed=7, top_p=0.9, max_tokens=8, logprobs=True) for _ in range(2))
        self.assertEqual(content(first), content(second))
        self.assertEqual(len(first["choices"][0]["logprobs"]["content"]), first["usage"]["completion_tokens"])
        self.assertGreater(second["usage"]["prompt_tokens_details"]["cached_tokens"], 0)

    def test_two_gpus_of_which_one_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            failure = pathlib.Path(folder, "failure")
            surroundings = {"BATON_EMULATOR_GPUS": "2", "BATON_EMULATOR_FAIL_FILE": str(failure)}
            with unittest.mock.patch.dict(os.environ, surroundings):
                node = self.start("node", "prefill,decode", extra=SMALL + ("--devices", "all"), ports=2).wait_ready()
            case = CASES[0]

            def answer():
                try:
                    found = chat(node, case["messages"])
                except urllib.error.HTTPError as error:
                    self.assertIn(error.code, (500, 502, 503), error.read())  # said, never a wrong word
                    return None
                except urllib.error.URLError as error:  # while the first daemon, whom we ask, is started again
                    self.assertIsInstance(error.reason, ConnectionRefusedError)
                    return None
                self.assertEqual(content(found), case["answer"])
                return (found["baton"]["prefill_node"], found["baton"]["decode_node"])

            self.eventually(answer, lambda nodes: nodes == ("node-0", "node-1"), 60)
            failure.touch()
            answer()
            self.assertFalse(failure.exists())
            self.eventually(node.log_text, lambda text: "engine died: it is started again" in text, 60)
            self.assertIn("exit status 3", node.log_text())
            self.eventually(answer, lambda nodes: nodes == ("node-0", "node-1"), 120)
            node.signal(signal.SIGTERM)
            self.assertEqual(node.process.wait(60), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
