"""`baton serve --devices`: one command, several daemons. They serve as one, come back when they die, and never outlive their supervisor."""
import concurrent.futures
import copy
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error

from daemons import BINARY, DaemonTest, chat, content, demo_cases, free_port, stream

CASE = next(case for case in demo_cases() if case["id"] == "what-is-disaggregated-serving")
PAIR = ("--devices", "cpu,cpu")
SLOW_DECODE = ("--faults", "engine.decode=hold:60")
LIMIT = 30  # seconds that anything here may take


def runs(pid: int) -> bool:
    """A zombie has ended, though nobody has asked how."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Devices(DaemonTest):
    def serve(self, role="prefill,decode", extra=(), devices=PAIR):
        return self.start("node", role, extra=(*devices, *extra), ports=2)

    def tearDown(self):
        pids = [pid for daemon in self.daemons for pid in self.started(daemon)]
        super().tearDown()  # by SIGKILL: what it leaves behind is nothing, ever
        try:
            self.vanish(pids)
        finally:
            for pid in filter(runs, pids):
                os.kill(pid, signal.SIGKILL)

    def engine(self, node, index):
        """The node's daemon of that index, to ask it directly."""
        daemon = copy.copy(node)
        daemon.port += index
        return daemon

    def started(self, node):
        """Process ids of all that were started, in the order of their starts."""
        return [int(pid) for pid in re.findall(r"engine started .*pid=(\d+)", node.log_text())]

    def ready(self, node):
        for index in (1, 0):
            self.engine(node, index).wait_ready()
        return node

    def vanish(self, pids, seconds=LIMIT):
        self.eventually(lambda: [pid for pid in pids if runs(pid)], lambda left: not left, seconds)

    def answered(self, node):
        """Whole, prefilled and decoded where it should be."""
        answer = chat(node, CASE["messages"])
        self.assertEqual(content(answer), CASE["answer"])
        self.assertEqual((answer["baton"]["prefill_node"], answer["baton"]["decode_node"]), ("node-0", "node-1"))
        return answer["baton"]

    def test_prefill_on_one_and_decode_on_the_other(self):
        node = self.ready(self.serve())
        for index in (0, 1):
            self.assertGreater(self.answered(self.engine(node, index))["kv_blocks"], 0)
        self.assertEqual(self.engine(node, 1).wait_at_rest()["baton_engine_prefill_tokens_total"], 0)
        pids = self.started(node)
        for pid in pids:  # a terminal's Ctrl-C reaches the supervisor only: its engines would take it for the second signal
            self.assertEqual(os.getpgid(pid), pid)
            self.assertEqual(pathlib.Path(f"/proc/{pid}/comm").read_text(), "baton\n")
        node.signal(signal.SIGTERM)
        self.ended_well(node)
        self.assertEqual(node.log_text().count('how="exit status 0"'), 2)

    def test_an_engine_that_dies_comes_back(self):
        node = self.ready(self.serve())
        for index in (1, 0):
            before = self.started(node)
            os.kill(before[index], signal.SIGKILL)
            self.eventually(lambda: len(self.started(node)), lambda count: count == len(before) + 1, LIMIT)
            self.ready(node)
            self.eventually(lambda: self.engine(node, 0).metrics()["baton_peer_connected"], lambda count: count == 1, LIMIT)
            self.answered(node)
        self.assertEqual(node.log_text().count('how="signal 9 (Killed)"'), 2)
        # One that somebody stops is not meant to stay away, either.
        last = self.started(node)[-1]
        os.kill(last, signal.SIGTERM)
        self.vanish([last])
        self.ready(node)
        self.answered(node)
        node.signal(signal.SIGINT)
        self.ended_well(node)

    def test_an_engine_whose_device_has_failed_is_started_again(self):
        # Three steps in a row. Mostly the first's, but meanwhile the second computes prompts, too.
        node = self.ready(self.serve(extra=("--faults", "engine.prefill=fail@8,engine.prefill=fail@9,engine.prefill=fail@10")))

        def asked():
            try:
                chat(node, CASE["messages"])
            except (OSError, urllib.error.URLError):
                pass  # between its end and its start nobody listens
            return node.log_text()

        died = r'engine died.*pid=(\d+)  how="exit status 3"'
        log = self.eventually(asked, lambda log: re.search(died, log), LIMIT)
        self.assertFalse(runs(int(re.search(died, log)[1])))
        self.eventually(lambda: len(self.started(node)), lambda count: count > 2, LIMIT)
        self.ready(node)
        node.signal(signal.SIGTERM)
        self.ended_well(node)

    def test_what_runs_is_finished_before_the_end(self):
        node = self.ready(self.serve(extra=SLOW_DECODE))
        told = []

        def on_piece(text):
            if not told:
                told.append(time.monotonic())
                node.signal(signal.SIGTERM)

        text, error, done = stream(node, CASE["messages"], on_piece)
        self.assertTrue(told)
        self.assertEqual((text, error, done), (CASE["answer"], None, True))
        self.ended_well(node)

    def test_what_the_first_has_accepted_finds_the_others_still_there(self):
        node = self.ready(self.serve(extra=("--faults", "handoff.reserve=hold:2000")))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(chat, node, CASE["messages"])
            time.sleep(0.7)
            self.assertFalse(asked.done())
            node.signal(signal.SIGTERM)
            self.assertEqual(content(asked.result(timeout=LIMIT)), CASE["answer"])
        self.ended_well(node)

    def ended_well(self, node):
        self.assertEqual(node.process.wait(LIMIT), 0, node.log_text())
        self.vanish(self.started(node), 0)

    def test_a_second_signal_exits_at_once(self):
        node = self.ready(self.serve(extra=("--faults", "engine.decode=hold:2000")))
        pids = self.started(node)
        threading.Thread(target=self.ask_in_vain, args=(node,), daemon=True).start()
        self.eventually(lambda: self.engine(node, 1).metrics()["baton_engine_running_requests"], lambda count: count > 0)
        node.signal(signal.SIGTERM)
        self.eventually(node.log_text, lambda log: "draining" in log)
        node.signal(signal.SIGTERM)
        self.assertEqual(node.process.wait(10), 130, node.log_text())
        self.vanish(pids, 0)

    def ask_in_vain(self, node):
        try:
            chat(node, CASE["messages"])
        except (OSError, urllib.error.URLError):
            pass

    def test_a_supervisor_that_is_killed_takes_its_engines_along(self):
        node = self.ready(self.serve())
        pids = self.started(node)
        os.kill(pids[1], signal.SIGSTOP)  # even one that would not hear of it
        node.signal(signal.SIGKILL)
        node.process.wait(LIMIT)
        self.vanish(pids)

    def test_an_engine_that_does_not_drain_is_killed(self):
        node = self.ready(self.serve(extra=("--drain-timeout", "1s")))
        pids = self.started(node)
        os.kill(pids[0], signal.SIGSTOP)
        node.signal(signal.SIGTERM)
        self.assertEqual(node.process.wait(LIMIT), 1)
        self.vanish(pids, 0)
        self.assertIn('how="exit status 0"', node.log_text())  # the other one

    def test_api_keys_are_read_again(self):
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("somebody " + "0" * 64 + "\n")
            keys.flush()
            node = self.ready(self.serve(extra=("--api-key-file", keys.name)))
            self.assertEqual(node.log_text().count("API keys in force"), 2)
            node.signal(signal.SIGHUP)
            self.eventually(lambda: node.log_text().count("API keys in force"), lambda count: count == 4)
        self.assertEqual(len(self.started(node)), 2)

    def test_settings_of_a_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write('[engine]\ndevices = ["cpu", "cpu"]\nrole = ["mixed", "mixed"]\n[ucx]\nTLS = "tcp"\n[log]\nformat = "json"\n')
            file.flush()
            node = self.ready(self.serve(devices=("--config", file.name)))  # --role of the command line wins
        pids = [int(pid) for pid in re.findall(r'"engine started".*"pid":"(\d+)"', node.log_text())]
        commands = [pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in pids]
        self.assertEqual(len(commands), 2)
        for role, command in zip(("prefill", "decode"), commands):
            self.assertLessEqual({f"--role={role}", "--ucx=TLS=tcp", "--log-format=json"}, set(command))
        self.answered(node)

    def test_an_engine_that_cannot_serve_stops_the_others(self):
        for extra, said in ((("--model", "/nowhere"), "/nowhere"), (("--faults", "x"), "fault"), (("--cluster-secret-file", "/nowhere"), "--cluster-secret-file")):
            with self.subTest(extra=extra):
                node = self.serve(extra=extra)
                self.assertEqual(node.process.wait(LIMIT), 1)
                self.assertIn(said, node.log_text())
                self.assertEqual(len(self.started(node)), 2)

    def test_a_port_of_the_second_that_is_taken(self):
        port = free_port(2)
        with socket.socket() as taken, tempfile.TemporaryFile("w+") as log:
            taken.bind(("127.0.0.1", port + 1))
            taken.listen()
            command = [BINARY, "serve", *PAIR, "--port", str(port), "--peer-listen", f"127.0.0.1:{free_port(2)}", "--kv-memory", "64M"]
            ended = subprocess.run(command, stderr=log, timeout=LIMIT)
            log.seek(0)
            said = log.read()
        self.assertEqual(ended.returncode, 1, said)
        self.assertIn(str(port + 1), said)
        self.vanish([int(pid) for pid in re.findall(r"pid=(\d+)", said)], 0)

    def test_wrong_input_names_the_option(self):
        for flags, said in (
            (("--devices", ""), "--devices"),
            (("--devices", "cpu,,cpu"), "--devices"),
            (("--devices", "0,1,0"), "GPU 0 is there twice"),
            (("--devices", "tpu"), "'tpu'"),
            (("--devices", "cpu,cpu", "--device", "cpu"), "--devices"),
            (("--devices", "cpu,cpu", "--role", "prefill,decode,decode"), "--role"),
            (("--devices", "cpu,cpu", "--role", "prefill,boss"), "'boss'"),
            (("--role", "prefill,decode"), "--role"),
            (("--devices", "cpu,cpu", "--port", "0"), "--port"),
            (("--devices", "cpu,cpu", "--peer-listen", "127.0.0.1:0"), "--peer-listen"),
            (("--devices", "cpu,cpu", "--peer", "nonsense"), "--peer"),
            (("--devices", "cpu,cpu", "--host", "0.0.0.0"), "--host"),
            (("--devices", "cpu,cpu", "--ucx", "TLS"), "--ucx"),
        ):
            with self.subTest(flags=flags):
                ended = subprocess.run([BINARY, "serve", *flags], capture_output=True, text=True, timeout=LIMIT)
                self.assertEqual(ended.returncode, 2, ended.stderr)
                self.assertIn(said, ended.stderr)
                self.assertEqual(len(ended.stderr.splitlines()), 1)


if __name__ == "__main__":
    unittest.main()
