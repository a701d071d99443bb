"""What `make mutants` builds on: properties can be mutated, and every survivor has its reason."""

import pytest

from tests.mutation.findings import pardons
from tests.mutation.packages import PACKAGES, ROOT, Package
from tests.mutation.workshop import plain_properties

PROPERTY = b"""\
class Lot:
    @property
    def due(self) -> int:
        # When?
        return self.end - 1

    @classmethod
    def of(cls) -> "Lot":
        return cls()
"""


def test_a_property_is_written_as_a_method_that_becomes_one() -> None:
    written: dict[str, type] = {}

    exec(plain_properties(PROPERTY), written)  # noqa: S102  the source above

    lot = written["Lot"]()
    lot.end = 8
    assert lot.due == 7
    assert b"@property" not in plain_properties(PROPERTY)
    assert b"@classmethod" in plain_properties(PROPERTY)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_what_is_mutated_is_there_and_so_is_who_judges_it(package: Package) -> None:
    for source in package.sources:
        assert (ROOT / "operator" / source).is_file()
    for test in package.tests:
        assert (ROOT / test).is_file()
    for test in package.too_slow:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / package.folder / file).read_text()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_each_survivor_is_listed_once_and_each_reason_once_a_function(package: Package) -> None:
    listed = pardons(package.name)
    changes = [change for pardon in listed for change in pardon.changes]

    assert len(set(changes)) == len(changes)
    reasons = {(pardon.changes[0].function, pardon.why) for pardon in listed}
    assert len(reasons) == len(listed)
    for change in changes:
        assert change.function.partition(".")[0] in package.judges
        assert change.was != change.now
