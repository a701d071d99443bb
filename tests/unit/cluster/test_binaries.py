"""A build is found again when, and only when, nothing has changed that decides what it gives."""

import shutil
from pathlib import Path

import pytest

from tests.support.cluster import binaries
from tests.support.cluster.errors import ClusterError


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "go"
    shutil.copytree(binaries.SOURCES, copy)
    monkeypatch.setattr(binaries, "SOURCES", copy)
    return copy


def test_an_equal_checkout_elsewhere_finds_the_same_build(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = binaries.key_of("kubernetes")
    monkeypatch.undo()

    assert sources.exists()
    assert binaries.key_of("kubernetes") == elsewhere


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "cmd/volume/main.go"])
def test_a_changed_source_is_built_anew(sources: Path, file: str) -> None:
    before = binaries.key_of("kubernetes")
    with (sources / "kubernetes" / file).open("a") as source:
        source.write("\n")

    assert binaries.key_of("kubernetes") != before


def test_a_change_of_one_module_leaves_the_other_s_build(sources: Path) -> None:
    before = binaries.key_of("kubernetes")
    with (sources / "coredns" / "go.mod").open("a") as source:
        source.write("\n")

    assert binaries.key_of("kubernetes") == before


def test_a_changed_version_stamp_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = binaries.key_of("kubernetes")
    monkeypatch.setattr(binaries, "KUBERNETES", "v0.0.0")

    assert binaries.key_of("kubernetes") != before


def test_what_the_cache_has_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIELDX_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)  # no Go anywhere
    for module, programs in binaries.PROGRAMS.items():
        folder = tmp_path / "modules" / f"{module}-{binaries.key_of(module)}"
        folder.mkdir(parents=True)
        for program in programs:
            (folder / program).touch()

    found = binaries.ensure_binaries()

    assert {"kubelet", "etcd", "coredns"} <= {program.name for program in found.iterdir()}
    assert binaries.ensure_binaries() == found


def test_a_machine_without_go_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIELDX_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)

    with pytest.raises(ClusterError, match="Go is needed to build Kubernetes"):
        binaries.ensure_binaries()
