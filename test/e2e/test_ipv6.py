"""Daemons that find each other at IPv6 addresses: the KV blocks travel, and all end well."""
import unittest

from daemons import DaemonTest, chat, content, demo_cases
from network import Switch, needs_ipv6, needs_namespaces

CASE = next(case for case in demo_cases() if case["id"] == "what-is-disaggregated-serving")


class Peers(DaemonTest):
    def start_at(self, prefill_host, decode_host, networks=(None, None)):
        prefill = self.start("prefill", "prefill", peer_host=prefill_host, network=networks[0])
        decode = self.start("decode", "decode", peers=[prefill], peer_host=decode_host, network=networks[1])
        decode.wait_ready()
        return prefill.wait_ready(), decode

    def ask(self, daemon) -> dict:
        answer = chat(daemon, CASE["messages"])
        self.assertEqual(content(answer), CASE["answer"])
        return answer["baton"]

    def check_blocks_travel(self, prefill, decode):
        for asked in (prefill, decode):
            told = self.ask(asked)
            self.assertFalse(told["recomputed"], told)
            self.assertEqual(told["transport"], "ucx/tcp")
        self.assertGreater(decode.metrics()["baton_transfer_blocks_received_total"], 0)

    def check_all_end_well(self, *daemons):
        for daemon in daemons:
            self.assertEqual(daemon.end(), 0, daemon.log_text())


@needs_ipv6
class Loopback(Peers):
    def test_blocks_travel(self):
        pair = self.start_at("::1", "::1")
        self.check_blocks_travel(*pair)
        self.check_all_end_well(*pair)


@needs_ipv6
@needs_namespaces
class Hosts(Peers):
    def setUp(self):
        super().setUp()
        self.switch = Switch()
        self.hosts = [self.switch.host() for _ in range(2)]

    def tearDown(self):
        super().tearDown()
        self.switch.close()

    def test_blocks_travel(self):
        """Also from the second address of an interface, of which UCX knows the first only."""
        replaced = []
        for number in range(2):
            with self.subTest(address=number):
                hosts = self.hosts[:: 1 if number else -1]  # one side of the two connects to the other: each once
                pair = self.start_at(*(host.addresses6[number] for host in hosts), hosts)
                self.check_blocks_travel(*pair)
                self.check_all_end_well(*pair)
                replaced += ["KV blocks travel over another address" in daemon.log_text() for daemon in pair]
        self.assertEqual(replaced, [False, False, True, True])

    def test_peers_of_different_families(self):
        """UCX cannot join them. Said, and answered from a cache that is computed again."""
        pair = self.start_at(self.hosts[0].address, self.hosts[1].addresses6[0], self.hosts)
        for daemon in pair:
            self.assertTrue(self.ask(daemon)["recomputed"])
            self.assertIn("no address of this peer can be reached", daemon.log_text())
        self.check_all_end_well(*pair)

    def test_settings_that_cannot_work_are_refused(self):
        host = self.hosts[0]
        host.command += ["env", "UCX_TCP_AF_PRIO=inet,inet6"]
        daemon = self.start("alone", peer_host=host.addresses6[0], network=host)
        self.assertEqual(daemon.process.wait(30), 1)
        self.assertIn(f"--peer-listen {daemon.peer_address}: UCX", daemon.log_text())


if __name__ == "__main__":
    unittest.main()
