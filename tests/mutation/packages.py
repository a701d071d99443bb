"""What is mutated, and which tests are to notice: for each module the unit tests of its own.

That another module's tests would break as well counts for nothing. Tests that measure rates
are left out: `make proofs` is for them, and a thousand mutants cannot wait for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_ENUMERATION: Final = "test_no_truth_that_the_null_allows_makes_evidence_on_average"
_PROJECTION: Final = "test_at_the_projection_the_bound_is_met"


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
        "engine": ("test_engine", "test_resuming"),
        "eprocess": ("test_eprocess",),
        "histogram": ("test_histogram",),
        "jumps": ("test_jumps",),
        "metric": ("test_engine", "test_jumps", "test_metric", "test_reference", "test_resuming"),
        "pairs": ("test_pairs", "test_pairs_formula"),
        "planning": ("test_planning", "test_planning_formula"),
        "posterior": ("test_posterior",),
        "sample_ratio": ("test_sample_ratio",),
        "streams": ("test_streams",),
    },
    too_slow=(
        *(f"test_eprocess.py::{_ENUMERATION}[{rate}-" for rate in (0.004, 0.5, 0.93)),
        *(f"test_eprocess.py::{_PROJECTION}[{rate}-" for rate in (0.2, 0.5, 0.93)),
        "test_dispersion.py::test_coins_are_not_noisy",
        "test_histogram.py::test_all_requests_half_as_slow_again_are_rolled_back_soon",
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
        "rules": _RULES,
        "lots": _RULES,
        "due": _RULES,
        "draft": _RULES,
        "chain": ("test_chain",),
    },
)

PACKAGES: Final = (STATS, LEDGER)
