"""Who asks for more traffic than there is hears so, in words that fit."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shieldx.judgement.traffic import LONGEST_WARNING, MUCH_TRAFFIC, shortages
from shieldx.resources.shadowexperiment import Margin, ShadowExperimentSpec
from shieldx.webhook.advice import advise
from tests.support.experiments import SPEC

EASY = ShadowExperimentSpec.parse(SPEC)


def asking(margin: Margin, most: timedelta = timedelta(hours=24)) -> ShadowExperimentSpec:
    guardrail = replace(EASY.guardrails[0], margin=margin)
    return replace(
        EASY, guardrails=(guardrail,), decision=replace(EASY.decision, max_duration=most)
    )


def test_an_easy_margin_needs_no_word() -> None:
    assert not list(shortages(EASY))


def test_a_margin_that_takes_more_than_most_have_is_told_with_what_it_takes() -> None:
    (found,) = shortages(asking(Margin(absolute=0, relative=0.01)))

    assert found.guardrail == "errors"
    assert found.per_second > MUCH_TRAFFIC
    assert found.per_second == pytest.approx(found.late / (24 * 3600), rel=0.01)
    assert found.requests < found.late


def test_known_traffic_decides_instead() -> None:
    spec = asking(Margin(absolute=0, relative=0.01))
    (found,) = shortages(spec)

    assert not list(shortages(spec, {"errors": found.per_second * 1.01}))
    assert list(shortages(spec, {"errors": found.per_second * 0.99}))
    (starving,) = shortages(EASY, {"errors": 0.001})
    assert "and not 0.001/s in maxDuration" in str(starving)


def test_a_longer_time_brings_more() -> None:
    margin = Margin(absolute=0.005, relative=0)

    assert list(shortages(asking(margin, timedelta(minutes=5))))
    assert not list(shortages(asking(margin, timedelta(hours=5))))


@pytest.mark.parametrize("margin", [Margin(0, 1e-8), Margin(1e-8, 0), Margin(0, 0.001)])
def test_every_warning_fits_into_what_the_api_server_passes_on(margin: Margin) -> None:
    spec = asking(margin, timedelta(hours=719, minutes=59, seconds=59))
    guardrail = replace(spec.guardrails[0], name="x" * 30, base_rate=0.00123456)
    spec = replace(spec, guardrails=(guardrail,))
    (found,) = shortages(spec, {guardrail.name: 0.0123456})

    assert len(str(found)) <= LONGEST_WARNING


@pytest.mark.parametrize(
    "broken", [{}, {"spec": None}, {"spec": {**SPEC, "decision": {"bucket": "soon"}}}, {"spec": []}]
)
def test_what_cannot_be_read_is_left_to_the_api_server(broken: dict[str, Any]) -> None:
    assert advise(broken) == []
