"""`shieldx simulate`: what the rule will do with an experiment, said without a cluster.

Three kinds of challenger are let loose on the spec, each many times: one that is equal, one that is
exactly as bad as a margin (which must hardly ever be promoted), and one that is clearly worse.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf, isinf
from pathlib import Path
from typing import Any, Final

import numpy as np

from shieldx.cli.experiment_file import Experiment, ExperimentFileError, read_experiment
from shieldx.cli.output import Format, Page, finite, percent, write
from shieldx.judgement.engine import question
from shieldx.judgement.forecast import Ending, Forecast, Scenario, forecast, margin_rate
from shieldx.resources.durations import format_duration, parse_duration
from shieldx.resources.shadowexperiment import parse_percentage
from shieldx.stats import RESTARTS, MetricSpec, Rate, requests_to_decide
from shieldx.traffic.split import challenger_replicas

DONE: Final = 0
MISTAKEN: Final = 2

USUAL_EFFECT: Final = "2x"
# Runs of all challengers together, and of each at least.
USUAL_RUNS: Final = 3000
FEWEST_RUNS: Final = 300
# Runs times buckets times guardrails that fit in some ten seconds.
USUAL_EFFORT: Final = 1_500_000


class QuestionError(Exception):
    """What was asked cannot be simulated; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be simulated, as it was typed."""

    file: Path
    traffic: float
    base_rates: Sequence[str] = ()
    effect: str = USUAL_EFFECT
    champion_pods: int | None = None
    horizon: str | None = None
    runs: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """The forecasts, and all that they rest on."""

    experiment: Experiment
    question: Question
    metrics: Sequence[MetricSpec]
    weights: Sequence[float]  # the challenger's share of the traffic, step by step
    horizon: timedelta
    runs: int
    seed: int
    forecasts: Sequence[Forecast]


def simulate(question: Question, form: Format) -> int:
    """Simulate, write what came out, and return the exit code."""
    try:
        simulation = run(question)
    except (ExperimentFileError, QuestionError, ValueError) as mistake:
        sys.stderr.write(f"shieldx simulate: {mistake}\n")
        return MISTAKEN
    write(values(simulation), page(simulation), form)
    return DONE


def run(asked: Question) -> Simulation:
    """Simulate what was asked; QuestionError, ExperimentFileError or ValueError for a mistake."""
    experiment = read_experiment(asked.file)
    spec = experiment.spec
    base_rates = _base_rates(
        {each.name: each.base_rate for each in spec.guardrails}, asked.base_rates
    )
    horizon = spec.decision.max_duration
    if asked.horizon:
        horizon = _typed("--horizon", asked.horizon, parse_duration)
    if horizon < spec.decision.bucket:
        raise QuestionError(f"--horizon is at least one bucket, and {asked.horizon} is less")
    metrics = [each for each in question_of(experiment, base_rates) if each.name != RESTARTS.name]
    seed = np.random.SeedSequence(asked.seed).entropy
    scenarios = _scenarios(metrics, asked.effect)
    runs = asked.runs or max(USUAL_RUNS // len(scenarios), FEWEST_RUNS)

    def weigh(weight: int) -> float:
        if asked.champion_pods is None:
            return weight / 100
        pods = challenger_replicas(asked.champion_pods, weight, most=spec.max_challenger_replicas)
        return pods / (asked.champion_pods + pods)

    forecasts = forecast(
        spec,
        scenarios,
        np.random.default_rng(seed),
        base_rates=base_rates,
        requests_per_second=asked.traffic,
        runs=runs,
        horizon=horizon,
        effort=USUAL_EFFORT if asked.runs is None else None,
        weigh=weigh,
    )
    weights = [weigh(step.weight) for step in spec.steps]
    return Simulation(experiment, asked, metrics, weights, horizon, runs, int(str(seed)), forecasts)


def _typed[T](option: str, text: str, meaning: Callable[[str], T]) -> T:
    """Return what an option means; QuestionError, with its name, if it means nothing."""
    try:
        return meaning(text)
    except ValueError as error:
        raise QuestionError(f"{option}: {error}") from error


def question_of(experiment: Experiment, base_rates: Mapping[str, float]) -> Sequence[MetricSpec]:
    """Return the metrics that the engine is asked about."""
    return question(experiment.spec, 0, base_rates)[0]


def _base_rates(assumed: Mapping[str, float], said: Sequence[str]) -> dict[str, float]:
    """Return the champion's bad shares: those of the spec, where nothing else is said."""
    rates = dict(assumed)
    for each in said:
        name, sign, share = each.rpartition("=")
        if sign and name not in rates:
            there = ", ".join(rates)
            raise QuestionError(f"--base-rate {each}: no guardrail is called {name}, but {there}")
        rate = _typed("--base-rate", share, parse_percentage)
        if not 0.0 < rate < 1.0:
            raise QuestionError(f"--base-rate {each}: say a percentage above 0% and below 100%")
        rates |= {name: rate} if sign else dict.fromkeys(rates, rate)
    return rates


def _scenarios(metrics: Sequence[MetricSpec], effect: str) -> list[Scenario]:
    """Return the challengers to try; in each but the first one guardrail is not equal."""
    equal = {metric.name: (metric.base_rate, metric.base_rate) for metric in metrics}
    scenarios = [Scenario("equal", equal)]
    if all(_worse(metric.base_rate, effect) <= metric.base_rate for metric in metrics):
        raise QuestionError(
            f"--effect {effect} makes no challenger that is worse: say more than 1x, or a share "
            "that is larger than the champion's"
        )
    for metric in metrics:
        rate, at_margin = metric.base_rate, min(margin_rate(metric), 1.0)
        worse = _worse(rate, effect)
        scenarios += [
            Scenario(f"{metric.name} at its margin", {**equal, metric.name: (rate, at_margin)}),
            Scenario(f"{metric.name} {effect}", {**equal, metric.name: (rate, worse)}),
        ]
    return scenarios


def _worse(rate: float, effect: str) -> float:
    try:
        if effect.endswith("%"):
            worse = parse_percentage(effect)
        else:
            factor, sign, rest = effect.partition("x")
            worse = rate * float(factor) if sign and not rest else -1.0
    except ValueError:
        worse = -1.0
    if worse == inf or not worse >= 0.0:
        raise QuestionError(f"--effect is a factor such as 2x, or a bad share such as 5%: {effect}")
    return min(worse, 1.0)


def page(simulation: Simulation) -> Page:
    """Say what came out, for people."""
    experiment, asked = simulation.experiment, simulation.question
    spec, decision = experiment.spec, experiment.spec.decision
    steps = ", ".join(
        f"{share:.3g}% for {format_duration(step.hold)}"
        for step, share in zip(
            spec.steps, (100 * weight for weight in simulation.weights), strict=True
        )
    )
    text = Page()
    text.say(
        f"{experiment.name}: {asked.traffic:g} requests a second to both versions together, "
        f"buckets of {format_duration(decision.bucket)}; the challenger gets {steps}; nothing is "
        f"counted for {format_duration(spec.settle)} after each increase, and nothing is promoted "
        f"before {format_duration(decision.min_duration)}; open is what has no verdict after "
        f"{format_duration(simulation.horizon)}."
    )
    for metric in simulation.metrics:
        text.say(
            f"{metric.name}: the champion at {percent(metric.base_rate)}, harm above "
            f"{percent(metric.base_rate * (1 + metric.tolerance_rel))}, the margin at "
            f"{percent(margin_rate(metric))}."
        )
    text.say("")
    text.tabulate(
        ("challenger", "promoted", "rolled back", "open", "verdict after", "9 of 10 by"),
        [_row(each, asked.traffic) for each in simulation.forecasts],
    )
    text.say("")
    for line in _remarks(simulation):
        text.say(line)
    return text


def _row(each: Forecast, traffic: float) -> tuple[str, ...]:
    ending = _likelier(each)
    return (
        each.scenario.name,
        _rate(each.promoted.rate),
        _rate(each.rolled_back.rate),
        percent(each.undecided.share),
        _after(ending.median, each.seconds, traffic),
        _after(ending.late, each.seconds, traffic),
    )


def _likelier(each: Forecast) -> Ending:
    promoted, rolled_back = each.promoted, each.rolled_back
    return promoted if promoted.rate.hits > rolled_back.rate.hits else rolled_back


def _rate(rate: Rate) -> str:
    low, high = rate.interval
    return f"{percent(rate.share)}\n{100 * low:.1f}–{100 * high:.1f}%"  # noqa: RUF001 - a range


def _after(seconds: float, ahead: float, traffic: float) -> str:
    if isinf(seconds):
        return f"> {format_duration(timedelta(seconds=ahead))}"
    duration = format_duration(timedelta(seconds=seconds))
    return f"{duration}\n{seconds * traffic:,.0f} req"


def _remarks(simulation: Simulation) -> list[str]:
    decision = simulation.experiment.spec.decision
    promised = (
        f"Promised: an equal challenger is rolled back in at most {percent(decision.rollback_risk)}"
        f" of all experiments, one at a margin promoted in at most "
        f"{percent(decision.promotion_risk)}. Simulated: {simulation.runs} runs of each; below a "
        f"share stands its 95% interval; requests are of both versions. Seed {simulation.seed}."
    )
    remarks = [promised]
    ahead = simulation.forecasts[0].seconds
    if ahead < simulation.horizon.total_seconds():
        remarks.append(
            f"Looked {format_duration(timedelta(seconds=ahead))} ahead and not "
            f"{format_duration(simulation.horizon)}, to be done in time: --runs 100 looks as far as"
            " it takes, and --traffic may be too low for these margins."
        )
    remarks += [_by_formula(metric, simulation) for metric in simulation.metrics]
    return remarks


def _by_formula(metric: MetricSpec, simulation: Simulation) -> str:
    needed = [finite(each) for each in _needed(metric, simulation)]
    if None in needed:
        return f"{metric.name}: an equal challenger never gathers enough for this margin: widen it."
    median, late = (float(each or 0) for each in needed)
    time = format_duration(timedelta(seconds=late / simulation.question.traffic))
    return (
        f"{metric.name}: by formula, an equal challenger needs {median:,.0f} requests at the last "
        f"weight, {late:,.0f} in one case of ten ({time} at this traffic). Twice the margin takes "
        "about a quarter."
    )


def _needed(metric: MetricSpec, simulation: Simulation) -> tuple[float, float]:
    risk = simulation.experiment.spec.decision.promotion_risk
    share = simulation.weights[-1]
    return (
        requests_to_decide(metric, risk=risk, share=share, quantile=0.5),
        requests_to_decide(metric, risk=risk, share=share, quantile=0.9),
    )


def values(simulation: Simulation) -> dict[str, Any]:
    """Return what came out, for programs."""
    traffic = simulation.question.traffic
    return {
        "experiment": simulation.experiment.name,
        "requestsPerSecond": traffic,
        "runs": simulation.runs,
        "seed": simulation.seed,
        "weights": [round(weight, 6) for weight in simulation.weights],
        "guardrails": [
            {
                "name": metric.name,
                "baseRate": metric.base_rate,
                "toleratedRate": metric.base_rate * (1 + metric.tolerance_rel),
                "marginRate": margin_rate(metric),
                "requestsToPromote": dict(
                    zip(("median", "p90"), map(finite, _needed(metric, simulation)), strict=True)
                ),
            }
            for metric in simulation.metrics
        ],
        "challengers": [
            {
                "name": each.scenario.name,
                "rates": {
                    name: {"champion": rates[0], "challenger": rates[1]}
                    for name, rates in each.scenario.rates.items()
                },
                "promoted": _ending(each.promoted, traffic),
                "rolledBack": _ending(each.rolled_back, traffic),
                "open": _share(each.undecided),
                "secondsSimulated": each.seconds,
            }
            for each in simulation.forecasts
        ],
    }


def _share(rate: Rate) -> dict[str, Any]:
    return {"share": rate.share, "interval": list(rate.interval)}


def _ending(ending: Ending, traffic: float) -> dict[str, Any]:
    return {
        **_share(ending.rate),
        "seconds": {"median": finite(ending.median), "p90": finite(ending.late)},
        "requests": {
            "median": finite(ending.median * traffic),
            "p90": finite(ending.late * traffic),
        },
    }
