"""The demo's programs against a real ledger: orders, credits and counts agree."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.checks import failures_were_decided, orders_are_credits
from tests.support.ports import free_port
from tests.support.shop import CHART, Counts

pytestmark = pytest.mark.postgres

PROGRAMS = CHART / "files"


@contextlib.contextmanager
def running(*arguments: str, env: dict[str, str], port: int, path: str) -> Iterator[None]:
    """Run a program until the block ends; it must then end well on SIGTERM."""
    process = subprocess.Popen([sys.executable, *arguments], env=env)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError):
                fetch(port, path)
                break
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def fetch(port: int, path: str, body: bytes | None = None) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=20) as reply:
        text: str = reply.read().decode()
    return text


def orders(port: int, number: int) -> None:
    """Wait until the customers have sent so many."""
    for _ in range(300):
        if Counts.parse(fetch(port, "/counts")).sent >= number:
            return
        time.sleep(0.1)
    raise AssertionError("the customers send too little")


def test_orders_answered_are_credits_consumed(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("unused by a ledger without Kubernetes\n")
    ledger, shop, load = free_port(), free_port(), free_port()
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LEDGER_URL": f"http://127.0.0.1:{ledger}",
        "SHOP_URL": f"http://127.0.0.1:{shop}",
        "TOKEN_FILE": str(token),
        "CUSTOMERS": "3",
        "CREDITS": "1000",
        "RATE": "80",
        "SECONDS": "60",
        "VERSION": "v1",
        "ERROR_RATE": "0.3",
    }
    teller = [sys.executable, str(PROGRAMS / "teller.py")]
    sidecar = ("-m", "shieldx", "sidecar", "--embedded", f"--data={tmp_path}/d", f"--port={ledger}")
    shop_env, load_env = ({**env, "PORT": str(port)} for port in (shop, load))

    with running(*sidecar, env=env, port=ledger, path="/ready"):
        subprocess.run([*teller, "open"], env=env, check=True, timeout=60)
        with (
            running(str(PROGRAMS / "shop.py"), env=shop_env, port=shop, path="/ready"),
            running(str(PROGRAMS / "load.py"), env=load_env, port=load, path="/counts"),
        ):
            orders(load, 150)
            counts = Counts.parse(fetch(load, "/stop", b"{}"))
            metrics = fetch(shop, "/metrics")
        told = subprocess.run(
            [*teller, "consumed"], env=env, check=True, timeout=60, stdout=subprocess.PIPE
        )

    decided = failures_were_decided(counts, {"v1"})
    paid = orders_are_credits(counts, json.loads(told.stdout)["consumed"])
    assert decided.passed, decided.told
    assert paid.passed, paid.told
    assert counts.sent >= 150
    assert 0.1 < 1 - counts.paid / counts.sent < 0.5
    assert f'http_requests_total{{code="200"}} {counts.paid}.0' in metrics
    assert f'http_requests_total{{code="500"}} {counts.sent - counts.paid}.0' in metrics
