"""Logs as one JSON object a line, on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, override

# What every LogRecord has; anything else came in through `extra=` and is worth printing.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Prints time, level, logger, message, and the plain values of `extra`."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            key: value
            for key, value in vars(record).items()
            if key not in _STANDARD and isinstance(value, str | int | float | bool)
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Quiet(logging.Filter):
    """Drops kopf's success message for every single event."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or "succeeded" not in record.getMessage()


def configure_logging(level: int = logging.INFO) -> None:
    """Send every log line of this process through `JsonFormatter`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("kopf.objects").addFilter(_Quiet())
