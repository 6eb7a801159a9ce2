"""A local imitation of a Hugging Face Hub and of the CDN that it redirects to, for tests. Standard library only.

It answers what the public API's documentation says: /api/models/ORG/NAME/revision/REV, /api/models/ORG/NAME/tree/COMMIT in pages joined by a Link
header, /ORG/NAME/resolve/COMMIT/PATH with Range. Large files are redirected to the CDN, on another port. `faults` says what goes wrong on the way.
"""
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.hub.answer(self, self.server is self.server.hub.cdn)

    def reply(self, status: int, body: bytes = b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that leaves


class Hub:
    def __init__(self, files: dict[str, bytes], large=(), repository="test-org/tiny", page=2):
        self.files, self.large, self.repository, self.page = files, set(large), repository, page
        self.revisions = {"main": "1" * 40}
        self.token = None  # that clients must show
        self.gated = False  # the token shown has no access
        self.extra_entries = []  # listed, whatever they are
        self.requests = []  # (server, path, Range, Authorization), in order
        self.faults = {}  # path of a file -> a list of what its next answers do, in turn
        self.always = {}  # path of a file -> what every answer does
        self.slow = 0.0  # seconds before each piece of a file's content
        self.active = self.peak = 0  # contents on their way
        self.lock = threading.Lock()
        self.api, self.cdn = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
        for server in (self.api, self.cdn):
            server.hub = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.server_address[1]}"

    @property
    def cdn_url(self) -> str:
        return f"http://127.0.0.1:{self.cdn.server_address[1]}"

    def close(self):
        for server in (self.api, self.cdn):
            server.shutdown()
            server.server_close()

    def content_requests(self) -> list:
        """Those that were answered with content, not with a redirect to it."""
        with self.lock:
            return [r for r in self.requests if r[0] == "cdn" or ("/resolve/" in r[1] and r[1].split("/", 5)[5] not in self.large)]

    def entries(self) -> list:
        entries = [{"type": "directory", "oid": "d" * 40, "size": 0, "path": "original"}]
        for path, content in self.files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
            if path in self.large:
                entry |= {"oid": "e" * 40, "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}, "xetHash": "f" * 64}
            entries.append(entry)
        return entries + self.extra_entries

    def answer(self, handler: Handler, is_cdn: bool):
        url = urllib.parse.urlsplit(handler.path)
        path = urllib.parse.unquote(url.path)
        with self.lock:
            self.requests.append(("cdn" if is_cdn else "api", path, handler.headers.get("Range"), handler.headers.get("Authorization")))
        if is_cdn:
            self.content(handler, path.removeprefix("/blob/"))
            return
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            handler.reply(401, b'{"error": "Invalid username or password."}', [("X-Error-Code", "RepoNotFound")])
        elif self.gated:
            handler.reply(403, b'{"error": "Access to this repository is restricted"}', [("X-Error-Code", "GatedRepo")])
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path):
            self.api_answer(handler, *found.groups(), urllib.parse.parse_qs(url.query))
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path):
            self.resolve(handler, *found.groups())
        else:
            handler.reply(404)

    def api_answer(self, handler, repository, kind, revision, query):
        if repository != self.repository:
            handler.reply(404, b'{"error": "Repository not found"}', [("X-Error-Code", "RepoNotFound")])
            return
        commit = self.revisions.get(revision) or (revision if revision in self.revisions.values() else None)
        if commit is None:
            handler.reply(404, b'{"error": "Invalid rev id"}', [("X-Error-Code", "RevisionNotFound")])
        elif kind == "revision":
            fault = self.next_fault("revision")
            if fault:
                handler.reply(*fault)
            else:
                handler.reply(200, json.dumps({"id": repository, "sha": commit, "siblings": []}).encode())
        else:
            begin, entries = int(query.get("cursor", ["0"])[0]), self.entries()
            end = begin + self.page
            more = [("Link", f'<{self.url}/api/models/{repository}/tree/{revision}?recursive=true&cursor={end}>; rel="next"')] if end < len(entries) else []
            handler.reply(200, json.dumps(entries[begin:end]).encode(), more)

    def next_fault(self, path):
        with self.lock:
            left = self.faults.get(path)
            return left.pop(0) if left else self.always.get(path)

    def resolve(self, handler, repository, commit, path):
        if repository != self.repository or commit not in self.revisions.values() or path not in self.files:
            handler.reply(404, b"", [("X-Error-Code", "EntryNotFound")])
        elif path in self.large:
            handler.reply(302, b"Found. Redirecting", [("Location", f"{self.cdn_url}/blob/{urllib.parse.quote(path)}?X-Signature=secret"), ("X-Repo-Commit", commit)])
        else:
            self.content(handler, path)

    def content(self, handler, path):
        """A fault is (status, body, headers), or one of: "cut", "damage", "no range", "too much"."""
        fault, content = self.next_fault(path), self.files[path]
        if isinstance(fault, tuple):
            handler.reply(*fault)
            return
        if fault == "damage":
            content = content[:-1] + bytes([content[-1] ^ 1])
        begin = 0
        if (wanted := handler.headers.get("Range")) and fault != "no range":
            begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        if fault == "too much":
            content += b"!"
        body = content[begin:]
        handler.send_response(206 if begin else 200)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault == "cut":
            handler.wfile.write(body[:len(body) // 2])
            handler.wfile.flush()
            handler.close_connection = True
            return
        with self.lock:
            self.active += 1
            self.peak = max(self.peak, self.active)
        step = 64 << 10
        try:
            for at in range(0, len(body) - step, step):
                time.sleep(self.slow)
                handler.wfile.write(body[at:at + step])
            time.sleep(self.slow)
        finally:
            with self.lock:  # before the last piece: after it the client may ask for the next file at once
                self.active -= 1
        handler.wfile.write(body[(len(body) - 1) // step * step:] if body else b"")
