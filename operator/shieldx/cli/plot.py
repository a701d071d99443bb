"""A picture of evidence over time, as SVG: two lines, and what they must reach.

By hand: it is one kind of picture, and the libraries that draw are heavier than the whole image.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from math import log
from typing import Final

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50
COLOURS: Final = {"harm": "#c0392b", "safety": "#1f6f43"}
_INK: Final = "#444444"
# Below this much evidence all is nothing: e to its power.
_LEAST: Final = log(1e-4)
_MOST: Final = log(1e6)


def plot(lines: Mapping[str, Sequence[tuple[float, float]]], needed: tuple[float, float]) -> str:
    """Return a picture of lines of (time, log evidence), with `needed` e-values marked."""
    times = [time for time, _ in chain.from_iterable(lines.values())]
    first, span = min(times), max(max(times) - min(times), 1.0)

    def x(time: float) -> float:
        return LEFT + (time - first) / span * (WIDTH - LEFT - RIGHT)

    def y(evidence: float) -> float:
        share = (min(max(evidence, _LEAST), _MOST) - _LEAST) / (_MOST - _LEAST)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [_path(f"M0 0H{WIDTH}V{HEIGHT}H0Z", fill="white")]
    for power in range(-4, 7, 2):
        at = y(log(10.0) * power)
        parts.append(_path(f"M{LEFT} {at:.1f}H{WIDTH - RIGHT}", stroke="#e5e5e5"))
        parts.append(_text(LEFT - 8, at + 4, f"1e{power}", anchor="end"))
    for name, threshold, side in zip(("roll back", "promote"), needed, (False, True), strict=True):
        at, there = y(log(threshold)), WIDTH - RIGHT if side else LEFT + 4
        parts.append(_path(f"M{LEFT} {at:.1f}H{WIDTH - RIGHT}", stroke=_INK, dashes="2 3"))
        said = f"{name}: {threshold:.4g}"
        parts.append(_text(there, at - 4, said, anchor="end" if side else "start"))
    for at, (name, line) in enumerate(lines.items()):
        drawn = "L".join(f"{x(time):.1f} {y(evidence):.1f}" for time, evidence in line)
        parts.append(_path(f"M{drawn}", stroke=COLOURS[name], width=2))
        said = f"evidence of {name}"
        parts.append(_text(LEFT + 4 + 160 * at, HEIGHT - 8, said, colour=COLOURS[name]))
    for time, anchor in ((first, "start"), (first + span, "end")):
        said = f"{datetime.fromtimestamp(time, UTC):%F %T} UTC"
        parts.append(_text(x(time), HEIGHT - BOTTOM + 18, said, anchor=anchor))
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([opening, *parts, "</svg>\n"])


def _path(
    drawn: str, *, stroke: str = "none", fill: str = "none", width: int = 1, dashes: str = "none"
) -> str:
    return (
        f'<path d="{drawn}" fill="{fill}" stroke="{stroke}" stroke-width="{width}" '
        f'stroke-dasharray="{dashes}"/>'
    )


def _text(x: float, y: float, said: str, *, anchor: str = "start", colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{said}</text>'
