"""The pictures of docs/statistics.md, as SVG, made by `make proofs`."""

from math import log
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.random import Generator

from shieldx.stats import DecisionEngine, MetricSpec, half_way_tolerance, requests_to_decide

POINTS = MetricSpec("errors", base_rate=0.005, margin_rel=0.0, margin_abs=0.005)
INK, HARM, SAFE = "#444444", "#c0392b", "#1f6f43"
HALF_WAY = half_way_tolerance(0.005, margin_abs=0.005)


def draw(folder: Path, dice: Generator) -> None:
    """Write all pictures into `folder`."""
    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "shieldx", "font.size": 10})
    folder.mkdir(exist_ok=True)
    for name, picture in (
        ("evidence", evidence(dice)),
        ("margin", margin()),
        ("weight", weight()),
    ):
        picture.savefig(folder / f"{name}.svg", metadata={"Date": None})


def evidence(dice: Generator) -> Figure:
    """Evidence over time for a good, a bad and a middling challenger."""
    figure, axes = _frame("requests", "evidence (e-value)")
    for rate, colour, name in (
        (0.005, SAFE, "safety, identical"),
        (0.02, HARM, "harm, 2 % errors"),
        (0.0071, INK, "harm, half-way to the margin"),
    ):
        spec = MetricSpec(
            "errors", base_rate=0.005, margin_rel=0.0, margin_abs=0.005, tolerance_rel=HALF_WAY
        )
        engine = DecisionEngine([spec], bucket_share=1 / 3)
        shown = []
        for end in range(60):
            row = (200, int(dice.binomial(200, 0.005)), 200, int(dice.binomial(200, rate)))
            metric = engine.update([row], end).metrics["errors"]
            log_e = metric.log_e_noninferiority if rate == POINTS.base_rate else metric.log_e_harm
            shown.append(np.exp(min(log_e, log(3e3))))
        axes.plot(400 * np.arange(1, 61), shown, color=colour, label=name)
    axes.axhline(100.0, color=INK, linestyle=":", label="1 / risk")
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 3e3)
    axes.legend(frameon=False)
    return figure


def margin() -> Figure:
    """What a margin costs."""
    figure, axes = _frame("margin, as a share of the base rate", "requests to promotion")
    margins = np.geomspace(0.1, 3.0, 30)
    for base, colour in ((0.001, HARM), (0.005, INK), (0.05, SAFE)):
        specs = [MetricSpec("m", base_rate=base, margin_rel=float(each)) for each in margins]
        axes.plot(
            margins, [requests_to_decide(s) for s in specs], color=colour, label=f"{base:.1%}"
        )
        late = [requests_to_decide(spec, quantile=0.9) for spec in specs]
        axes.plot(margins, late, color=colour, linestyle=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(frameon=False, title="errors; dotted: p90")
    return figure


def weight() -> Figure:
    """What a small weight costs: all requests, and those that the challenger answered."""
    figure, axes = _frame("weight of the challenger", "requests to roll-back, 0.5 → 5 %")
    shares = np.linspace(0.02, 0.9, 45)
    spec = MetricSpec("m", base_rate=0.005, tolerance_rel=HALF_WAY)
    totals = np.array(
        [requests_to_decide(spec, "harm", challenger_rate=0.05, share=float(s)) for s in shares]
    )
    axes.plot(shares, totals, color=INK, label="all")
    axes.plot(shares, totals * shares, color=HARM, label="the challenger's")
    axes.set_yscale("log")
    axes.legend(frameon=False)
    return figure


def _frame(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes
