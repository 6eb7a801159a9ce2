"""Engines that die, freeze or drain in mid-stream: every stream goes on elsewhere, exactly as if nothing had happened."""
import signal
import time
import unittest

from daemons import DaemonTest
from streams import MIX, start_all, undisturbed

SLOW_DECODE = ("--faults", "engine.decode=hold:15")
HEARTBEAT_LIMIT = 3.0  # --peer-silence


class Migration(DaemonTest):
    def start_cluster(self):
        """One that accepts and prefills, and two decode engines, slow enough to be caught in mid-stream."""
        front = self.start("front", "prefill")
        left = self.start("left", "decode", peers=[front], extra=SLOW_DECODE)
        right = self.start("right", "decode", peers=[front, left], extra=SLOW_DECODE)
        for daemon in (left, right, front):
            daemon.wait_ready()
            daemon.wait_for_peers(2)
        return front, left, right

    def disturb(self, do):
        """Starts the mix, calls do(busier decode engine) once every stream runs, and compares what came with an undisturbed run."""
        front, *decoders = self.start_cluster()
        expected = undisturbed(front)
        before = {daemon: daemon.metrics() for daemon in (front, *decoders)}
        streams = start_all(front)
        for stream in streams:
            self.assertTrue(stream.began.wait(60))
        running = {daemon: daemon.metrics()["baton_engine_running_requests"] for daemon in decoders}
        lost, survivor = sorted(decoders, key=lambda daemon: -running[daemon])
        self.assertGreater(running[lost], 0)
        moment = time.monotonic()
        do(lost)
        for body, stream, wanted in zip(MIX, streams, expected):
            with self.subTest(request=body):
                self.assertGreater(stream.seen_at(moment), 0)
                self.assertEqual(stream.result(), wanted)
        front.wait_at_rest(30)
        after = survivor.wait_at_rest(30)
        return streams, moment, {name: value - before[survivor].get(name, 0) for name, value in after.items()}, lost

    def test_a_killed_engine(self):
        streams, moment, _, _ = self.disturb(lambda engine: engine.signal(signal.SIGKILL))
        gap = max(stream.longest_gap(moment) for stream in streams)
        print(f"killed: the longest pause of any stream was {gap:.2f} s")
        self.assertLess(gap, 10)

    def test_a_frozen_engine(self):
        streams, moment, _, _ = self.disturb(lambda engine: engine.signal(signal.SIGSTOP))
        gap = max(stream.longest_gap(moment) for stream in streams)
        print(f"frozen: the longest pause of any stream was {gap:.2f} s")
        self.assertLess(gap, HEARTBEAT_LIMIT + 10)

    def test_a_draining_engine_hands_its_cache_over(self):
        streams, moment, risen, left = self.disturb(lambda engine: engine.signal(signal.SIGTERM))
        print(f"drained: the longest pause of any stream was {max(stream.longest_gap(moment) for stream in streams):.2f} s")
        self.assertEqual(left.process.wait(30), 0)
        self.assertGreater(risen["baton_transfer_blocks_received_total"], 0)
        self.assertEqual(risen["baton_engine_prefill_tokens_total"], 0)  # nothing was computed again


if __name__ == "__main__":
    unittest.main()
