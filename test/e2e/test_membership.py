"""Daemons that find each other by DNS and by a real etcd, and serve on while either is gone."""
import base64
import concurrent.futures
import json
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import unittest
import urllib.error

from daemons import BINARY, DaemonTest, chat, content, demo_cases, free_port, post

CASE = next(case for case in demo_cases() if case["id"] == "what-is-disaggregated-serving")
A, SRV = 1, 33
NO_SUCH_NAME = 3


def labels(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


class DnsServer:
    """Answers from `records`, {(name, type): [data]}; whatever else is asked does not exist (RFC 1035, 2782)."""

    def __init__(self):
        self.records, self.socket = {}, None
        self.port = free_port()
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def set_address(self, name, address):
        self.records[name, A] = [socket.inet_aton(address)]

    def set_services(self, name, daemons):
        self.records[name, SRV] = [struct.pack(">HHH", 0, 0, daemon.peer_port) + labels("node.baton.test") for daemon in daemons]

    def start(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", self.port))
        self.socket.settimeout(0.1)
        self.running = True
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def stop(self):
        self.running = False
        self.thread.join()
        self.socket.close()

    def serve(self):
        while self.running:
            try:
                question, client = self.socket.recvfrom(512)
            except (TimeoutError, ConnectionError):
                continue
            self.socket.sendto(self.answer(question), client)

    def answer(self, question):
        parts, at = [], 12
        while question[at]:
            parts.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack(">H", question[at + 1:at + 3])[0]
        name = ".".join(parts)
        found = self.records.get((name, kind), [])
        exists = any(known == name for known, _ in self.records)
        header = question[:2] + struct.pack(">HHHHH", 0x8180 | (0 if exists else NO_SUCH_NAME), 1, len(found), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(data)) + data for data in found)
        return header + question[12:at + 5] + records


class Etcd:
    """A real one, with its data in a folder that outlives it."""

    def __init__(self):
        self.data = tempfile.TemporaryDirectory(prefix="baton-etcd-")
        self.port, self.peer_port = free_port(), free_port()
        self.process = None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        peer = f"http://127.0.0.1:{self.peer_port}"
        with open(pathlib.Path(self.data.name) / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["etcd", "--name", "one", "--data-dir", f"{self.data.name}/data", "--listen-client-urls", self.url,
                 "--advertise-client-urls", self.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", f"one={peer}"], stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        self.kill()
        self.data.cleanup()

    def nodes(self):
        """Names and addresses as etcd has them; nothing while it does not answer."""
        key, end = (base64.b64encode(text).decode() for text in (b"/baton/nodes/", b"/baton/nodes0"))
        try:
            listed = json.load(post(self.url + "/v3/kv/range", {"key": key, "range_end": end}, timeout=5))
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None
        values = [json.loads(base64.b64decode(kv["value"])) for kv in listed.get("kvs", [])]
        return {value["name"]: value["address"] for value in values}


class Requests:
    """Asks again and again, from a thread; leaving it gives back how many answers there were, all of them right."""

    def __init__(self, test, daemon):
        self.test, self.daemon, self.answers = test, daemon, 0
        self.over = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    def __enter__(self):
        self.asked = self.pool.submit(self.ask)
        return self

    def ask(self):
        while not self.over.is_set():
            self.test.assertEqual(content(chat(self.daemon, CASE["messages"])), CASE["answer"])
            self.answers += 1

    def some_more(self):
        """A few requests that begin from now on are answered."""
        goal = self.answers + 3
        self.test.eventually(lambda: self.answers, lambda n: n >= goal or self.asked.done(), 120)

    def __exit__(self, *_):
        self.over.set()
        self.asked.result(timeout=120)
        self.pool.shutdown()


class ByDns(DaemonTest):
    def setUp(self):
        super().setUp()
        self.dns = DnsServer()

    def tearDown(self):
        super().tearDown()
        if self.dns.running:
            self.dns.stop()

    def flags(self, *names):
        chosen = ("--dns-server", self.dns.address, "--dns-interval", "200ms")
        return chosen + tuple(flag for name in names for flag in ("--dns", name))

    def test_services_come_and_the_server_dies(self):
        service = "_peer._tcp.baton.test"
        self.dns.set_address("node.baton.test", "127.0.0.1")
        a = self.start("a", extra=self.flags(service))
        b = self.start("b", extra=self.flags(service))
        c = self.start("c")  # looks for nobody: the others find it
        for daemon in (a, b, c):
            daemon.wait_ready()
        self.assertEqual(a.metrics()["baton_peer_connected"], 0)
        self.dns.set_services(service, [a, b])
        a.wait_for_peers(1)
        self.dns.set_services(service, [a, b, c])
        for daemon in (a, b, c):
            daemon.wait_for_peers(2)
        with Requests(self, a) as requests:
            requests.some_more()
            self.dns.stop()
            trouble = "keeping the addresses it had  name=node.baton.test"
            self.eventually(a.log_text, lambda log: trouble in log)
            requests.some_more()
            # The last view is as good as ever: a node that restarts is found again.
            c.signal(signal.SIGTERM)
            self.assertEqual(c.process.wait(60), 0)
            self.start("c", peer_port=c.peer_port).wait_ready().wait_for_peers(2)
            requests.some_more()
        said = re.findall(trouble + "  why=.*", a.log_text())
        self.assertEqual(len(said), len(set(said)), "each reason once")
        self.dns.start()
        self.eventually(a.log_text, lambda log: "resolves again  name=node.baton.test" in log)

    def test_a_name_that_is_not_there_yet(self):
        a = self.start("a")
        b = self.start("b", extra=self.flags(f"baton.test:{a.peer_port}"))
        b.wait_ready()
        self.eventually(b.log_text, lambda log: "does not resolve" in log)
        self.assertEqual(content(chat(b, CASE["messages"])), CASE["answer"])
        self.dns.set_address("baton.test", "127.0.0.1")
        b.wait_for_peers(1)
        a.wait_for_peers(1)

    def test_dns_alone_makes_a_cluster(self):
        a = self.start("a")
        self.dns.set_address("baton.test", "127.0.0.1")
        b = self.start("b", cluster=False, extra=self.flags(f"baton.test:{a.peer_port}"))
        b.wait_ready().wait_for_peers(1)


@unittest.skipUnless(shutil.which("etcd"), "there is no etcd")
class ByEtcd(DaemonTest):
    def setUp(self):
        super().setUp()
        self.etcd = Etcd()

    def tearDown(self):
        super().tearDown()
        self.etcd.remove()

    def join(self, name, **options):
        return self.start(name, extra=("--etcd", self.etcd.url), **options)

    def test_etcd_dies_while_requests_go_on(self):
        a, b = self.join("a"), self.join("b")
        for daemon in (a, b):
            daemon.wait_ready().wait_for_peers(1)
        nodes = self.eventually(self.etcd.nodes, lambda nodes: nodes and len(nodes) == 2)
        self.assertEqual(nodes, {daemon.name: f"127.0.0.1:{daemon.peer_port}" for daemon in (a, b)})

        with Requests(self, a) as requests:
            requests.some_more()
            self.etcd.kill()
            for daemon in (a, b):
                self.eventually(daemon.log_text, lambda log: "keeping the last view" in log)
            requests.some_more()
            c = self.join("c").wait_ready()  # serves alone, and waits for etcd
            self.assertEqual(content(chat(c, CASE["messages"])), CASE["answer"])
            self.assertEqual(c.metrics()["baton_peer_connected"], 0)
            self.etcd.start()
            for daemon in (c, a, b):
                daemon.wait_for_peers(2, 60)
            requests.some_more()
        said = re.findall("keeping the last view.*", a.log_text())
        self.assertEqual(len(said), len(set(said)), "each reason once")

        c.signal(signal.SIGTERM)
        self.assertEqual(c.process.wait(60), 0)
        self.assertIn("this node has left etcd", c.log_text())
        self.assertEqual(set(self.etcd.nodes()), {"a", "b"})

    def test_a_killed_node_is_forgotten_and_a_restarted_one_found(self):
        a, b = self.join("a"), self.join("b")
        for daemon in (a, b):
            daemon.wait_ready().wait_for_peers(1)
        b.signal(signal.SIGKILL)
        self.eventually(self.etcd.nodes, lambda nodes: nodes is not None and set(nodes) == {"a"}, 60)  # its lease ends
        self.join("b").wait_ready().wait_for_peers(1)  # elsewhere
        a.wait_for_peers(1)

    def test_etcd_alone_makes_a_cluster(self):
        a, b = self.join("a", cluster=False), self.join("b", cluster=False)
        a.wait_ready().wait_for_peers(1)
        b.wait_ready().wait_for_peers(1)


class Flags(unittest.TestCase):
    def refused(self, *flags):
        done = subprocess.run([BINARY, "serve", *flags], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    def test_what_cannot_work_is_said_before_anything_starts(self):
        listen = ("--peer-listen", "0.0.0.0:7000", "--insecure")
        self.assertIn("--advertise", self.refused("--etcd", "http://127.0.0.1:2379", *listen))
        self.assertIn("--advertise", self.refused("--etcd", "http://127.0.0.1:2379", "--advertise", "node"))
        self.assertIn("--etcd: ", self.refused("--etcd", "https://127.0.0.1:2379"))
        self.assertIn("--etcd-prefix", self.refused("--etcd", "http://127.0.0.1:2379", "--etcd-prefix", ""))
        self.assertIn("--dns: ", self.refused("--dns", "baton.test"))
        self.assertIn("--dns-server", self.refused("--dns", "baton.test:7000", "--dns-server", "ns.test:53"))
        self.assertIn("--peer: ", self.refused("--peer", "node-1:0"))


if __name__ == "__main__":
    if not shutil.which("etcd"):
        print("BATON-SKIPPED[etcd] e2e: membership by a real etcd")
    unittest.main()
