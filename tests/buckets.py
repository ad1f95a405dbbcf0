"""An emulator of Google Cloud Storage in a thread: its JSON API with preconditions, objects in memory.

TENSORSTORE_GCS_HTTP_URL names its address. Of the emulators on PyPI, none keeps the preconditions of this API.
"""

import contextlib
import io
import itertools
import json
import random
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Emulator:
    """A server that has every bucket.

    Attributes:
        objects: (bucket, name) → (generation, content).
        faults: share of requests that are answered with 503.
        refuses: (method, code, message) of an answer to all requests of a method ("" for any); None answers them.
        log: (method, name) of each request that changed an object.
    """

    def __init__(self):
        self.objects, self.faults, self.refuses, self.log = {}, 0.0, None, []
        self.lock, self.random, self._generations = threading.Lock(), random.Random(0), itertools.count(10**15)
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"emulator": self}))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def names(self, bucket, folder):
        """The names of the objects of a folder, relative to it, with the lease."""
        with self.lock:
            found = [name for other, name in self.objects if other == bucket]
            return {name.removeprefix(f"{folder}/") for name in found if name.startswith(f"{folder}/")}

    def put(self, bucket, name, content):
        with self.lock:
            self.objects[bucket, name] = next(self._generations), content

    def answer(self, method, url, headers, body):
        """Return the code, the content and the headers of an answer."""
        if self.refuses is not None and self.refuses[0] in ("", method):
            return self.refuses[1], {"error": {"code": self.refuses[1], "message": self.refuses[2]}}, {}
        with self.lock:
            if self.random.random() < self.faults:
                return 503, {"error": {"code": 503, "message": "try again"}}, {}
            parts, query = urlsplit(url).path.split("/"), parse_qs(urlsplit(url).query, keep_blank_values=True)
            query = {name: values[0] for name, values in query.items()}
            bucket = parts[parts.index("b") + 1]
            if method == "GET" and parts[-1] == "o":
                return self._list(bucket, query)
            name = unquote(parts[-1]) if parts[-2] == "o" else query["name"]
            generation, content = self.objects.get((bucket, name), (0, None))
            if int(query.get("ifGenerationMatch", generation)) != generation:
                return 412, {"error": {"code": 412, "message": "conditionNotMet"}}, {}
            if method in ("POST", "DELETE"):
                self.log.append((method, name))
            if method == "POST":
                self.objects[bucket, name] = made = next(self._generations), body
                return 200, {"name": name, "bucket": bucket, "generation": str(made[0]), "size": str(len(body))}, {}
            if content is None:
                return 404, {"error": {"code": 404, "message": "Not Found"}}, {}
            if method == "DELETE":
                del self.objects[bucket, name]
                return 204, b"", {}
        if query.get("ifGenerationNotMatch") == str(generation):
            return 304, b"", {"x-goog-generation": generation}
        if query.get("alt") != "media":
            return 200, {"name": name, "generation": str(generation), "size": str(len(content))}, {}
        return 200, content, {"x-goog-generation": generation}

    def _list(self, bucket, query):
        begin = max(query.get("startOffset", ""), query.get("pageToken", ""), query.get("prefix", ""))
        names = sorted(name for b, name in self.objects if b == bucket and name >= begin)
        end = query.get("endOffset") or "\U0010ffff"
        names = [name for name in names if name < end and name.startswith(query.get("prefix", ""))]
        items = [{"name": name, "size": str(len(self.objects[bucket, name][1]))} for name in names[:1000]]
        return 200, {"items": items} | ({"nextPageToken": names[1000]} if names[1000:] else {}), {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Say nothing: a killed process closes its connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", io.DEFAULT_BUFFER_SIZE  # one packet: headers alone would wait 40 ms

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, content, headers = self.emulator.answer(self.command, self.path, self.headers, body)
        content = json.dumps(content).encode() if isinstance(content, dict) else content
        self.send_response(code)
        for name, value in {**headers, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PUT = handle_request

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def s3_server(bucket):
    """Start moto's server of S3 with a bucket, and yield the environment that names it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}", method="PUT")).close()
    yield {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "us-east-1"}
    server.stop()


if __name__ == "__main__":  # the share of faults
    started = Emulator()
    started.faults = float(sys.argv[1])
    print(started.url, flush=True)
    sys.stdin.read()
