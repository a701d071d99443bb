"""What the image adds to the package: the script that people and pods call."""

import re
import runpy
from pathlib import Path

import pytest

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return the script that the image's build writes."""
    written = re.search(r"printf '(.*)' > /opt/shieldx/bin/shieldx", DOCKERFILE.read_text())
    assert written is not None
    path = tmp_path / "shieldx"
    path.write_text(written[1].replace(r"\n", "\n"))
    return path


def test_a_second_process_can_load_the_script_without_running_it(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ledger verify` of a long chain starts one, which loads what started it."""
    monkeypatch.setattr("sys.argv", ["shieldx", "--help"])

    loaded = runpy.run_path(str(script), run_name="__mp_main__")

    assert callable(loaded["main"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
