"""A real Redis for a test run: the machine's own `redis-server` on a socket in a folder.

There is no well-kept wheel with a Redis in it. Debian's package `redis-tools` carries the server
under another name (`redis-check-rdb` is the same program) and, unlike `redis-server`, starts no
service on the machine; it is installed when root, otherwise the run says what is missing.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.turns import turn

SERVERS = ("redis-server", "valkey-server")
ALIAS = "redis-check-rdb"


class RedisServer:
    """One Redis that a test may stop, freeze and start again."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"

    def start(self) -> None:
        """Begin with nothing, as Redis does that lost its memory."""
        self.socket.unlink(missing_ok=True)
        settings = ("--port", "0", "--unixsocket", str(self.socket), "--save", "")
        self._process = subprocess.Popen(
            ["redis-server", *settings, "--appendonly", "no", "--dir", str(self._folder)],
            executable=self._program,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(500):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
                return
            time.sleep(0.01)
        raise AssertionError("Redis did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let it accept connections and answer nothing, to those who wait as long as users do."""
        monkeypatch.setattr("shieldx.sidecar.redis.ANSWER_SECONDS", 0.25)
        self._signal(signal.SIGSTOP)

    def thaw(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shieldx.sidecar.redis.ANSWER_SECONDS", 10.0)
        self._signal(signal.SIGCONT)

    def harm(self, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Kill or freeze it."""
        if how == "kill":
            self.kill()
        else:
            self.freeze(monkeypatch)

    def heal(self, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if how == "kill":
            self.start()
        else:
            self.thaw(monkeypatch)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def url_file(self) -> Path:
        file = self._folder / "url"
        file.write_text(f"{self.url}\n")
        return file


def program() -> str:
    """Return a Redis server of this machine, installing it if that is allowed."""
    with turn("packages"):
        return _program()


def _program() -> str:
    for name in SERVERS:
        if found := shutil.which(name):
            return found
    if shutil.which(ALIAS) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "redis-tools"]):
            subprocess.run(
                ["apt-get", "-q", *command], env=quiet, check=True, stdout=subprocess.DEVNULL
            )
    found = shutil.which(ALIAS)
    if found is None:
        pytest.fail("install Redis (Debian: apt-get install redis-tools) for these tests")
    return found


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of this test alone."""
    with tempfile.TemporaryDirectory(prefix="shieldx-redis-") as folder:
        server = RedisServer(program(), Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
