"""Log lines are one JSON object each."""

import json
import logging
import sys

from shieldx.telemetry import JsonFormatter


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.WARNING, "f.py", 1, message, arguments, None)
    vars(made).update(extra)
    return made


def test_a_line_says_when_what_and_from_where() -> None:
    line = json.loads(JsonFormatter().format(record("moved %s", "héllo\nworld", shard="s0")))

    assert line["level"] == "warning"
    assert line["logger"] == "a.b"
    assert line["message"] == "moved héllo\nworld"
    assert line["shard"] == "s0"
    assert line["time"].endswith("+00:00")


def test_a_line_is_one_line_also_with_a_traceback() -> None:
    failed = record("failed")
    try:
        int("on purpose")
    except ValueError:
        failed.exc_info = sys.exc_info()

    text = JsonFormatter().format(failed)

    assert "\n" not in text
    assert "on purpose" in json.loads(text)["exception"]
