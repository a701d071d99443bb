"""An app whose counters grow with the clock: RATE requests a second, of which ERROR_RATE are bad.

So the evidence depends on no load, and two pods of one version differ by nothing. It is ready
unless READY is "no", or while the file /tmp/broken is there.
"""

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RATE = float(os.environ.get("RATE", "500"))
ERROR_RATE = float(os.environ["ERROR_RATE"])
READY = os.environ.get("READY", "yes") == "yes"
BROKEN = Path("/tmp/broken")  # noqa: S108 - in the pod.
STARTED = time.monotonic()


class App(BaseHTTPRequestHandler):
    """Answers probes and scrapes."""

    def do_GET(self) -> None:
        if self.path == "/metrics":
            requests = int(RATE * (time.monotonic() - STARTED))
            bad = int(ERROR_RATE * requests)
            self._answer(
                200,
                "# TYPE http_requests_total counter\n"
                f'http_requests_total{{code="200"}} {requests - bad}\n'
                f'http_requests_total{{code="500"}} {bad}\n',
            )
        else:
            self._answer(200 if READY and not BROKEN.exists() else 503, "")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


ThreadingHTTPServer(("0.0.0.0", 8080), App).serve_forever()
