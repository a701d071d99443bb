"""Each check of the demo is seen red on planted counts."""

import pytest

from tests.demo.checks import books_are_clean, failures_were_decided, orders_are_credits
from tests.support.shop import Counts, Outcome, Verification

VERSIONS = frozenset({"v1", "v2"})
PAID = Outcome(200, "v1", "paid")
DECIDED = Outcome(500, "v2", "decided_to_fail")


def counts(*, sent: int | None = None, **more: tuple[Outcome, int]) -> Counts:
    outcomes = {PAID: 90, DECIDED: 10, **dict(more.values())}
    return Counts(sent=sum(outcomes.values()) if sent is None else sent, outcomes=outcomes)


def test_failures_by_decision_of_a_version_are_allowed() -> None:
    finding = failures_were_decided(counts(), VERSIONS)

    assert finding.passed
    assert finding.told == (
        "100 orders sent, 100 counted, 10 failed: all by decision (v1 0, v2 10)"
    )


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        (Outcome(0, "", "ClientConnectorError"), "1 times no answer ClientConnectorError from ?"),
        (Outcome(0, "", "TimeoutError"), "1 times no answer TimeoutError from ?"),
        (Outcome(503, "v1", "ledger_unavailable"), "1 times 503 ledger_unavailable from v1"),
        (Outcome(500, "v2", "internal_error"), "1 times 500 internal_error from v2"),
        (Outcome(500, "", "decided_to_fail"), "1 times 500 decided_to_fail from ?"),
        (Outcome(500, "v9", "decided_to_fail"), "1 times 500 decided_to_fail from v9"),
        (Outcome(402, "v1", "insufficient_credits"), "1 times 402 insufficient_credits from v1"),
    ],
)
def test_any_other_failure_is_found_and_named(planted: Outcome, told: str) -> None:
    finding = failures_were_decided(counts(planted=(planted, 1)), VERSIONS)

    assert not finding.passed
    assert told in finding.told


def test_an_order_that_nobody_counted_is_found() -> None:
    finding = failures_were_decided(counts(sent=101), VERSIONS)

    assert not finding.passed
    assert "101 orders sent, 100 counted" in finding.told


def test_a_shop_without_customers_proves_nothing() -> None:
    nobody = Counts(sent=0, outcomes={})

    assert not failures_were_decided(nobody, VERSIONS).passed
    assert not orders_are_credits(nobody, 0).passed


@pytest.mark.parametrize(("consumed", "passed"), [(89, False), (90, True), (91, False)])
def test_a_credit_too_few_or_too_many_is_found(*, consumed: int, passed: bool) -> None:
    assert orders_are_credits(counts(), consumed).passed is passed


@pytest.mark.parametrize(("code", "passed"), [(0, True), (1, False), (2, False)])
def test_only_the_exit_code_says_that_the_books_are_clean(*, code: int, passed: bool) -> None:
    finding = books_are_clean(Verification(exit_code=code, said="12 entries verified: clean"))

    assert finding.passed is passed


def test_the_counts_of_the_customers_are_read() -> None:
    read = Counts.parse(
        '{"sent": 3, "stopped": true, "outcomes": ['
        '{"status": 200, "version": "v1", "reason": "paid", "count": 2},'
        '{"status": 0, "version": "", "reason": "TimeoutError", "count": 1}]}'
    )

    assert read == Counts(3, {PAID: 2, Outcome(0, "", "TimeoutError"): 1})
    assert read.paid == 2
