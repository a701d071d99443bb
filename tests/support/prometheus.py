"""A real Prometheus for a test run: Debian's package, unpacked into the cache, on loopback.

There is no wheel with a Prometheus in it, and the package, installed, would start a service.
`apt-get download` needs no root.
"""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.cluster.layout import cache_folder
from tests.support.ports import free_port
from tests.support.turns import turn

SCRAPE_SECONDS: Final = 1


class PrometheusServer:
    """One Prometheus that scrapes what it is told to, and that a test may stop and start again."""

    def __init__(self, program: Path, folder: Path, port: int) -> None:
        self._program = program
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{port}"

    def scrape(self, jobs: Mapping[str, Mapping[str, str]]) -> None:
        """Scrape, by job, the pods with these names at these addresses, from now on."""
        settings: dict[str, Any] = {
            "global": {
                "scrape_interval": f"{SCRAPE_SECONDS}s",
                "scrape_timeout": f"{SCRAPE_SECONDS}s",
            },
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [
                        {"targets": [address], "labels": {"pod": pod, "namespace": "shop"}}
                        for pod, address in pods.items()
                    ],
                }
                for job, pods in jobs.items()
            ],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Begin, or go on with what was stored."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--enable-feature=native-histograms",
                ],
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            if self._answers():
                return
            time.sleep(0.05)
        raise AssertionError(f"Prometheus did not start:\n{(self._folder / 'log').read_text()}")

    def _answers(self) -> bool:
        probe = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(probe):
            probe.request("GET", "/-/ready")
            return probe.getresponse().status == http.HTTPStatus.OK
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def program() -> Path:
    """Return the server, fetching it once if that is possible."""
    with turn("packages"):
        return _program()


def _program() -> Path:
    if found := shutil.which("prometheus"):
        return Path(found)
    server = cache_folder() / "prometheus"
    if server.exists():
        return server
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.fail("install Prometheus (https://prometheus.io/download) for these tests")
    server.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=server.parent) as making:
        if os.geteuid() == 0:
            subprocess.run(["apt-get", "-q", "update"], check=True, stdout=subprocess.DEVNULL)
        fetched = subprocess.run(
            ["apt-get", "-q", "download", "prometheus"],
            cwd=making,
            capture_output=True,
            check=False,
        )
        packages = list(Path(making).glob("prometheus_*.deb"))
        if not packages:
            pytest.fail(f"cannot fetch Debian's package prometheus: {fetched.stderr.decode()}")
        subprocess.run(["dpkg", "-x", packages[0], making], check=True)
        (Path(making) / "usr" / "bin" / "prometheus").rename(server)
    return server


@pytest.fixture
def prometheus() -> Iterator[PrometheusServer]:
    """A Prometheus of this test alone; it runs once the test starts it."""
    with tempfile.TemporaryDirectory(prefix="shieldx-prometheus-") as folder:
        server = PrometheusServer(program(), Path(folder), free_port())
        try:
            yield server
        finally:
            server.kill()
