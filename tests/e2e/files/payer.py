"""An app that pays through the relay beside it: RATE payments a second.

The share REFUSED of them is from an account without credits, as a version does that asks the wrong
account. It is ready once it has paid.
"""

import json
import os
import random
import threading
import time
import uuid
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RATE = float(os.environ["RATE"])
REFUSED = float(os.environ["REFUSED"])
CUSTOMERS = 8
# By the same keys in each pod, so that whoever is first does it.
OPENING: tuple[tuple[str, dict[str, object], str], ...] = (
    ("/v1/accounts", {"id": "rich"}, "open-rich"),
    ("/v1/accounts", {"id": "poor"}, "open-poor"),
    ("/v1/accounts/rich/refill", {"amount": 1_000_000}, "fill-rich"),
)

paid = threading.Event()


def customer() -> None:
    """Pay for ever."""
    relay = HTTPConnection("127.0.0.1", 5004, timeout=10)
    for path, body, key in OPENING:
        while ask(relay, path, body, key) != 201:
            time.sleep(1)
    while True:
        account = "poor" if random.random() < REFUSED else "rich"
        if ask(relay, f"/v1/accounts/{account}/consume", {"amount": 1}, uuid.uuid4().hex) == 201:
            paid.set()
        time.sleep(random.expovariate(RATE / CUSTOMERS))


def ask(relay: HTTPConnection, path: str, body: dict[str, object], key: str) -> int:
    """Return the status of the answer, 0 if there was none."""
    try:
        relay.request("POST", path, json.dumps(body), {"Idempotency-Key": key})
        answer = relay.getresponse()
        answer.read()
    except (OSError, HTTPException):
        relay.close()
        return 0
    return answer.status


class App(BaseHTTPRequestHandler):
    """Answers probes."""

    def do_GET(self) -> None:
        self.send_response(200 if paid.is_set() else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


for _ in range(CUSTOMERS):
    threading.Thread(target=customer, daemon=True).start()
ThreadingHTTPServer(("0.0.0.0", 8080), App).serve_forever()
