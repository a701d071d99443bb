"""What stands in the way is said at once, and all of it."""

from dataclasses import replace

import pytest

from tests.support.cluster.preflight import ROOM, Machine, problems

FIT = Machine(root=True, linux=True, go=True, apt=True, free_bytes=ROOM, missing_packages=())


def test_a_fit_machine_has_no_problems() -> None:
    assert problems(FIT) == []


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (replace(FIT, linux=False), "needs Linux"),
        (replace(FIT, root=False), "needs root"),
        (replace(FIT, go=False), "Go ≥ 1.24 is needed"),
        (replace(FIT, free_bytes=ROOM - 1), "8 GiB of disk are needed"),
        (replace(FIT, apt=False, missing_packages=("runc",)), "install these packages: runc"),
    ],
)
def test_each_thing_that_is_missing_is_named(machine: Machine, words: str) -> None:
    (problem,) = problems(machine)

    assert words in problem


def test_root_installs_missing_packages_itself() -> None:
    assert problems(replace(FIT, missing_packages=("containerd", "runc"))) == []


def test_everything_is_said_in_one_go() -> None:
    bare = Machine(
        root=False, linux=False, go=False, apt=False, free_bytes=0, missing_packages=("runc",)
    )

    assert len(problems(bare)) == 5
