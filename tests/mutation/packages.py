"""What is mutated, and which tests are to notice: for each module the unit tests of its own.

That another module's tests would break as well counts for nothing. Tests that measure rates
are left out: `make proofs` is for them, and a thousand mutants cannot wait for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Package:
    """A package's modules with the files of tests that judge each; `too_slow` are tests in those.

    Names of tests are relative to the folder of the package's tests, and may be beginnings.
    """

    name: str
    judges: Mapping[str, tuple[str, ...]]
    too_slow: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The files to mutate, relative to `operator`."""
        return tuple(f"shieldx/{self.name}/{module}.py" for module in self.judges)

    @property
    def tests(self) -> tuple[str, ...]:
        """The files of tests, relative to the checkout."""
        files = sorted({file for files in self.judges.values() for file in files})
        return tuple(f"{self.folder}/{file}.py" for file in files)

    @property
    def folder(self) -> str:
        return f"tests/unit/{self.name}"

    @property
    def workshop(self) -> Path:
        return ROOT / ".mutants" / self.name


STATS: Final = Package(
    "stats",
    {
        "dispersion": ("test_dispersion",),
        "pairs": ("test_pairs", "test_pairs_formula"),
        "posterior": ("test_posterior",),
        "sample_ratio": ("test_sample_ratio",),
    },
    too_slow=(
        "test_dispersion.py::test_coins_are_not_noisy",
        "test_posterior.py::test_the_interval_covers_the_truth_as_often_as_it_says",
        "test_sample_ratio.py::test_a_split_as_asked_for_is_no_mismatch_whatever_the_steps",
    ),
)

_RULES: Final = (
    "test_alerts_and_notes",
    "test_answers",
    "test_due",
    "test_grants",
    "test_lots",
    "test_model",
    "test_model_properties",
    "test_within_a_batch",
)
LEDGER: Final = Package(
    "ledger",
    {
        "model": _RULES,
        "lots": _RULES,
        "due": _RULES,
        "chain": ("test_chain",),
    },
)

PACKAGES: Final = (STATS, LEDGER)
