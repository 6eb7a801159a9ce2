"""baton pull against a local imitation of the Hub (hub.py)."""
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

from daemons import BINARY, SOURCE, DaemonTest, post
from hub import Hub

DEMO = SOURCE / "models/demo"
TOKEN = "hf_TheSecretOfThisTest"


class Pull(DaemonTest):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.TemporaryDirectory()
        self.home = pathlib.Path(self.folder.name)
        self.target = self.home / "model"
        files = {path.name: path.read_bytes() for path in sorted(DEMO.iterdir())}
        files |= {"README.md": b"# tiny\n", "original/consolidated.00.pth": b"pickle", "pytorch_model.bin": b"pickle", "empty.txt": b""}
        self.hub = Hub(files, large=["model.safetensors", "pytorch_model.bin"])
        self.read = [name for name in files if name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")]

    def tearDown(self):
        super().tearDown()
        self.hub.close()
        self.folder.cleanup()

    def command(self, *arguments, repository="test-org/tiny", to=True):
        return [BINARY, "pull", repository, *(["--to", str(self.target)] if to else []), *map(str, arguments)]

    def environment(self, **more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_")) and not name.lower().endswith("_proxy")}
        return kept | {"HOME": str(self.home), "HF_ENDPOINT": self.hub.url} | more

    def pull(self, *arguments, code=0, env=None, timeout=60, **kwargs):
        done = subprocess.run(self.command(*arguments, **kwargs), capture_output=True, text=True, timeout=timeout, env=self.environment(**(env or {})))
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, code, said)
        self.assertNotIn(TOKEN, said)
        self.assertNotIn("X-Signature", said)
        return said

    def assert_pulled(self, names=None):
        for name in names or self.read:
            self.assertEqual((self.target / name).read_bytes(), self.hub.files[name], name)
        self.assertEqual(list(self.target.rglob("*.part")), [])

    def assert_nothing_in_place(self):
        self.assertEqual([path.name for path in self.target.iterdir()] if self.target.exists() else [], [".baton-pull"] if self.target.exists() else [])

    def test_a_model_is_pulled_and_served(self):
        said = self.pull()
        self.assert_pulled()
        self.assertEqual(sorted(path.name for path in self.target.iterdir()), sorted([".baton-pull", *self.read]))
        self.assertIn(f"serve it with: baton serve --model {self.target}", said)
        for name in self.read:
            self.assertIn(f"file={name}", said)
        self.assertIn("sha256:" + hashlib.sha256(self.hub.files["model.safetensors"]).hexdigest(), said)
        pages = [r for r in self.hub.requests if "/tree/" in r[1]]
        self.assertEqual(len(pages), -(-len(self.hub.entries()) // self.hub.page))
        daemon = self.start("a", cluster=False, extra=["--model", str(self.target)]).wait_ready()
        with post(daemon.url + "/v1/completions", {"prompt": "Hello", "max_tokens": 4, "temperature": 0}) as answer:
            self.assertEqual(json.load(answer)["usage"]["completion_tokens"], 4)

    def test_a_second_pull_fetches_nothing(self):
        self.pull()
        before = len(self.hub.content_requests())
        said = self.pull()
        self.assertEqual(len(self.hub.content_requests()), before)
        self.assertIn("all there already", said)
        (self.target / ".baton-pull/manifest.json").unlink()  # then files are read, and still not fetched
        self.pull()
        self.assertEqual(len(self.hub.content_requests()), before)
        (self.target / "config.json").write_bytes(b"{}")
        self.assertIn("config.json had been changed", self.pull())
        self.assert_pulled()
        self.assertEqual(len(self.hub.content_requests()), before + 1)

    def test_the_default_place_and_what_serve_says(self):
        serve = [BINARY, "serve", "--port", "0", "--model", "test-org/tiny"]
        hint = subprocess.run(serve, capture_output=True, text=True, timeout=60, env=self.environment())
        self.assertEqual(hint.returncode, 2)
        self.assertIn("`baton pull test-org/tiny`", hint.stderr)
        self.pull(to=False)
        self.target = self.home / ".cache/baton/models/test-org/tiny"
        self.assert_pulled()
        hint = subprocess.run(serve, capture_output=True, text=True, timeout=60, env=self.environment())
        self.assertIn(str(self.target), hint.stderr)
        self.hub.revisions["refs/pr/1"] = "2" * 40
        self.pull(to=False, repository="test-org/tiny@refs/pr/1", env={"XDG_CACHE_HOME": str(self.home / "xdg")})
        self.target = self.home / "xdg/baton/models/test-org/tiny@refs%2Fpr%2F1"
        self.assert_pulled()

    def test_the_token_goes_to_the_hub_only(self):
        self.hub.token = TOKEN
        (self.home / "token").write_text(TOKEN + "\n")
        login = self.home / ".cache/huggingface"
        login.mkdir(parents=True)
        self.assertIn("HF_TOKEN", self.pull(code=1))
        self.hub.gated = True
        self.assertIn("the token has no access", self.pull(code=1, env={"HF_TOKEN": TOKEN}))
        self.hub.gated = False
        for number, (flags, env, file) in enumerate(((["--token-file", self.home / "token"], {"HF_TOKEN": "wrong"}, None), ([], {"HF_TOKEN": TOKEN}, None),
                                                     ([], {"HF_TOKEN_PATH": str(self.home / "token")}, None), ([], {}, login / "token"))):
            if file:
                file.write_text(TOKEN)
            self.target = self.home / f"model{number}"
            self.pull(*flags, env=env)
            self.assert_pulled()
        cdn = [r for r in self.hub.requests if r[0] == "cdn"]
        self.assertEqual(len(cdn), 4)
        self.assertEqual({r[3] for r in cdn}, {None})
        self.assertEqual(self.hub.requests[0][3], None)
        self.assertEqual({r[3] for r in self.hub.requests[1:] if r[0] == "api"}, {f"Bearer {TOKEN}"})
        self.assertIn("--token-file", self.pull("--token-file", self.home / "none", code=2))

    def test_refusals(self):
        self.assertIn("test-org/other", self.pull(code=1, repository="test-org/other"))
        self.assertIn("no revision 'v9'", self.pull(code=1, repository="test-org/tiny@v9"))
        self.assertIn("ORG/NAME", self.pull(code=2, repository="tiny"))
        self.assertIn("--endpoint", self.pull("--endpoint", "ftp://127.0.0.1", code=2))
        self.assertIn("--jobs", self.pull("--jobs", "0", code=2))
        self.assertFalse(self.target.exists())
        asked = len(self.hub.requests)
        self.pull(code=1, repository="test-org/other")
        self.assertEqual(len(self.hub.requests), asked + 1)  # not asked again

    def test_a_cut_connection_goes_on_where_it_broke_off(self):
        size = len(self.hub.files["model.safetensors"])
        self.hub.faults["model.safetensors"] = ["cut"]
        self.pull()
        self.assert_pulled()
        ranges = [r[2] for r in self.hub.requests if r[0] == "cdn"]
        self.assertEqual(ranges, [None, f"bytes={size // 2}-"])

    def test_a_server_that_ignores_ranges(self):
        self.hub.faults["model.safetensors"] = ["cut", "no range"]
        self.pull()
        self.assert_pulled()

    def test_a_busy_server(self):
        self.hub.faults["revision"] = [(503,)]
        self.hub.faults["config.json"] = [(503,), (500,)]
        self.hub.faults["model.safetensors"] = [(429, b"", [("Retry-After", "2")]), (403, b"expired")]
        begin = time.monotonic()
        said = self.pull()
        self.assert_pulled()
        self.assertGreaterEqual(time.monotonic() - begin, 2)
        self.assertIn("answered 429; trying again in 2.0 s", said)

    def test_a_server_that_stays_broken(self):
        self.hub.always["config.json"] = (503,)
        said = self.pull(code=1)
        self.assertIn("answered 503", said)
        self.assert_nothing_in_place()
        self.hub.always.clear()
        self.pull()
        self.assert_pulled()

    def test_damage(self):
        for name in ("model.safetensors", "tokenizer.json"):  # SHA-256, git's SHA-1
            with self.subTest(name):
                self.target = self.home / name
                self.hub.faults[name] = ["damage"]
                self.assertIn("fetched again", self.pull())
                self.assert_pulled()
                self.target = self.home / f"{name}-always"
                self.hub.always[name] = "damage"
                said = self.pull(code=1)
                self.assertIn(f"{name}: damaged", said)
                self.assert_nothing_in_place()
                self.hub.always[name] = "too much"
                self.assertIn("more bytes", self.pull(code=1))
                self.hub.always.clear()
                self.pull()
                self.assert_pulled()

    def test_hostile_paths(self):
        outside = self.home / "outside"
        for path in ("../outside", str(outside), "a/../../outside", "..\\outside", "x\0y", ".baton-pull/manifest.json", "a//b"):
            with self.subTest(path):
                self.hub.extra_entries = [{"type": "file", "path": path, "size": 1, "oid": "a" * 40}]
                said = self.pull("--include", "*", code=1)
                self.assertIn("path", said)
                self.assertFalse(outside.exists())
                self.assertFalse(self.target.exists())

    def test_listings_that_are_wrong(self):
        for entry, word in (({"type": "file", "path": "x", "size": -1, "oid": "a" * 40}, "size"), ("x", "object"),
                            ({"type": "file", "path": "x", "size": 1, "oid": "zz"}, "hash"),
                            ({"type": "file", "path": "config.json", "size": 1, "oid": "a" * 40}, "twice")):
            self.hub.extra_entries = [entry]
            self.assertIn(word, self.pull(code=1))
        self.hub.extra_entries = []
        self.hub.faults["revision"] = [(200, b"<html>Sign in</html>")]
        self.assertIn("not JSON", self.pull(code=1))

    def test_what_is_chosen(self):
        self.pull("--include", "*.md", "--include", "original/", "--include", "empty*", "--exclude", "tokenizer*")
        self.assert_pulled(["config.json", "README.md", "original/consolidated.00.pth", "empty.txt", "model.safetensors"])
        self.assertFalse((self.target / "tokenizer.json").exists())
        self.assertFalse((self.target / "pytorch_model.bin").exists())
        del self.hub.files["model.safetensors"]
        self.target = self.home / "other"
        self.assertIn("pytorch_model.bin", self.pull(code=1))

    def test_a_dry_run_writes_nothing(self):
        said = self.pull("--dry-run")
        for name in self.read:
            self.assertRegex(said, rf"fetch +\S+ \S+ +{name}\n")
        self.assertFalse(self.target.exists())
        self.assertEqual(self.hub.content_requests(), [])
        self.pull()
        self.assertRegex(self.pull("--dry-run"), r"there +\S+ \S+ +config.json\n")

    def test_an_update_and_files_of_ones_own(self):
        self.pull()
        self.hub.revisions["main"] = "2" * 40
        self.hub.files["config.json"] = self.hub.files["config.json"] + b"\n"
        del self.hub.files["generation_config.json"]
        (self.target / "notes.txt").write_text("mine")
        self.pull()
        self.assert_pulled(["config.json", "model.safetensors"])
        self.assertFalse((self.target / "generation_config.json").exists())
        self.assertEqual((self.target / "notes.txt").read_text(), "mine")
        self.assertEqual(json.loads((self.target / ".baton-pull/manifest.json").read_text())["commit"], "2" * 40)
        self.target = self.home / "own"
        self.target.mkdir()
        (self.target / "config.json").write_text("mine")
        self.assertIn("no `baton pull` put it there", self.pull(code=2))
        self.assertEqual((self.target / "config.json").read_text(), "mine")

    def begin_slow_pull(self):
        """A pull that has some of the weights and waits for more."""
        self.hub.files["model.safetensors"] = os.urandom(4 << 20)
        self.hub.slow = 0.1
        process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment())
        self.addCleanup(process.kill)
        parts = self.eventually(lambda: list(self.target.rglob("model.safetensors.*.part")), lambda found: found and found[0].stat().st_size > 0)
        return process, parts[0]

    def test_an_interrupted_pull_goes_on(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
            with self.subTest(number):
                self.target = self.home / f"model{code}"
                process, part = self.begin_slow_pull()
                process.send_signal(number)
                said, _ = process.communicate(timeout=20)
                self.assertEqual(process.returncode, code, said)
                if code > 0:
                    self.assertIn("goes on from here", said)
                self.assert_nothing_in_place()
                have = part.stat().st_size
                self.hub.slow, self.hub.requests = 0, []
                said = self.pull()
                self.assert_pulled()
                self.assertIn(f"resumed_at={have}", said)
                self.assertEqual([r[2] for r in self.hub.requests if r[0] == "cdn"], [f"bytes={have}-"])

    def test_two_pulls_into_one_directory(self):
        process, _ = self.begin_slow_pull()
        self.assertIn("another `baton pull`", self.pull(code=1))
        self.assertIsNone(process.poll())
        self.hub.slow = 0
        said, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, said)
        self.assert_pulled()

    def test_files_at_once(self):
        self.hub.files |= {f"model-0000{i}-of-00006.safetensors": os.urandom(256 << 10) for i in range(1, 7)}
        self.hub.slow = 0.01
        for jobs, least in ((1, 1), (3, 2)):
            self.hub.peak, self.target = 0, self.home / f"jobs{jobs}"
            self.pull("--jobs", jobs)
            self.assertLessEqual(self.hub.peak, jobs)
            self.assertGreaterEqual(self.hub.peak, least)


if __name__ == "__main__":
    unittest.main()
