"""Control groups of the cluster: one per node, below the supervisor's own.

With version 1 there is a tree per controller, with version 2 one tree. A node gets a group in
every tree and then a cgroup namespace of its own, so that its kubelet believes to have the root.
"""

import contextlib
import subprocess
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_SWEEPS: Final = 50


def parse(lines: str) -> list[tuple[str, str]]:
    """Return (mount below /sys/fs/cgroup, path in that tree) from /proc/self/cgroup.

    The mount is "" for the tree of version 2 where it is the only one.
    """
    entries = [line.split(":", 2) for line in lines.splitlines()]
    unified_only = all(controllers == "" for _, controllers, _ in entries)
    trees = []
    for _, controllers, path in entries:
        if controllers:
            trees.append((controllers.removeprefix("name="), path))
        elif unified_only:
            trees.append(("", path))
    return trees


def own_trees() -> list[tuple[str, str]]:
    """Return the trees that this process is in."""
    return [
        (mount, path)
        for mount, path in parse(Path("/proc/self/cgroup").read_text())
        if (ROOT / mount).exists()
    ]


def make(group: str) -> list[Path]:
    """Make a group below our own in every tree; return the folders."""
    folders = []
    for mount, path in own_trees():
        folder = ROOT / mount / path.lstrip("/")
        for part in group.split("/"):
            parent, folder = folder, folder / part
            folder.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                # Of version 1: empty in a new group, and then nobody can enter it.
                if (folder / file).exists() and not (folder / file).read_text().strip():
                    (folder / file).write_text((parent / file).read_text())
        folders.append(folder)
    return folders


def enter(folders: list[Path]) -> None:
    """Move this process into the groups."""
    for folder in folders:
        (folder / "cgroup.procs").write_text("0")


def mount_inside() -> None:
    """In a fresh cgroup namespace: mount its trees where programs look for them."""
    trees = parse(Path("/proc/self/cgroup").read_text())
    if [mount for mount, _ in trees] == [""]:
        _run("mount", "-t", "cgroup2", "cgroup", str(ROOT))
        # A group with processes of its own cannot hand controllers on: go aside first.
        init = ROOT / "init"
        init.mkdir(exist_ok=True)
        (init / "cgroup.procs").write_text("0")
        for controller in (ROOT / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):
                (ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
        return
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", str(ROOT))
    for mount, _ in trees:
        (ROOT / mount).mkdir()
        named = mount == "systemd"
        options = f"none,name={mount}" if named else mount
        _run("mount", "-t", "cgroup", "-o", options, "cgroup", str(ROOT / mount))


def sweep(group: str) -> list[Path]:
    """Remove the groups of a cluster whose processes are gone; return what could not be."""
    left: list[Path] = []
    for _ in range(_SWEEPS):
        left = [
            folder
            for top in ROOT.rglob(group)
            for folder in sorted((top, *top.rglob("*")), reverse=True)
            if folder.is_dir()
        ]
        for folder in sorted(left, key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):
                folder.rmdir()
        left = list(ROOT.rglob(group))
        if not left:
            return []
        time.sleep(0.1)
    return left


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
