"""What holds for every run: nothing is skipped, nothing outlives it, and speed judges nothing.

`make test` runs in several processes (`pytest-xdist`); what is said here of the end is said by
the one that the others work for.
"""

import signal
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests.support import processes

PATIENCE_SECONDS: Final = 10.0
# What mostly waits begins first, beside what works.
WAITING: Final = Path(__file__).parent / "prometheus"

settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")

_skipped: list[str] = []
_left_over: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Let whoever is told to end tidy up as after Ctrl-C, in the background of a shell too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if leads(config):
        processes.adopt()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.is_relative_to(WAITING))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if leads(session.config):
        _left_over.extend(processes.end(PATIENCE_SECONDS))
    if (_skipped or _left_over) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in dict.fromkeys(_skipped):
        terminalreporter.write_line(f"SKIPPED {name}: this fails the run, no test may be skipped")
    for command in _left_over:
        terminalreporter.write_line(f"LEFT OVER, killed: {command}: this fails the run")


def leads(config: pytest.Config) -> bool:
    """Return whether other processes run the tests for this one."""
    return bool(config.getoption("numprocesses", None))
