"""Operations under load: every node restarted in turn, roles that flip all the time. Clients see correct answers only."""
import itertools
import json
import random
import signal
import threading
import time
import unittest
import urllib.request

from daemons import DaemonTest, post
from streams import MIX, QUESTIONS, Stream, undisturbed

SHORT = [dict(body, max_tokens=60) for body in MIX]


class Clients:
    """Clients behind a load balancer: each asks a node that accepts requests, and compares every answer."""

    def __init__(self, nodes, expected, count=4):
        self.nodes, self.expected = nodes, expected  # nodes: those in service now, changed by the test
        self.answered, self.refused, self.wrong = 0, 0, []
        self._turn, self._stop, self._lock = itertools.count(), threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self):
        while not self._stop.is_set():
            turn = next(self._turn)
            nodes = list(self.nodes)
            which = turn % len(SHORT)
            stream = Stream(nodes[turn % len(nodes)], SHORT[which], 60)
            result = stream.result(120)
            with self._lock:
                if result == self.expected[which]:
                    self.answered += 1
                elif not stream.choices and result["error"]:
                    self.refused += 1  # nothing was promised yet: a client asks the next node
                else:
                    self.wrong.append((SHORT[which], result, self.expected[which]))

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(150)
            assert not thread.is_alive(), "a client hangs"


class Load(DaemonTest):
    def start_mesh(self, names, role="mixed", extra=()):
        nodes = []
        for name in names:
            nodes.append(self.start(name, role, peers=nodes, extra=extra))
        for node in nodes:
            node.wait_ready()
        for node in nodes:
            node.wait_for_peers(len(names) - 1)
        return nodes

    def test_rolling_restart(self):
        nodes = self.start_mesh(["a", "b", "c"], extra=("--faults", "engine.decode=hold:3"))
        clients = Clients(nodes[:], undisturbed(nodes[0], SHORT))
        for i in range(3):
            time.sleep(1)
            old = nodes[i]
            clients.nodes = [node for node in nodes if node is not old]  # as a readiness probe would tell it
            time.sleep(0.3)
            old.signal(signal.SIGTERM)
            self.assertEqual(old.process.wait(60), 0, old.log_text())
            nodes[i] = self.start(old.name + "2", peers=[node for node in nodes if node is not old], extra=("--faults", "engine.decode=hold:3")).wait_ready()
            nodes[i].wait_for_peers(2)
            clients.nodes = nodes[:]
        time.sleep(1)
        clients.stop()
        self.assertEqual(clients.wrong, [])
        self.assertGreater(clients.answered, 10)
        for node in nodes:
            node.wait_at_rest(30)

    def set_role(self, node, name, role):
        body = json.dumps({"role": role}).encode()
        request = urllib.request.Request(f"{node.url}/engines/{name}/role", body, {"Content-Type": "application/json"}, method="PUT")
        return json.load(urllib.request.urlopen(request, timeout=30))

    def test_two_hundred_role_flips(self):
        nodes = self.start_mesh(["a", "b", "c"])
        clients = Clients(nodes[:], undisturbed(nodes[0], SHORT))
        dice = random.Random(4)
        roles = {"a": "mixed", "b": "mixed", "c": "mixed"}
        for _ in range(200):
            name = dice.choice("abc")
            others = [role for other, role in roles.items() if other != name]
            role = dice.choice([r for r in ("mixed", "prefill", "decode") if r != roles[name] and (r != "prefill" or any(o != "prefill" for o in others))])
            answer = self.set_role(dice.choice(nodes), name, role)
            self.assertEqual((answer["node"], answer["role"]), (name, role))
            roles[name] = role
            time.sleep(0.02)
        give_up = time.monotonic() + 120  # a machine that is busy with other things answers less in the time that the flips take
        while clients.answered <= 5 and time.monotonic() < give_up:
            time.sleep(0.1)
        clients.stop()
        self.assertEqual(clients.wrong, [])
        self.assertGreater(clients.answered, 5)
        for node in nodes:
            metrics = node.wait_at_rest(30)
            self.assertEqual(metrics["baton_engine_preemptions_total"], 0)
        shown = {n["name"]: n["role"] for n in json.load(urllib.request.urlopen(nodes[0].url + "/cluster"))["nodes"]}
        self.assertEqual(shown, roles)

    def test_a_role_is_checked(self):
        alone = self.start("alone").wait_ready()
        for name, body, status in (("alone", b'{"role":"boss"}', 400), ("alone", b"{}", 400), ("alone", b"[", 400), ("nobody", b'{"role":"mixed"}', 404)):
            with self.assertRaises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(urllib.request.Request(f"{alone.url}/engines/{name}/role", body, method="PUT"), timeout=10)
            self.assertEqual(raised.exception.code, status)

    def test_a_role_keeps_the_prefix_cache_and_what_runs(self):
        nodes = self.start_mesh(["a", "b"], extra=("--faults", "engine.decode=hold:10"))
        body = {"messages": QUESTIONS[0], "temperature": 0, "max_tokens": 120, "ignore_eos": True}
        wanted = Stream(nodes[0], body).result()
        stream = Stream(nodes[0], body)
        self.assertTrue(stream.began.wait(30))
        for name in "ab":
            self.set_role(nodes[0], name, "decode")
        self.assertEqual(stream.result(), wanted)
        cached = [node.wait_at_rest()['baton_kv_blocks{state="cached"}'] for node in nodes]
        self.assertGreater(sum(cached), 0)
        for name in "ab":
            self.set_role(nodes[0], name, "mixed")
        self.assertEqual([node.metrics()['baton_kv_blocks{state="cached"}'] for node in nodes], cached)
        self.assertEqual(Stream(nodes[1], body).result(), wanted)

    def test_auto_roles_split_a_cluster_under_long_prompts(self):
        """A strict ITL target and prompts that never stop: some engine is given to prefill, with the reason said; answers stay right."""
        nodes = self.start_mesh(["a", "b", "c"], extra=("--roles", "auto", "--itl-target", "2ms", "--ttft-target", "60s"))
        expected = undisturbed(nodes[0], SHORT[:1])[0]
        stop = threading.Event()

        def flood(seed):
            dice = random.Random(seed)
            while not stop.is_set():
                body = {"model": "demo", "prompt": [dice.randrange(10, 900) for _ in range(1500)], "max_tokens": 30, "ignore_eos": True, "temperature": 0}
                post(nodes[seed % 3].url + "/v1/completions", body).read()

        threads = [threading.Thread(target=flood, args=(seed,), daemon=True) for seed in range(4)]
        for thread in threads:
            thread.start()
        cluster = lambda: json.load(urllib.request.urlopen(nodes[0].url + "/cluster"))
        seen = self.eventually(cluster, lambda seen: seen["role_changes"], 90)
        change = seen["role_changes"][0]
        self.assertIn(change["node"], "abc")
        self.assertIn("predicted", change["why"])
        self.assertEqual(Stream(nodes[1], SHORT[0]).result(), expected)
        stop.set()
        for thread in threads:
            thread.join(60)
        roles = [node["role"] for node in cluster()["nodes"]]
        self.assertLess(roles.count("mixed"), 3)
        self.assertLess(roles.count("prefill"), 3)
        self.assertIn("role moved", nodes[0].log_text())


if __name__ == "__main__":
    unittest.main()
