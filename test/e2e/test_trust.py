"""A stranger on the network gets nothing from any port; who may come in gets exactly what is his."""
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
import urllib.error

from daemons import BINARY, DaemonTest, chat, content, demo_cases, free_port, get, post

CASES = demo_cases()
CASE = next(case for case in CASES if case["id"] == "what-is-disaggregated-serving")
LONG = max(CASES, key=lambda case: len(case["prompt_ids"]))
OPENSSL = shutil.which("openssl")


def outside_address() -> str | None:
    """This machine's address on its default route; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith(("127.", "0.")) else address


OUTSIDE = outside_address()


def bearer(key: str) -> dict:
    return {"Authorization": "Bearer " + key}


def draw_key(name: str, *flags: str) -> tuple[str, str]:
    """(key, its line for the key file)."""
    drawn = subprocess.run([BINARY, "api-key", name, *flags], capture_output=True, text=True, check=True)
    return drawn.stderr.split()[-1], drawn.stdout


def make_certificate(folder: pathlib.Path, name: str) -> None:
    subprocess.run([OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
                   capture_output=True, check=True)


def listening_ports(pid: int) -> dict[int, str]:
    """Every TCP port that the process listens on, and the address: from the kernel, so that none is forgotten."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = {}
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            address, port = fields[1].split(":")
            ports[int(port, 16)] = socket.inet_ntoa(bytes.fromhex(address)[::-1])
    return ports


class Recorder:
    """Stands between two daemons' control ports and keeps what the dialer sends."""

    def __init__(self, target: int):
        self.recorded, self.target, self.sockets, self.host = b"", target, [], "127.0.0.1"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.peer_address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self.listener.accept()
                there = socket.create_connection(("127.0.0.1", self.target))
                self.sockets += [here, there]
                threading.Thread(target=self._copy, args=(here, there, True), daemon=True).start()
                threading.Thread(target=self._copy, args=(there, here, False), daemon=True).start()

    def _copy(self, source, sink, record):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if record:
                    self.recorded += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Trust(DaemonTest):
    def setUp(self):
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def write(self, name: str, text: str) -> str:
        (self.folder / "new").write_text(text)
        (self.folder / "new").rename(self.folder / name)
        return str(self.folder / name)

    def refusal(self, request) -> tuple[int, dict]:
        with self.assertRaises(urllib.error.HTTPError) as raised:
            request()
        with raised.exception as error:
            return error.code, json.load(error)["error"]

    def status(self, daemon, key: str) -> int:
        try:
            return get(daemon.url + "/v1/models", bearer(key)).status
        except urllib.error.HTTPError as error:
            return error.code


class Http(Trust):
    def test_missing_and_wrong_api_keys(self):
        alice, line = draw_key("alice")
        daemon = self.start("alone", cluster=False, extra=["--api-key-file", self.write("keys", line)]).wait_ready()
        body = {"messages": CASE["messages"], "temperature": 0, "max_tokens": 200}
        for headers in ({}, bearer("sk-wrong"), bearer(line.split()[1]), {"x-api-key": "sk-wrong"}):
            for path in ("/v1/chat/completions", "/tokenize", "/route/explain"):
                status, error = self.refusal(lambda: post(daemon.url + path, body, headers=headers))
                self.assertEqual((status, error["code"]), (401, "invalid_api_key"))
            for path in ("/v1/models", "/metrics", "/cluster", "/version", "/nothing"):
                self.assertEqual(self.refusal(lambda: get(daemon.url + path, headers))[0], 401)
        self.assertEqual(self.refusal(lambda: get(daemon.url + "/metrics", bearer(alice)))[0], 403)
        daemon.headers = bearer(alice)
        self.assertEqual(content(chat(daemon, CASE["messages"])), CASE["answer"])
        self.assertNotIn(alice, daemon.log_text())

    def test_keys_are_read_again(self):
        alice, alices = draw_key("alice")
        bob, bobs = draw_key("bob")
        carol, carols = draw_key("carol")
        daemon = self.start("alone", cluster=False, extra=["--api-key-file", self.write("keys", alices)]).wait_ready()
        self.assertEqual(self.status(daemon, alice), 200)
        self.write("keys", bobs)  # noticed by itself
        self.eventually(lambda: (self.status(daemon, alice), self.status(daemon, bob)), lambda both: both == (401, 200))
        self.write("keys", bobs + "carol " + carol)  # the key itself: the file is refused, and the log does not repeat it
        self.eventually(daemon.log_text, lambda text: "keys:2: expected a name and the SHA-256" in text)
        self.assertEqual((self.status(daemon, bob), self.status(daemon, carol)), (200, 401))
        self.assertNotIn(carol, daemon.log_text())
        self.write("keys", bobs + carols)
        daemon.signal(signal.SIGHUP)
        self.eventually(lambda: self.status(daemon, carol), lambda status: status == 200)
        before = daemon.log_text().count("API keys in force")
        daemon.signal(signal.SIGHUP)  # also when nothing has changed
        self.eventually(daemon.log_text, lambda text: text.count("API keys in force") > before)

    def test_one_tenant_cannot_time_anothers_prefix(self):
        alice, alices = draw_key("alice")
        bob, bobs = draw_key("bob")
        daemon = self.start("alone", cluster=False, extra=["--api-key-file", self.write("keys", alices + bobs)]).wait_ready()

        def cached(key, **fields):
            daemon.headers = bearer(key)
            answer = chat(daemon, LONG["messages"], **fields)
            self.assertEqual(content(answer), LONG["answer"])
            return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

        self.assertEqual(cached(alice), 0)
        self.assertGreater(cached(alice), 0)
        self.assertEqual(cached(bob), 0)
        self.assertEqual(cached(alice, cache_salt="s"), 0)
        self.assertEqual(cached(bob, cache_salt="s"), 0)
        self.assertGreater(cached(bob), 0)

    def test_the_admin_listener(self):
        port = free_port()
        operator, ops = draw_key("ops", "--admin")
        daemon = self.start("alone", cluster=False, extra=["--admin-listen", f"127.0.0.1:{port}", "--api-key-file", self.write("keys", ops)]).wait_ready()
        admin = f"http://127.0.0.1:{port}"
        for path in ("/metrics", "/cluster"):
            self.assertEqual(self.refusal(lambda: get(daemon.url + path, bearer(operator)))[0], 404)
            self.assertEqual(self.refusal(lambda: get(admin + path))[0], 401)
            self.assertEqual(get(admin + path, bearer(operator)).status, 200)
        self.assertEqual(self.refusal(lambda: get(admin + "/v1/models", bearer(operator)))[0], 404)
        self.assertEqual(get(admin + "/health").status, 200)

    def test_ports_beyond_loopback_need_keys(self):
        for flags in (["--host", "0.0.0.0"], ["--admin-listen", "0.0.0.0:0"]):
            refused = subprocess.run([BINARY, "serve", *flags], capture_output=True, text=True, timeout=60)
            self.assertEqual(refused.returncode, 2)
            self.assertIn("--api-key-file", refused.stderr)
        alice, line = draw_key("alice")
        daemon = self.start("alone", cluster=False, extra=["--host", "0.0.0.0", "--api-key-file", self.write("keys", line)]).wait_ready()
        self.assertEqual(self.status(daemon, alice), 200)
        self.assertEqual(self.status(daemon, "sk-wrong"), 401)
        self.assertIn("API keys travel unencrypted", daemon.log_text())

    @unittest.skipUnless(importlib.util.find_spec("openai"), "needs the openai package")
    def test_the_official_client(self):
        import openai
        alice, line = draw_key("alice")
        daemon = self.start("alone", cluster=False, extra=["--api-key-file", self.write("keys", line)]).wait_ready()
        with self.assertRaises(openai.AuthenticationError) as refused:
            openai.OpenAI(base_url=daemon.url + "/v1", api_key="sk-wrong").models.list()
        self.assertEqual(refused.exception.code, "invalid_api_key")
        answer = openai.OpenAI(base_url=daemon.url + "/v1", api_key=alice).chat.completions.create(
            model="demo", messages=CASE["messages"], temperature=0)
        self.assertEqual(answer.choices[0].message.content, CASE["answer"])


@unittest.skipUnless(OPENSSL, "needs the openssl command")
class Tls(Trust):
    def start_tls(self, *extra):
        make_certificate(self.folder, "localhost")
        return self.start("alone", cluster=False, extra=["--tls-cert", str(self.folder / "cert.pem"), "--tls-key", str(self.folder / "key.pem"), *extra])

    def test_tls_is_required(self):
        alice, line = draw_key("alice")
        daemon = self.start_tls("--api-key-file", self.write("keys", line)).wait_ready()
        body = {"messages": CASE["messages"], "temperature": 0, "max_tokens": 200}
        plain = f"http://127.0.0.1:{daemon.port}"
        status, error = self.refusal(lambda: post(plain + "/v1/chat/completions", body, headers=bearer(alice)))
        self.assertEqual(status, 400)
        self.assertIn("https://", error["message"])
        self.assertEqual(self.refusal(lambda: get(plain + "/health"))[0], 400)
        self.assertEqual(self.refusal(lambda: post(daemon.url + "/v1/chat/completions", body))[0], 401)
        verified = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        with post(daemon.url + "/v1/chat/completions", body, headers=bearer(alice), context=verified) as answer:
            self.assertEqual(json.load(answer)["choices"][0]["message"]["content"], CASE["answer"])
        with self.assertRaises(urllib.error.URLError):  # self-signed: nobody who checks takes it unasked
            get(daemon.url + "/health", context=ssl.create_default_context())

    def test_a_new_certificate_without_a_restart(self):
        daemon = self.start_tls().wait_ready()
        old = ssl.get_server_certificate(("127.0.0.1", daemon.port))
        make_certificate(self.folder, "renewed")
        new = self.eventually(lambda: ssl.get_server_certificate(("127.0.0.1", daemon.port)), lambda pem: pem != old)
        self.assertEqual(new.strip(), (self.folder / "cert.pem").read_text().strip())

    @unittest.skipUnless(OUTSIDE, "needs a network interface beside loopback")
    def is_ready(self, url: str) -> bool:
        with contextlib.suppress(urllib.error.HTTPError):
            return get(url + "/health/ready").status == 200
        return False

    def test_a_stranger_gets_nothing_from_any_port(self):
        """Every port that the kernel says the daemon listens on, from another address than loopback."""
        operator, line = draw_key("ops", "--admin")
        self.write("secret", "a secret of the cluster")
        admin, peer = free_port(), free_port()
        daemon = self.start_tls("--host", OUTSIDE, "--api-key-file", self.write("keys", line), "--cluster-secret-file", str(self.folder / "secret"),
                                "--admin-listen", f"{OUTSIDE}:{admin}", "--peer-listen", f"{OUTSIDE}:{peer}")
        http, url = daemon.port, f"https://{OUTSIDE}:{daemon.port}"
        self.eventually(lambda: "serving" in daemon.log_text() or daemon.process.poll(), bool, 60)
        self.eventually(lambda: self.is_ready(url), bool)
        ports = listening_ports(daemon.process.pid)
        self.assertGreaterEqual(set(ports), {http, admin, peer})
        transfer = [port for port in ports if port not in (http, admin, peer)]
        self.assertGreaterEqual(len(transfer), 1, "UCX listens somewhere")
        knocks = (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"BATON\r\n\0" + bytes(36), b"\xff" * 16, b"\x00" * 64, os.urandom(5000),
                  b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(300))
        for port in ports:
            for knock in knocks:
                heard = self.knock(port, knock, 0.5 if port in transfer else 8)
                where = f"port {port}, {ports[port]}: {heard[:200]!r}"
                if port in transfer:
                    self.assertEqual(heard, b"", where)
                elif port == peer:  # a hello is answered by a hello: 44 bytes, the same for everyone but for the nonce
                    self.assertIn(len(heard), (0, 44, 44 + 33), where)
                else:
                    self.assertTrue(heard in (b"",) or heard.startswith((b"HTTP/1.1 400 ", b"\x15")), where)
                for secret in (b"demo", b"baton_", b"alone"):
                    self.assertNotIn(secret, heard, where)
        for port, path in ((http, "/v1/models"), (admin, "/metrics"), (admin, "/cluster")):
            with self.assertRaises(urllib.error.HTTPError) as raised:
                get(f"https://{OUTSIDE}:{port}{path}")
            self.assertEqual(raised.exception.code, 401)
        # And it lives.
        body = {"messages": CASE["messages"], "temperature": 0, "max_tokens": 200}
        with post(url + "/v1/chat/completions", body, headers=bearer(operator)) as answer:
            self.assertEqual(json.load(answer)["choices"][0]["message"]["content"], CASE["answer"])

    def knock(self, port: int, data: bytes, patience: float) -> bytes:
        """What comes back until the end, or until nothing does."""
        heard = b""
        with contextlib.suppress(OSError):
            with socket.create_connection((OUTSIDE, port), timeout=patience, source_address=(OUTSIDE, 0)) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    heard += piece
        return heard


class Peers(Trust):
    def failures(self, daemon, reason: str) -> float:
        return daemon.metrics().get(f'baton_peer_handshake_failures_total{{reason="{reason}"}}', 0)

    def test_a_peer_with_another_secret_gets_nothing(self):
        ours, theirs = self.write("ours", "one secret"), self.write("theirs", "another secret")
        a = self.start("a", extra=["--cluster-secret-file", ours]).wait_ready()
        wrong = self.start("wrong", peers=[a], extra=["--cluster-secret-file", theirs])
        none = self.start("none", peers=[a])
        self.eventually(lambda: self.failures(a, "secret"), lambda count: count >= 2)
        for stranger in (wrong, none):
            self.eventually(stranger.log_text, lambda text: "cluster secret differs" in text)
            self.assertEqual(stranger.metrics()["baton_peer_connected"], 0)
            self.assertNotIn('"a"', get(stranger.url + "/cluster").read().decode())
        self.assertEqual(a.metrics()["baton_peer_connected"], 0)
        self.assertEqual(content(chat(a, CASE["messages"])), CASE["answer"])

    def test_a_recorded_handshake_is_worthless(self):
        secret = self.write("secret", "one secret")
        a = self.start("a", extra=["--cluster-secret-file", secret]).wait_ready()
        recorder = Recorder(a.peer_port)
        self.addCleanup(recorder.close)
        b = self.start("b", peers=[recorder], extra=["--cluster-secret-file", secret]).wait_ready()
        a.wait_for_peers(1)
        recording = recorder.recorded
        self.assertGreater(len(recording), 44 + 32, "hello, proof and frames were recorded")
        b.signal(signal.SIGTERM)
        b.process.wait(60)
        self.eventually(lambda: a.metrics()["baton_peer_connected"], lambda count: count == 0)
        # The hello is answered by another hello, the proof by "the secret differs" and zeros: no introduction.
        self.assertEqual(self.replay(a, recording[:44], recording[44:44 + 32]), b"\x01" + bytes(32))
        self.replay(a, recording)  # all at once: hangs up, maybe before the answer is read
        self.assertEqual(self.eventually(lambda: self.failures(a, "secret"), lambda count: count >= 2), 2)
        self.assertEqual(a.metrics()["baton_peer_connected"], 0)

    def replay(self, daemon, *pieces: bytes) -> bytes:
        """What comes after the last piece; each but the first waits for the answer to the one before."""
        heard = b""
        with socket.create_connection(("127.0.0.1", daemon.peer_port), timeout=20) as connection:
            with contextlib.suppress(ConnectionError):
                for piece in pieces[:-1]:
                    connection.sendall(piece)
                    self.assertNotEqual(connection.recv(65536), b"")
                connection.sendall(pieces[-1])
                while data := connection.recv(65536):
                    heard += data
        return heard


if __name__ == "__main__":
    if not OPENSSL:
        print("BATON-SKIPPED[openssl] e2e: TLS")
    if not OUTSIDE:
        print("BATON-SKIPPED[interface] e2e: every port, from beyond loopback")
    if not importlib.util.find_spec("openai"):
        print("BATON-SKIPPED[openai] e2e: the official client with API keys")
    unittest.main()
