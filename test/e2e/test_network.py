"""Daemons on hosts of their own (network namespaces): cables that are cut, mended or slow. Streams do not notice."""
import time
import unittest

from daemons import DaemonTest
from network import Switch, needs_namespaces
from streams import MIX, start_all, undisturbed

SLOW_DECODE = ("--faults", "engine.decode=hold:15")


@needs_namespaces
class Network(DaemonTest):
    def setUp(self):
        super().setUp()
        self.switch = Switch()

    def tearDown(self):
        super().tearDown()
        self.switch.close()

    def start_cluster(self):
        hosts = [self.switch.host() for _ in range(3)]
        front = self.start("front", "prefill", network=hosts[0])
        left = self.start("left", "decode", peers=[front], extra=SLOW_DECODE, network=hosts[1])
        right = self.start("right", "decode", peers=[front, left], extra=SLOW_DECODE, network=hosts[2])
        for daemon in (left, right, front):
            daemon.wait_ready()
        front.wait_for_peers(2)
        return front, left, right, hosts

    def check(self, streams, expected):
        for body, stream, wanted in zip(MIX, streams, expected):
            with self.subTest(request=body):
                self.assertEqual(stream.result(), wanted)

    def test_a_cable_is_cut_and_mended(self):
        front, left, right, hosts = self.start_cluster()
        expected = undisturbed(front)
        streams = start_all(front)
        for stream in streams:
            self.assertTrue(stream.began.wait(60))
        running = {daemon: daemon.metrics()["baton_engine_running_requests"] for daemon in (left, right)}
        lost, survivor = sorted(running, key=lambda daemon: -running[daemon])
        self.assertGreater(running[lost], 0)
        cable = hosts[1] if lost is left else hosts[2]
        moment = time.monotonic()
        cable.cut()
        self.check(streams, expected)
        self.assertLess(max(stream.longest_gap(moment) for stream in streams), 13)  # the heartbeat limit, and recompute
        for daemon in (front, survivor):
            daemon.wait_at_rest(30)
        cable.mend(self.switch)
        front.wait_for_peers(2, 60)
        lost.wait_at_rest(30)
        self.check(start_all(front), expected)

    def test_a_slow_cable(self):
        front, left, right, hosts = self.start_cluster()
        expected = undisturbed(front)
        hosts[1].slow("2mbit")
        self.check(start_all(front), expected)
        for daemon in (front, left, right):
            daemon.wait_at_rest(60)

    def test_the_accepting_node_is_cut_off(self):
        """Nobody else waits for it: what the others held for it is given back."""
        front, left, right, hosts = self.start_cluster()
        streams = start_all(front)
        for stream in streams:
            self.assertTrue(stream.began.wait(60))
        hosts[0].cut()
        for daemon in (left, right):
            daemon.wait_at_rest(30)
        hosts[0].mend(self.switch)
        left.wait_for_peers(2, 60)


if __name__ == "__main__":
    unittest.main()
