"""baton plan, estimate, bench and simulate as commands: what they print, write and refuse."""
import csv
import json
import pathlib
import re
import statistics
import subprocess
import tempfile
import time
import unittest

from daemons import BINARY, SHARED, SOURCE, DaemonTest, chat, content

GUIDE = ["plan", "--model", "nvidia/Llama-3.1-Nemotron-Nano-4B-v1.1", "--system", "h200_sxm", "--total-gpus", "4", "--isl", "4000", "--osl", "500",
         "--ttft", "600", "--tpot", "16.67", "--backend", "vllm"]


def baton(*arguments, code=0, timeout=120):
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)
    if done.returncode != code:
        raise AssertionError(f"baton {' '.join(map(str, arguments))} exited with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout if code == 0 else done.stderr


class Planning(unittest.TestCase):
    def test_the_guides_case(self):
        """tokens/s/GPU, TTFT and TPOT of both best rows within 15 % of the guide's; aggregated wins; quickly."""
        begin = time.monotonic()
        plan = json.loads(baton(*GUIDE, "--json"))
        self.assertLess(time.monotonic() - begin, 5)  # of the order of 0.02 s; machines are noisy
        self.assertEqual(plan["best"]["mode"], "agg")
        for rows, figures in (("agg", (3785.20, 395.88, 16.28)), ("disagg", (3067.51, 111.33, 15.62))):
            best = plan[rows][0]
            for key, wanted in zip(("tokens_per_second_per_gpu", "ttft_ms", "tpot_ms"), figures):
                self.assertLess(abs(best[key] / wanted - 1), 0.15, f"{rows} {key}: {best[key]}")
        text = baton(*GUIDE)
        for part in ("Overall Best Configuration", "Pareto Front", "agg Top Configurations", "disagg Top Configurations", "fitted to published measurements"):
            self.assertIn(part, text)

    def test_a_large_model_with_long_prompts(self):
        """Disaggregated wins over RDMA and not over TCP."""
        command = ["plan", "--model", "meta-llama/Llama-3.1-70B", "--precision", "fp8", "--system", "h200_sxm", "--total-gpus", "16", "--isl", "8000", "--osl",
                   "500", "--ttft", "2000", "--tpot", "25", "--backend", "vllm", "--json"]
        self.assertEqual(json.loads(baton(*command, "--link", "rdma400"))["best"]["mode"], "disagg")
        self.assertEqual(json.loads(baton(*command, "--link", "tcp25"))["best"]["mode"], "agg")

    def test_files_of_a_deployment(self):
        with tempfile.TemporaryDirectory() as folder:
            baton("plan", "--model", SOURCE / "models/demo", "--system", "cpu", "--total-gpus", "2", "--isl", "200", "--osl", "50", "--ttft", "10000", "--tpot",
                  "1000", "--save-dir", folder)
            root = next(pathlib.Path(folder).rglob("report.html")).parent
            for name in ("pareto_frontier.svg", "agg/best_config_topn.csv", "agg/pareto.csv", "agg/config.yaml", "disagg/best_config_topn.csv",
                         "agg/top1/run.sh", "agg/top1/compose.yaml", "disagg/top1/prefill-0.toml", "disagg/top1/decode-0.toml", "disagg/top1/k8s/decode.yaml"):
                self.assertTrue((root / name).exists(), name)
            with open(root / "agg/best_config_topn.csv", encoding="utf-8") as file:
                self.assertEqual(next(csv.DictReader(file))["Rank"], "1")

    def test_what_baton_cannot_run_is_not_recommended(self):
        error = baton("plan", "--model", "deepseek-ai/DeepSeek-V3", code=1)
        self.assertIn("baton serve does not run DeepseekV3ForCausalLM", error)
        error = baton("plan", "--model", "meta-llama/Llama-3.1-70B", "--precision", "fp4", code=1)
        self.assertIn("fp4", error)

    def test_a_model_that_fits_no_gpu(self):
        """Baton's own engine: only widths that share out eight KV heads and hold the weights; each engine has GPUs of its own."""
        with tempfile.TemporaryDirectory() as folder:
            plan = json.loads(baton("plan", "--model", "meta-llama/Llama-3.1-70B", "--system", "h100_sxm", "--total-gpus", "16", "--isl", "4000", "--osl", "100",
                                    "--ttft", "3000", "--tpot", "50", "--save-dir", folder, "--json"))
            self.assertEqual({choice["parallel"]["tp"] for choice in plan["agg"]}, {4, 8})
            self.assertEqual({(choice["prefill"]["parallel"]["tp"], choice["decode"]["parallel"]["tp"]) for choice in plan["disagg"]} - {(4, 4), (8, 8)}, {(4, 8), (8, 4)})
            root = next(pathlib.Path(folder).rglob("report.html")).parent
            for rank, choice in enumerate(plan["agg"], 1):
                width, files = choice["parallel"]["tp"], root / f"agg/top{rank}"
                self.assertIn(f"tensor_parallel = {width}\n", (files / "mixed-0.toml").read_text())
                self.assertIn(f"nvidia.com/gpu: {width}}}", (files / "k8s/mixed.yaml").read_text())
                taken = re.findall(r'"\$machine" != (\d+).*CUDA_VISIBLE_DEVICES=(\S+) ', (files / "run.sh").read_text())
                gpus = [(machine, gpu) for machine, engine in taken for gpu in engine.split(",")]
                self.assertEqual(len(taken), choice["replicas"])
                self.assertEqual(len(gpus), 16)
                self.assertEqual(len(set(gpus)), 16)

    def test_widths_that_serve_refuses(self):
        for command in (["estimate", "--batch-size", "8"], ["simulate", "--concurrency", "2", "--requests", "4"]):
            command = [*command, "--model", "meta-llama/Llama-3.1-70B", "--system", "h100_sxm"]
            self.assertIn("num_attention_heads is 64, which is no multiple of the 3", baton(*command, "--tp", "3", code=1))
            self.assertIn("a machine has 8", baton(*command, "--tp", "16", code=1))
        self.assertIn("no pipeline", baton("estimate", "--model", "meta-llama/Llama-3.1-70B", "--pp", "2", code=1))
        baton("estimate", "--model", "meta-llama/Llama-3.1-70B", "--pp", "2", "--backend", "vllm")  # that is for others to say

    def test_decode_engines_of_another_width(self):
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            command = ["simulate", "--model", "meta-llama/Llama-3.1-70B", "--system", "h100_sxm", "--prefill", "1", "--decode", "1", "--concurrency", "4", "--requests",
                       "20", "--osl", "50", "--tp", "4", "--json", out.name]
            tokens = []
            for more in ([], ["--decode-tp", "8"]):
                baton(*command, *more)
                tokens.append(json.loads(pathlib.Path(out.name).read_text())[0]["itl_s"]["mean"])
        self.assertLess(tokens[1], tokens[0])

    def test_refusals_name_the_flag(self):
        for arguments, flag in ((["--model", "nobody/nothing"], "--model"), (["--model", "Llama-3.1-8B-Instruct", "--system", "abacus"], "--system"),
                                (["--model", "Llama-3.1-8B-Instruct", "--link", "pigeon"], "--link"), (["--model", "Llama-3.1-8B-Instruct", "--backend", "x"], "--backend"),
                                (["--model", "Llama-3.1-8B-Instruct", "--isl", "1000000"], "--isl"), ([], "--model")):
            self.assertIn(flag, baton("plan", *arguments, code=2))
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as rows:
            rows.write("backend,model_path,system,isl,osl\nvllm,Llama-3.1-8B-Instruct,h200_sxm,x,1\n")
            rows.flush()
            self.assertIn("line 2: 'isl'", baton("estimate", "--rows", rows.name, code=2))

    def test_estimates_of_published_rows(self):
        """In-sample: what the shipped coefficients say of the rows they were fitted to; held-out errors are the script's."""
        table = SHARED / "perf/silicon_half.csv"
        if not table.exists():
            self.skipTest("needs shared: published measurements")
        with open(table, encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        answers = json.loads(baton("estimate", "--rows", table, "--json"))
        self.assertEqual(len(answers), len(rows))
        errors = {}
        for row, answer in zip(rows, answers):
            self.assertEqual(answer["mode"], row["mode"])
            self.assertTrue(answer["backend_version"])
            if row["mode"] != "agg":
                continue
            kind = "dense" if "Llama" in row["model_path"] or "Qwen3-32B" in row["model_path"] else "moe"
            for key, column in (("ttft_ms", "silicon_ttft_ms"), ("tpot_ms", "silicon_tpot_ms")):
                errors.setdefault((kind, key), []).append(abs(answer[key] / float(row[column]) - 1))
        limits = {("dense", "tpot_ms"): 0.15, ("dense", "ttft_ms"): 0.30, ("moe", "tpot_ms"): 0.25, ("moe", "ttft_ms"): 0.40}
        for key, limit in limits.items():
            self.assertLess(statistics.median(errors[key]), limit, key)

    def test_a_closed_loop_in_virtual_time_agrees_with_the_estimate(self):
        """The real scheduler under the same costs: throughput within 10 %."""
        command = ["--model", "Llama-3.1-8B-Instruct", "--system", "h200_sxm", "--isl", "2000", "--osl", "300"]
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            baton("simulate", *command, "--concurrency", "32", "--requests", "400", "--max-batch-tokens", "2048", "--json", out.name)
            simulated = json.loads(pathlib.Path(out.name).read_text())[0]["output_tokens_per_second"]
        estimated = json.loads(baton("estimate", *command, "--batch-size", "32", "--json"))[0]["tokens_per_second_per_gpu"]
        self.assertLess(abs(estimated / simulated - 1), 0.10, f"{estimated} and {simulated}")


class Written(DaemonTest):
    def test_an_engine_of_two_devices_runs_from_its_file(self):
        """On the CPU instead of the GPUs that it is for."""
        with tempfile.TemporaryDirectory() as folder:
            plan = json.loads(baton("plan", "--model", SOURCE / "models/demo", "--system", "h100_sxm", "--total-gpus", "2", "--serving-mode", "agg", "--isl", "200",
                                    "--osl", "50", "--save-dir", folder, "--json"))
            rank = next(i for i, choice in enumerate(plan["agg"], 1) if choice["parallel"]["tp"] == 2)
            settings = next(pathlib.Path(folder).rglob(f"agg/top{rank}/mixed-0.toml"))
            daemon = self.start("written", extra=("--config", str(settings), "--device", "cpu")).wait_ready()
            self.assertIn("/tp2", daemon.log_text())
            self.assertTrue(content(chat(daemon, [{"role": "user", "content": "Hello"}], max_tokens=4)))


class Bench(DaemonTest):
    def test_a_daemon_measured(self):
        daemon = self.start("a", cluster=False).wait_ready()
        with tempfile.TemporaryDirectory() as folder:
            text = baton("bench", "--url", daemon.url, "--concurrency", "1,4", "--request-count", "8", "--isl", "64", "--osl", "16", "--extra-inputs",
                         "ignore_eos:true", "--warmup-request-count", "2", "--slo", "ttft=60s", "--out", folder)
            self.assertIn("concurrency 4", text)
            runs = json.loads((pathlib.Path(folder) / "summary.json").read_text())
            self.assertEqual([run["completed"] for run in runs], [8, 8])
            for run in runs:
                self.assertEqual(run["output_sequence_length"]["avg"], 16)
                self.assertEqual(run["input_sequence_length"]["min"], 64)
                self.assertLessEqual(run["time_to_first_token"]["p99"], run["request_latency"]["max"])
                self.assertAlmostEqual(run["goodput"]["avg"], run["request_throughput"]["avg"], places=6)
                self.assertIn("baton_engine_decode_tokens_total", run["server_metrics"])
            self.assertEqual(len((pathlib.Path(folder) / "requests_2.jsonl").read_text().splitlines()), 8)
            self.assertTrue((pathlib.Path(folder) / "plots.svg").read_text().startswith("<svg"))
        turns = json.loads(baton("bench", "--url", daemon.url, "--request-rate", "20", "--request-count", "5", "--isl", "32", "--osl", "8", "--conversation-turn-mean", "2",
                                 "--extra-inputs", '{"ignore_eos": true}', "--json"))
        self.assertEqual(turns["completed"], 10)
        self.assertIn("--tokenizer", baton("bench", "--url", "http://127.0.0.1:9", "--model", "x", code=2))


if __name__ == "__main__":
    unittest.main()
