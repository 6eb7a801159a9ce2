"""Who computes what: the routing policies over real daemons, and what POST /route/explain says about it."""
import concurrent.futures
import json
import unittest

from daemons import DaemonTest, chat, content, demo_cases, post

CASES = demo_cases()
LONG = max(CASES, key=lambda case: len(case["prompt_ids"]))


def explain(daemon, messages, **fields):
    return json.load(post(daemon.url + "/route/explain", {"messages": messages, "max_tokens": 50, **fields}))


def nodes_with_cache(explained):
    return {engine["node"] for engine in explained["engines"] if engine["cached_tokens"] > 0}


class Routing(DaemonTest):
    def start_three(self, *extra):
        first = self.start("a", extra=extra)
        second = self.start("b", peers=[first], extra=extra)
        third = self.start("c", peers=[first, second], extra=extra)
        for daemon in (first, second, third):
            daemon.wait_ready()
            daemon.wait_for_peers(2)
        return first, second, third

    def test_a_prompt_goes_where_its_blocks_are(self):
        a, b, c = self.start_three()
        # Asked at b, it is computed somewhere; from then on every daemon knows where its blocks lie.
        answer = chat(b, LONG["messages"])
        self.assertEqual(content(answer), LONG["answer"])
        holders = {answer["baton"]["prefill_node"], answer["baton"]["decode_node"]}
        for daemon in (a, b, c):
            # Its load is known from heartbeats: after at most one of them it counts as idle again.
            explained = self.eventually(lambda: explain(daemon, LONG["messages"]),
                                        lambda e: e["routes"][0]["prefill"] in nodes_with_cache(e))
            self.assertLessEqual(nodes_with_cache(explained), holders)
            best = explained["routes"][0]
            again = chat(daemon, LONG["messages"])
            self.assertEqual(content(again), LONG["answer"])
            self.assertEqual(again["baton"]["prefill_node"], best["prefill"])
            holders |= {again["baton"]["prefill_node"], again["baton"]["decode_node"]}
            self.assertGreater(again["usage"]["prompt_tokens_details"]["cached_tokens"], 0)

    def test_the_parts_of_an_explained_route_add_up(self):
        a, _, _ = self.start_three()
        explained = explain(a, LONG["messages"])
        self.assertEqual({engine["node"] for engine in explained["engines"]}, {"a", "b", "c"})
        self.assertEqual(explained["prompt_tokens"], len(LONG["prompt_ids"]))
        self.assertEqual(len(explained["routes"]), 9)  # three engines alone, and each pair in both directions
        totals = []
        for route in explained["routes"]:
            cost = route["predicted_ms"]
            self.assertAlmostEqual(cost["ttft"], cost["queue"] + cost["prefill"], places=2)
            self.assertAlmostEqual(cost["total"], cost["ttft"] + cost["transfer"] + cost["wait"] + cost["decode"] + cost["slowdown"], places=2)
            self.assertEqual(cost["transfer"] == 0, route["prefill"] == route["decode"])
            totals.append(cost["total"])
        self.assertEqual(totals, sorted(totals))
        self.assertEqual(a.metrics()["baton_engine_prefill_tokens_total"], 0, "nothing was computed")

    def test_what_waits_for_its_prompt_counts_where_it_will_generate(self):
        prefill = self.start("p", "prefill", extra=("--faults", "engine.prefill=hold:4000"))
        first = self.start("d1", "decode", peers=[prefill])
        second = self.start("d2", "decode", peers=[prefill, first])
        for daemon in (first, second, prefill):
            daemon.wait_ready()
            daemon.wait_for_peers(2)

        def running():
            return {engine["node"]: engine["running"] for engine in explain(prefill, LONG["messages"])["engines"]}

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(chat, prefill, LONG["messages"])
            # Both at one moment: it is still with the prefill engine, and counts where it will go.
            counted = self.eventually(running, lambda now: now["p"] == 1 and now["d1"] + now["d2"] == 1)
            answer = asked.result(timeout=30)
        self.assertEqual(content(answer), LONG["answer"])
        self.assertEqual(counted[answer["baton"]["decode_node"]], 1)

    def test_another_tenant_has_no_cached_blocks(self):
        a, _, _ = self.start_three()
        chat(a, LONG["messages"], cache_salt="one")
        mine = self.eventually(lambda: explain(a, LONG["messages"], cache_salt="one"),
                               lambda e: any(engine["cached_tokens"] > 0 for engine in e["engines"]))
        self.assertTrue(mine["routes"])
        other = explain(a, LONG["messages"], cache_salt="two")
        self.assertTrue(all(engine["cached_tokens"] == 0 for engine in other["engines"]))

    def test_round_robin_takes_turns(self):
        a, _, _ = self.start_three("--policy", "round_robin")
        nodes = []
        for case in CASES[:6]:
            answer = chat(a, case["messages"])
            self.assertEqual(content(answer), case["answer"])
            nodes.append(answer["baton"]["prefill_node"])
        self.assertEqual(sorted(nodes), ["a", "a", "b", "b", "c", "c"])

    def test_steps_teach_the_profile(self):
        a, _, _ = self.start_three()
        profiles = lambda: {e["node"]: (e["prefill_ms_per_1000_tokens"], e["decode_ms_per_step"]) for e in explain(a, LONG["messages"])["engines"]}
        before = profiles()
        for case in CASES[:3]:
            chat(a, case["messages"])
        self.eventually(profiles, lambda after: after != before)  # measured steps replace the first guess


if __name__ == "__main__":
    unittest.main()
