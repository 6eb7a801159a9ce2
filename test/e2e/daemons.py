"""Real daemons for end-to-end tests: start, ask, measure, kill. Standard library only."""
import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

SOURCE = pathlib.Path(os.environ.get("BATON_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BINARY = os.environ.get("BATON_BINARY", str(SOURCE / "build/baton"))
SHARED = pathlib.Path(os.environ.get("BATON_TEST_DATA", SOURCE / ".." / "shared"))


_taken = set()


def bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(count: int = 1) -> int:
    """The first of so many in a row, below the range that the kernel gives to outgoing connections: none of those can take it before the daemon does."""
    while True:
        first = random.randrange(20000, 32000)
        ports = range(first, first + count)
        if not _taken.intersection(ports) and all(map(bindable, ports)):
            _taken.update(ports)
            return first


class Daemon:
    """One `baton serve` process."""

    running = []  # of this test

    def __init__(self, name: str, role: str = "mixed", peers=(), extra=(), cluster=True, kv_memory="64M", threads=1, network=None, peer_port=None, ports=1, peer_host=None):
        self.name, self.port, self.peer_port = name, free_port(ports), peer_port or free_port(ports)
        self.host = network.address if network else "127.0.0.1"
        peer_host = peer_host or self.host
        self.peer_address = f"[{peer_host}]:{self.peer_port}" if ":" in peer_host else f"{peer_host}:{self.peer_port}"
        self.scheme = "https" if "--tls-cert" in extra else "http"
        self.headers = {}  # of every request to it, e.g. an API key
        self.log = tempfile.NamedTemporaryFile(prefix=f"baton-{name}-", suffix=".log", delete=False)
        command = [BINARY, "serve", "--role", role, "--node-name", name, "--port", str(self.port), "--kv-memory", kv_memory, "--threads", str(threads)]
        if network:
            command = network.command + command + ["--host", self.host, "--insecure"]
        if cluster:
            command += ["--peer-listen", self.peer_address]
        for peer in peers:
            command += ["--peer", peer.peer_address]
        self.process = subprocess.Popen(command + list(extra), stderr=self.log, stdout=self.log)
        Daemon.running.append(self)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def log_text(self) -> str:
        return pathlib.Path(self.log.name).read_text()

    def wait_ready(self, seconds: float = 60) -> "Daemon":
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} exited with {self.process.returncode}:\n{self.log_text()}")
            try:
                get(self.url + "/health/ready", timeout=5)
                return self
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        logs = "\n".join(f"{d.name}:\n{d.log_text()}" for d in Daemon.running)
        raise AssertionError(f"{self.name} was not ready in {seconds} s:\n{logs}")

    def metrics(self) -> dict[str, float]:
        text = get(self.url + "/metrics", self.headers).read().decode()
        return {m[1]: float(m[2]) for m in re.finditer(r"^([a-z][^ ]*) ([^ \n]+)$", text, re.M)}

    def wait_at_rest(self, seconds: float = 15) -> dict[str, float]:
        """The metrics once nothing is pinned; an assertion where that does not happen."""
        deadline = time.monotonic() + seconds
        while True:
            metrics = self.metrics()
            busy = ('baton_kv_blocks{state="in_use"}', "baton_transfer_in_flight", "baton_engine_running_requests", "baton_engine_waiting_requests")
            if not any(metrics[name] for name in busy):
                return metrics
            if time.monotonic() > deadline:
                own = {name: value for name, value in metrics.items() if name.startswith("baton_")}
                raise AssertionError(f"{self.name}: blocks still in use: {own}")
            time.sleep(0.1)

    def wait_for_peers(self, count: int, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while self.metrics()["baton_peer_connected"] < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: not {count} peers in {seconds} s")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float = 30) -> int:
        """Its exit status after a SIGTERM."""
        self.signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        Daemon.running.remove(self)
        self.log.close()
        os.unlink(self.log.name)


class DaemonTest(unittest.TestCase):
    """A test that starts daemons; they end with it."""

    def setUp(self):
        self.daemons = []

    def tearDown(self):
        for daemon in self.daemons:
            daemon.kill()

    def refused_start(self, *arguments) -> str:
        """What `baton serve` says that does not start with these."""
        ended = subprocess.run([BINARY, "serve", "--port", "9000", *arguments], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(ended.returncode, 0)
        return ended.stderr + ended.stdout

    def eventually(self, get, holds, seconds: float = 20):
        """get()'s first value for which holds() is true."""
        deadline = time.monotonic() + seconds
        while not holds(value := get()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {seconds} s: {value}")
            time.sleep(0.05)
        return value

    def start(self, *args, **kwargs) -> Daemon:
        self.daemons.append(Daemon(*args, **kwargs))
        return self.daemons[-1]

    def start_pair(self, prefill_extra=(), decode_extra=()):
        prefill = self.start("prefill", "prefill", extra=prefill_extra)
        decode = self.start("decode", "decode", peers=[prefill], extra=decode_extra)
        decode.wait_ready()  # first: a prefill engine is ready when it has a decode engine
        return prefill.wait_ready(), decode


# Whoever made the certificate of a test: encryption is what is tested there, unless a test says otherwise.
ANY_CERTIFICATE = ssl._create_unverified_context()


def get(url: str, headers: dict = {}, timeout: float = 10, context=ANY_CERTIFICATE):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout, context=context)


def post(url: str, body: dict, timeout: float = 120, headers: dict = {}, context=ANY_CERTIFICATE):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    return urllib.request.urlopen(request, timeout=timeout, context=context)


def chat(daemon: Daemon, messages: list, **fields) -> dict:
    body = {"messages": messages, "temperature": 0, "max_tokens": 200, **fields}
    return json.load(post(daemon.url + "/v1/chat/completions", body, headers=daemon.headers))


def content(answer: dict) -> str:
    return answer["choices"][0]["message"]["content"]


def stream(daemon: Daemon, messages: list, on_piece=None, **fields):
    """(text, error or None, saw [DONE]) of one streamed answer."""
    body = {"messages": messages, "temperature": 0, "max_tokens": 200, "stream": True, **fields}
    text, error, done = "", None, False
    with post(daemon.url + "/v1/chat/completions", body, headers=daemon.headers) as response:
        for line in response:
            if not line.startswith(b"data: "):
                continue
            if line.strip() == b"data: [DONE]":
                done = True
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                error = chunk["error"]
                continue
            for choice in chunk["choices"]:
                piece = choice["delta"].get("content") or ""
                text += piece
                if piece and on_piece:
                    on_piece(text)
    return text, error, done


def demo_cases() -> list[dict]:
    return json.loads((SOURCE / "models/demo/demo.json").read_text())["cases"]
