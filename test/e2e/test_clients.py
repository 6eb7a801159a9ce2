"""What clients do to a daemon: many at once, the official SDK, curl, Prometheus, and strangers who mean no good."""
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from daemons import SHARED, DaemonTest, chat, content, demo_cases, free_port, post

CASE = next(case for case in demo_cases() if case["id"] == "what-is-disaggregated-serving")


class Together(DaemonTest):
    @unittest.skipUnless((SHARED / "models/stories260K").exists(), "needs the optional test data")
    def test_sixteen_at_once_answer_as_each_does_alone(self):
        """Tokens and their log probabilities, to the last bit: a row does not depend on its neighbours in the batch."""
        daemon = self.start("alone", cluster=False, extra=["--model", str(SHARED / "models/stories260K")]).wait_ready()
        starts = ["Once upon a time", "The cat", "Lily and Tom", "In a big forest", "One day, a boy", "Mom said", "There was a red ball",
                  "A little bird", "Sam liked to run", "It was raining", "The dog saw", "Anna had a doll", "At the park", "The sun was",
                  "Ben found a box", "Every night"]

        def ask(start):
            body = {"prompt": start * (1 + len(start) % 3), "max_tokens": 60, "temperature": 0, "ignore_eos": True, "logprobs": 2}
            with post(daemon.url + "/v1/completions", body) as response:
                choice = json.load(response)["choices"][0]
            return choice["text"], choice["logprobs"]["tokens"], choice["logprobs"]["token_logprobs"]

        alone = [ask(start) for start in starts]
        most = []

        def watch():
            while not done.is_set():
                most.append(max(v for k, v in daemon.metrics().items() if "requests_running" in k))

        done = threading.Event()
        watcher = threading.Thread(target=watch)
        watcher.start()
        with concurrent.futures.ThreadPoolExecutor(len(starts)) as pool:
            together = list(pool.map(ask, starts))
        done.set()
        watcher.join()
        self.assertEqual(together, alone)
        self.assertEqual(len({text for text, *_ in alone}), len(starts))
        self.assertGreater(max(most), 1, "the requests never ran together")
        daemon.wait_at_rest()


class Clients(DaemonTest):
    @unittest.skipUnless(importlib.util.find_spec("openai"), "needs the openai package")
    def test_the_official_client_with_default_settings(self):
        import openai
        for daemon in self.start_pair():
            client = openai.OpenAI(base_url=daemon.url + "/v1", api_key="unused")
            model = client.models.list().data[0].id
            answer = client.chat.completions.create(model=model, messages=CASE["messages"], temperature=0)
            self.assertEqual(answer.choices[0].message.content, CASE["answer"])
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            self.assertGreater(answer.usage.prompt_tokens, 0)
            pieces = list(client.chat.completions.create(model=model, messages=CASE["messages"], temperature=0, stream=True))
            self.assertEqual("".join(p.choices[0].delta.content or "" for p in pieces if p.choices), CASE["answer"])
            self.assertEqual(pieces[-1].choices[0].finish_reason, "stop")
            text = client.completions.create(model=model, prompt="Baton is", max_tokens=5)
            self.assertEqual(text.usage.completion_tokens, 5)
            sampled = client.chat.completions.create(model=model, messages=CASE["messages"], max_completion_tokens=8)
            self.assertIn(sampled.choices[0].finish_reason, ("stop", "length"))
            with self.assertRaises(openai.NotFoundError):
                client.chat.completions.create(model="no-such-model", messages=CASE["messages"])
            with self.assertRaises(openai.BadRequestError) as refused:
                client.chat.completions.create(model=model, messages=CASE["messages"], temperature=9)
            self.assertEqual(refused.exception.param, "temperature")

    @unittest.skipUnless(shutil.which("curl"), "needs curl")
    def test_curl_sees_events_as_they_come(self):
        daemon = self.start("alone", cluster=False, extra=["--faults", "engine.decode=hold:30"]).wait_ready()
        body = json.dumps({"messages": CASE["messages"], "temperature": 0, "stream": True})
        curl = subprocess.Popen(["curl", "-sN", daemon.url + "/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body],
                                stdout=subprocess.PIPE)
        lines, times = [], []
        with curl.stdout:
            for line in curl.stdout:
                if line.strip():
                    lines.append(line)
                    times.append(time.monotonic())
        self.assertEqual(curl.wait(), 0)
        self.assertTrue(all(line.startswith(b"data: ") for line in lines), lines[:3])
        self.assertEqual(lines[-1].strip(), b"data: [DONE]")
        self.assertGreater(times[-1] - times[0], 0.2, "everything came at once")

    @unittest.skipUnless(shutil.which("promtool"), "needs promtool (Debian's package prometheus)")
    def test_promtool_finds_nothing_but_the_colons(self):
        prefill, decode = self.start_pair()
        chat(decode, CASE["messages"])
        for daemon in (prefill, decode):
            text = urllib.request.urlopen(daemon.url + "/metrics", timeout=10).read()
            checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
            complaints = [line for line in (checked.stdout + checked.stderr).decode().splitlines()
                          if line.strip() and "should not contain ':'" not in line]
            self.assertEqual(complaints, [])

    @unittest.skipUnless(shutil.which("prometheus"), "needs Debian's package prometheus")
    def test_prometheus_scrapes_it(self):
        daemon = self.start("alone", cluster=False).wait_ready()
        chat(daemon, CASE["messages"])
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder, "prometheus.yml")
            config.write_text("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: baton\n"
                              f"  static_configs: [{{targets: ['127.0.0.1:{daemon.port}']}}]\n")
            server = subprocess.Popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                                       f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                found = []
                deadline = time.monotonic() + 30
                while not found and time.monotonic() < deadline:
                    time.sleep(0.5)
                    try:
                        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query=vllm:generation_tokens_total") as reply:
                            found = json.load(reply)["data"]["result"]
                    except (urllib.error.URLError, ConnectionError):
                        pass  # it is still starting
                self.assertTrue(found, "nothing was scraped in 30 s")
                self.assertGreater(float(found[0]["value"][1]), 0)
            finally:
                server.kill()
                server.wait()


class Strangers(DaemonTest):
    """Each leaves the daemon as it was: it answers, and nothing stays pinned."""

    def setUp(self):
        super().setUp()
        self.daemon = self.start("alone").wait_ready()

    def tearDown(self):
        try:
            self.assertEqual(content(chat(self.daemon, CASE["messages"])), CASE["answer"])
            self.daemon.wait_at_rest(240)
        finally:
            super().tearDown()

    def connect(self, port=None):
        connection = socket.create_connection(("127.0.0.1", port or self.daemon.port), timeout=60)
        self.addCleanup(connection.close)
        return connection

    def read_all(self, connection):
        data = b""
        try:
            while piece := connection.recv(65536):
                data += piece
        except ConnectionError:
            pass
        return data

    def test_a_body_of_ten_megabytes(self):
        connection = self.connect()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {10 << 20}\r\n\r\n"
        connection.sendall(head.encode())
        try:
            for _ in range(160):
                connection.sendall(b" " * 65536)
        except ConnectionError:
            pass
        reply = self.read_all(connection)
        if reply:  # a reset may overtake it
            self.assertTrue(reply.startswith(b"HTTP/1.1 413 "), reply[:80])
            self.assertIn(b'"error"', reply)

    def test_headers_that_never_end(self):
        connection = self.connect()
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n")
        try:
            for i in range(4096):
                connection.sendall(b"X-%d: " % i + b"a" * 1000 + b"\r\n")
        except ConnectionError:
            pass
        reply = self.read_all(connection)
        if reply:
            self.assertTrue(reply.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")), reply[:80])

    def test_what_is_not_http(self):
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, os.urandom(4096), b"GET\r\n\r\n", b"\x00" * 100):
            connection = self.connect()
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            reply = self.read_all(connection)
            self.assertTrue(not reply or reply.startswith(b"HTTP/1.1 4"), reply[:80])

    def test_a_client_that_stops_reading(self):
        body = json.dumps({"prompt": "Baton", "max_tokens": 400, "ignore_eos": True, "stream": True, "n": 8, "logprobs": 5}).encode()
        for _ in range(3):
            connection = self.connect()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                               % len(body) + body)
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 200"))
        # Others are served meanwhile, and what those three held is given back although they stay (tearDown).
        self.assertEqual(content(chat(self.daemon, CASE["messages"])), CASE["answer"])

    def test_garbage_on_the_peer_port(self):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(100000), b"\xff" * 64, b""):
            connection = self.connect(self.daemon.peer_port)
            try:
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it hung up first
            self.read_all(connection)
        silent = [self.connect(self.daemon.peer_port) for _ in range(20)]
        self.assertEqual(content(chat(self.daemon, CASE["messages"])), CASE["answer"])
        for connection in silent:
            connection.close()


if __name__ == "__main__":
    if not (SHARED / "models/stories260K").exists():
        print("BATON-SKIPPED[shared] e2e: sixteen requests at once with stories260K")
    if not importlib.util.find_spec("openai"):
        print("BATON-SKIPPED[openai] e2e: the official client")
    if not shutil.which("curl"):
        print("BATON-SKIPPED[curl] e2e: curl -N")
    if not shutil.which("promtool"):
        print("BATON-SKIPPED[prometheus] e2e: promtool and a scrape")
    unittest.main()
