"""The three checks at the end of the demo: pure functions over what was counted."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tests.support.shop import Counts, Outcome, Verification


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and how it came out."""

    check: str
    passed: bool
    told: str


def failures_were_decided(counts: Counts, versions: AbstractSet[str]) -> Finding:
    """Check that all orders are counted, and that none failed but by the decision of a version."""
    counted = sum(counts.outcomes.values())
    failed = {o: n for o, n in counts.outcomes.items() if o.status != 200}
    strange = {o: n for o, n in failed.items() if not _was_decided(o, versions)}
    by_version = ", ".join(
        f"{version} {sum(n for o, n in failed.items() if o.version == version)}"
        for version in sorted(versions)
    )
    told = f"{counts.sent} orders sent, {counted} counted, {sum(failed.values())} failed: "
    told += f"all by decision ({by_version})" if not strange else _describe(strange)
    return Finding(
        check="no request failed but by the decision of a version",
        passed=bool(counted) and counted == counts.sent and not strange,
        told=told,
    )


def orders_are_credits(counts: Counts, consumed: int) -> Finding:
    """Check that exactly the orders that were answered 200 have been paid for."""
    return Finding(
        check="orders answered = credits consumed",
        passed=bool(counts.paid) and counts.paid == consumed,
        told=f"{counts.paid} orders answered 200, {consumed} credits consumed",
    )


def books_are_clean(verification: Verification) -> Finding:
    """Check that chain and balances re-derive."""
    return Finding(
        check="ledger verify",
        passed=verification.exit_code == 0,
        told=verification.said,
    )


def _was_decided(outcome: Outcome, versions: AbstractSet[str]) -> bool:
    return (
        outcome.status == 500
        and outcome.reason == "decided_to_fail"
        and outcome.version in versions
    )


def _describe(strange: dict[Outcome, int]) -> str:
    return "; ".join(
        f"{count} times {outcome.status or 'no answer'} {outcome.reason} "
        f"from {outcome.version or '?'}"
        for outcome, count in sorted(strange.items(), key=lambda item: -item[1])
    )
