"""Durations as people write them in the resources: `90s`, `15m`, `1h30m`."""

import re
from datetime import timedelta
from typing import Final

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_duration(text: str) -> timedelta:
    """Return the duration that `text` says; ValueError if it says none."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{text!r} is not a duration: write hours, minutes and seconds, as 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Return whole seconds of `duration` as hours, minutes and seconds: `1h30m`, `45s`, `0s`."""
    seconds = int(duration.total_seconds())
    parts = (seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
