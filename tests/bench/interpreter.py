"""The Python under both servers: that of the image, which is what users run, where it can be had.

Interpreters differ by a quarter: a distribution's is compiled with a profile of what programs do,
one that was built by hand seldom is. The image is built as for the cluster and unpacked; its
interpreter runs with its own loader, libraries and packages, so without its root, and without
being root.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.cluster.images import PRODUCT, build, docker_answers, export
from tests.support.cluster.layout import CHECKOUT

TOOLS: Final = ("buildah", "mmdebstrap")
MACHINE: Final = platform.machine()
# Of Debian's layout, as seen from the image's root.
LOADER: Final = {
    "x86_64": "usr/lib64/ld-linux-x86-64.so.2",
    "aarch64": "usr/lib/ld-linux-aarch64.so.1",
}


@dataclass(frozen=True)
class Interpreter:
    """How a Python program is started; `name` says which Python that is."""

    command: tuple[str, ...]
    name: str
    environment: dict[str, str]


def here() -> Interpreter:
    """Return the Python that runs this."""
    name = f"Python {platform.python_version()} of this environment"
    return Interpreter((sys.executable,), name, {"PYTHONPATH": os.pathsep.join(sys.path)})


def of_the_image(folder: Path) -> Interpreter:
    """Unpack the image into `folder` and return its Python; failing that, this environment's."""
    can_build = docker_answers() or (os.geteuid() == 0 and all(map(shutil.which, TOOLS)))
    if not can_build or MACHINE not in LOADER:
        sys.stdout.write("Without Docker, or buildah and mmdebstrap as root: this Python.\n")
        return here()
    image = PRODUCT[0]
    folder.mkdir()
    with tarfile.open(export(image, build(image))) as archive:
        for name in json.loads(_read(archive, "manifest.json"))[0]["Layers"]:
            # What a layer deletes from those below it is not missed, nor is it in the way.
            unpack = ("tar", "--extract", "--exclude=.wh.*", "--directory", folder, "--file=-")
            subprocess.run(unpack, input=_read(archive, name), check=True)
    (python,) = (folder / "usr" / "bin").glob("python3.[0-9]*[0-9]")
    site = folder / "opt" / "shieldx" / "lib" / python.name / "site-packages"
    # With its own loader and libraries it runs outside of its root as well.
    command = (
        str(folder / LOADER[MACHINE]),
        "--library-path",
        str(folder / "usr" / "lib" / f"{MACHINE}-linux-gnu"),
        str(python),
    )
    paths = (folder / "opt" / "shieldx" / "source", site, CHECKOUT)
    environment = {
        "PYTHONHOME": str(folder / "usr"),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    asked = subprocess.run(
        [*command, "-V"], capture_output=True, text=True, check=True, env=environment
    )
    return Interpreter(command, f"{asked.stdout.strip()} of the image", environment)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise RuntimeError(f"the image's archive has no {name}")
    return file.read()
