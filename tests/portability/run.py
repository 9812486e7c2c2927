"""Runs Ember's shaders in a headless Chromium, and says what it made of them.

usage: run.py FOLDER BROWSER

FOLDER has what the test `selftest::tests::export` writes where EMBER_PORTABILITY names one. The page beside this file asks a
server on the loopback address for it and tells what it found. Exit status 1 if anything is not as it should be, or nothing
is heard of the browser for some minutes.
"""

import json
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).resolve().parent
PAGES = {"/": "page.html", "/page.js": "page.js", "/judge.js": "judge.js"}
KINDS = {".html": "text/html", ".js": "text/javascript", ".json": "application/json"}
# Seconds without a word from the page. The longest case takes a few on two cores.
SILENCE = 240
# WebGPU on the processor, which every machine has, by the implementation that browsers bring along.
FLAGS = [
    "--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
]


def serve(folder, heard):
    """A server of the page and the folder; what the page tells is put into the queue."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, kind, body):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            name = self.path.removeprefix("/data/")
            path = HERE / PAGES[self.path] if self.path in PAGES else folder / name
            if self.path not in PAGES and (name == self.path or "/" in name or not path.is_file()):
                self.answer(404, "text/plain", b"")
                return
            self.answer(200, KINDS.get(path.suffix, "application/octet-stream"), path.read_bytes())

        def do_POST(self):
            heard.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(200, "text/plain", b"")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def listen(heard, browser):
    """What the page tells, up to its last word."""
    waited = 0
    while True:
        try:
            message = heard.get(timeout=1)
        except queue.Empty:
            waited += 1
            if browser.poll() is not None:
                yield {"kind": "broken", "why": f"the browser ended by itself, exit status {browser.returncode}"}
                return
            if waited >= SILENCE:
                yield {"kind": "broken", "why": f"nothing was heard of the browser for {SILENCE} s"}
                return
            continue
        waited = 0
        yield message
        if message["kind"] in ("end", "broken"):
            return


class Report:
    """Counts what was told; prints what was wrong."""

    def __init__(self):
        self.failures = 0
        self.kernels = self.pipelines = self.runs = 0
        self.worst = (0.0, "")
        self.ended = False
        self.ran = set()

    def fail(self, text):
        self.failures += 1
        # Browsers add where they were in lines of their own.
        print(f"  FAILED {text.splitlines()[0]}", flush=True)

    def device(self, m):
        low, high = m["subgroups"]
        print(f"  device: {m['vendor']} {m['architecture']}, subgroups of {low} to {high}", flush=True)

    def kernel(self, m):
        self.kernels += 1
        self.pipelines += m["pipelines"]
        if m["failure"]:
            self.fail(f"{m['name']}: {m['failure']}")

    def case(self, m):
        self.runs += 1
        self.ran.add(m["kernel"])
        where = f"{m['name']} on {m['kernel']} ({m['tuning']})"
        if m["failure"]:
            self.fail(f"{where}: {m['failure']}")
        elif m["error"] > self.worst[0]:
            self.worst = (m["error"], where)
        if m["missed"]:
            self.fail(f"{where}: a wrong result would have passed ({', '.join(m['missed'])})")

    def broken(self, m):
        self.fail(m["why"])

    def end(self, m):
        self.ended = True
        if (m["kernels"], m["runs"]) != (self.kernels, self.runs) or not self.runs:
            self.fail(f"{self.kernels} of {m['kernels']} shaders and {self.runs} of {m['runs']} runs were told of")

    def summary(self):
        print(f"  {self.kernels} shaders compiled, {self.pipelines} pipelines made")
        print(f"  {self.runs} runs of {len(self.ran)} shaders compared with their twins; worst {self.worst[0]:.2f} of its "
              f"tolerance: {self.worst[1]}")
        print(f"  {self.failures} failed", flush=True)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, browser = pathlib.Path(sys.argv[1]), sys.argv[2]
    if not (folder / "cases.json").is_file():
        sys.exit(f"{folder} has no cases.json: nothing was written there")
    heard = queue.Queue()
    server = serve(folder, heard)
    home = tempfile.mkdtemp(prefix="ember-portability-")
    command = [browser, *FLAGS, f"--user-data-dir={home}", f"http://127.0.0.1:{server.server_port}/"]
    report = Report()
    with open(pathlib.Path(home) / "errors", "w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        try:
            for message in listen(heard, process):
                getattr(report, message["kind"])(message)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            server.shutdown()
        if not report.ended:
            errors.seek(0)
            print("  the browser's last words:", *errors.read().splitlines()[-10:], sep="\n    ")
    shutil.rmtree(home, ignore_errors=True)
    report.summary()
    sys.exit(1 if report.failures or not report.ended else 0)


if __name__ == "__main__":
    main()
