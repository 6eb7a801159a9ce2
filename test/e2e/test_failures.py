"""Daemons that die, freeze, drain or do not match: clients see a delay or a well-formed error, and nothing stays pinned."""
import concurrent.futures
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from daemons import BINARY, SOURCE, DaemonTest, chat, content, demo_cases, stream

CASE = next(case for case in demo_cases() if case["id"] == "what-is-disaggregated-serving")
SLOW_DECODE = ("--faults", "engine.decode=hold:60")


class Failures(DaemonTest):
    def lose_prefill(self, number):
        prefill, decode = self.start_pair(prefill_extra=("--faults", "engine.prefill=hold:4000"))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(chat, decode, CASE["messages"])
            time.sleep(0.7)
            self.assertFalse(asked.done())
            prefill.signal(number)
            begun = time.monotonic()
            answer = asked.result(timeout=20)
        self.assertEqual(content(answer), CASE["answer"])
        self.assertLess(time.monotonic() - begun, 10)
        decode.wait_at_rest()

    def test_prefill_killed_before_it_hands_over(self):
        self.lose_prefill(signal.SIGKILL)

    def test_prefill_frozen_before_it_hands_over(self):
        self.lose_prefill(signal.SIGSTOP)

    def lose_decode(self, number, limit):
        prefill, decode = self.start_pair(decode_extra=SLOW_DECODE)
        lost = []

        def on_piece(text):
            if len(text) > 20 and not lost:
                lost.append(time.monotonic())
                decode.signal(number)

        text, error, done = stream(prefill, CASE["messages"], on_piece)
        self.assertTrue(lost)
        self.assertLess(time.monotonic() - lost[0], limit)
        self.assertTrue(CASE["answer"].startswith(text), text)
        self.assertIsNotNone(error)
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertTrue(done)
        prefill.wait_at_rest()

    def test_a_device_that_fails_every_step_is_left_alone(self):
        # The readiness probe still passes; then no prompt is computed any more.
        faults = ",".join(f"engine.prefill=fail@{n}" for n in range(2, 60))
        turns = ("--policy", "round_robin")  # so that it gets its share
        whole = self.start("whole", extra=turns).wait_ready()
        broken = self.start("broken", peers=[whole], extra=("--faults", faults, *turns)).wait_ready()
        broken.wait_for_peers(1)
        for case in demo_cases()[:30]:
            self.assertEqual(content(chat(broken, case["messages"])), case["answer"])
        self.assertIn("the device has failed", broken.log_text())
        for path in ("/health/ready", "/health/live"):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(broken.url + path, timeout=5)
            self.assertEqual(refused.exception.code, 503)
        self.assertEqual(urllib.request.urlopen(broken.url + "/health", timeout=5).status, 200)
        self.assertEqual(urllib.request.urlopen(whole.url + "/health/live", timeout=5).status, 200)
        failed = broken.metrics()["baton_engine_failed_steps_total"]
        self.assertGreaterEqual(failed, 3)
        for daemon in (broken, whole) * 3:
            self.assertEqual(content(chat(daemon, CASE["messages"])), CASE["answer"])
        self.assertEqual(broken.metrics()["baton_engine_failed_steps_total"], failed)
        whole.wait_at_rest()

    def test_decode_killed_in_mid_stream(self):
        self.lose_decode(signal.SIGKILL, 5)

    def test_decode_frozen_in_mid_stream(self):
        self.lose_decode(signal.SIGSTOP, 8)

    def test_an_engine_that_hangs_is_left_though_it_answers_heartbeats(self):
        front = self.start("front", "prefill", extra=("--token-timeout", "700ms"))
        hang = ("--faults", "engine.decode=hold:6000@40")
        left = self.start("left", "decode", peers=[front], extra=hang)
        right = self.start("right", "decode", peers=[front, left], extra=hang)
        for daemon in (left, right, front):
            daemon.wait_ready()
            daemon.wait_for_peers(2)
        while "gave no token" not in front.log_text():
            self.assertEqual(content(chat(front, CASE["messages"])), CASE["answer"])
        for daemon in (front, left, right):
            daemon.wait_at_rest(30)

    def test_what_cannot_be_computed_soon_is_refused(self):
        one = self.start("one", cluster=False, extra=("--admission-ttft", "1ms")).wait_ready()
        with self.assertRaises(urllib.error.HTTPError) as refused:
            chat(one, [{"role": "user", "content": "word " * 1200}])
        self.assertEqual(refused.exception.code, 429)
        self.assertGreaterEqual(int(refused.exception.headers["retry-after"]), 1)
        self.assertIn("--admission-ttft", refused.exception.read().decode())

    def test_a_long_queue_is_left(self):
        one = self.start("one", cluster=False, extra=("--max-sequences", "1", "--queue-timeout", "300ms", *SLOW_DECODE)).wait_ready()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            runs = pool.submit(chat, one, CASE["messages"])
            time.sleep(0.5)
            with self.assertRaises(urllib.error.HTTPError) as refused:
                chat(one, CASE["messages"])
            self.assertEqual(refused.exception.code, 429)
            self.assertIn("--queue-timeout", refused.exception.read().decode())
            self.assertEqual(content(runs.result(60)), CASE["answer"])

    def test_a_refused_or_lost_reservation_is_recomputed(self):
        prefill, decode = self.start_pair(prefill_extra=("--faults", "handoff.reserve=drop"))
        answer = chat(prefill, CASE["messages"])
        self.assertEqual(content(answer), CASE["answer"])
        self.assertTrue(answer["baton"]["recomputed"])
        decode.wait_at_rest()
        prefill.wait_at_rest()

    def test_what_ends_with_its_first_token_leaves_nothing_reserved(self):
        """A stop string in the first token: the cache has moved ahead, and no decode request will claim it."""
        longer_than_the_test = ("--transfer-timeout", "5m")
        prefill, decode = self.start_pair(longer_than_the_test, longer_than_the_test)
        first = CASE["answer"][0]
        for daemon in (prefill, decode):
            for i in range(8):
                answer = chat(daemon, CASE["messages"], stop=first, cache_salt=f"{daemon.name} {i}")
                self.assertEqual(content(answer), "")
        for daemon in (prefill, decode):
            metrics = daemon.wait_at_rest(60)
            self.assertEqual(metrics["baton_transfer_failures_total"], 0)

    def test_a_smaller_node_does_not_cut_what_another_can_hold(self):
        large = self.start("large", extra=["--max-context", "600"]).wait_ready()
        small = self.start("small", "prefill", peers=[large], extra=["--max-context", "100"]).wait_ready()
        self.start("tiny", "decode", peers=[large, small], extra=["--max-context", "80"]).wait_ready()
        for _ in range(8):
            answer = chat(large, CASE["messages"], max_tokens=300, ignore_eos=True)
            self.assertEqual(answer["usage"]["completion_tokens"], 300)

    def test_a_corrupt_block_is_sent_again(self):
        prefill, decode = self.start_pair(prefill_extra=("--faults", "transfer.send=corrupt@2"))
        answer = chat(prefill, CASE["messages"])
        self.assertEqual(content(answer), CASE["answer"])
        self.assertFalse(answer["baton"]["recomputed"])
        self.assertEqual(prefill.wait_at_rest()["baton_transfer_blocks_resent_total"], 1)
        self.assertEqual(decode.wait_at_rest()["baton_transfer_blocks_corrupt_total"], 1)

    def test_an_open_ended_request_fits_a_small_cache(self):
        daemon = self.start("small", cluster=False, kv_memory="1M").wait_ready()
        self.assertEqual(content(chat(daemon, CASE["messages"], max_tokens=None)), CASE["answer"])

    def test_disconnect_cancels(self):
        daemon = self.start("alone", cluster=False, extra=SLOW_DECODE).wait_ready()
        body = b'{"messages":[{"role":"user","content":"Hello"}],"stream":true,"ignore_eos":true,"max_tokens":1000}'
        with socket.create_connection(("127.0.0.1", daemon.port)) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            client.recv(100)
            time.sleep(0.3)
            self.assertGreater(daemon.metrics()['baton_kv_blocks{state="in_use"}'], 0)
        daemon.wait_at_rest(3)

    def test_sigterm_finishes_what_runs_and_a_second_one_exits(self):
        daemon = self.start("alone", cluster=False, extra=SLOW_DECODE).wait_ready()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(chat, daemon, CASE["messages"])
            time.sleep(0.5)
            daemon.signal(signal.SIGTERM)
            self.assertEqual(content(asked.result(timeout=30)), CASE["answer"])
        self.assertEqual(daemon.process.wait(timeout=10), 0)

        impatient = self.start("impatient", cluster=False, extra=SLOW_DECODE).wait_ready()
        threading.Thread(target=lambda: self.swallow(impatient), daemon=True).start()
        time.sleep(0.5)
        impatient.signal(signal.SIGTERM)
        time.sleep(0.3)
        self.assertIsNone(impatient.process.poll())
        impatient.signal(signal.SIGTERM)
        self.assertNotEqual(impatient.process.wait(timeout=2), 0)

    @staticmethod
    def swallow(daemon):
        try:
            chat(daemon, CASE["messages"])
        except OSError:
            pass

    def test_a_peer_that_does_not_match_is_refused_with_the_reason(self):
        one = self.start("one", "prefill")
        for extra, said in ((("--block-size", "8"), "kv_layout"), (("--served-model-name", "other"), "model_name")):
            other = self.start("other", "decode", peers=[one], extra=extra)
            self.wait_for_log(other, said)
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write("not the same")
            secret.flush()
            other = self.start("stranger", "decode", peers=[one], extra=("--cluster-secret-file", secret.name))
            self.wait_for_log(other, "secret")

    def wait_for_log(self, daemon, said):
        deadline = time.monotonic() + 15
        while said not in daemon.log_text():
            self.assertLess(time.monotonic(), deadline, daemon.log_text())
            time.sleep(0.1)

    def test_what_cannot_start_says_why(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            for arguments, said in (
                (["--port", port], port),
                (["--model", "/nowhere"], "/nowhere"),
                (["--kv-memory", "1K"], "kv-memory"),
                (["--kv-memory", "99999G"], "available"),
                (["--kv-memory", "lots"], "lots"),
                (["--role", "boss"], "boss"),
                (["--host", "0.0.0.0"], "--insecure"),
                (["--peer-listen", "0.0.0.0:0"], "--cluster-secret-file"),
                (["--peer", "nonsense"], "nonsense"),
                (["--faults", "x"], "x"),
            ):
                with self.subTest(arguments=arguments):
                    ended = subprocess.run([BINARY, "serve", "--port", "0"] + arguments if arguments[0] != "--port" else [BINARY, "serve"] + arguments,
                                           capture_output=True, text=True, timeout=30)
                    self.assertIn(ended.returncode, (1, 2))
                    self.assertIn(said, ended.stderr)

    def test_weights_beyond_the_memory(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
                pathlib.Path(folder, name).write_bytes((SOURCE / "models/demo" / name).read_bytes())
            with open(pathlib.Path(folder, "model.safetensors"), "wb") as file:
                file.truncate(1 << 43)  # sparse
            ended = subprocess.run([BINARY, "serve", "--model", folder], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(ended.returncode, 0)
        self.assertRegex(ended.stderr + ended.stdout, "take 8 TiB, but only .* of memory are available")

    def test_a_configuration_file_is_checked(self):
        for text, said in (("[http]\nprot = 1\n", "http.prot"), ("[http]\nport = 99999\n", "65535"), ("x = 1\n", "[table]"), ("[http\n", ":1:")):
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(text)
                file.flush()
                ended = subprocess.run([BINARY, "serve", "--config", file.name], capture_output=True, text=True, timeout=30)
                self.assertEqual(ended.returncode, 2)
                self.assertIn(said, ended.stderr)
        shipped = pathlib.Path(__file__).resolve().parents[2] / "configs/baton.toml"
        daemon = self.start("configured", cluster=False, extra=("--config", str(shipped)))
        daemon.wait_ready()


if __name__ == "__main__":
    unittest.main()
