"""The demo: a cluster, a ledger with traffic, a bad version that goes, a good one that stays.

Its exit code is the truth: 0 only if both releases ended as they should and the checks passed.
"""

import os
import sys
import time
from typing import Any, Final

import helm_python
from rich.console import Console

from tests.demo.checks import books_are_clean, failures_were_decided, orders_are_credits
from tests.demo.narrator import ENDED, changes
from tests.support.cluster import ClusterError, cluster
from tests.support.install import install
from tests.support.shop import Shop

CHAMPION_ERRORS: Final = 0.005
BAD_ERRORS: Final = 0.05
RELEASE_SECONDS: Final = 600
TABLES: Final = ("get", "shadowexperiments,ledgers,experimentruns")
# How long steps last; the rule by which they are judged is the chart's, whatever the speed.
SPEEDS: Final[dict[str, dict[str, Any]]] = {
    "normal": {},
    "fast": {
        "steps": [{"weight": 25, "for": "15s"}, {"weight": 50, "for": "15s"}],
        "warmUp": "5s",
        "minDuration": "30s",
    },
}


class Demo:
    """Tells the story while it happens."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._began = time.monotonic()
        self._console = Console(highlight=False, soft_wrap=True)
        self._told: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """Print one line with the time since the beginning."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        self._console.print(f"[dim]{minutes:02}:{seconds:02}[/dim]  {text}")

    def chapter(self, title: str) -> None:
        """Begin a new part of the story."""
        self._console.print()
        self.say(f"[bold cyan]{title}[/bold cyan]")

    def show(self, *command: str) -> None:
        """Show a kubectl command and what it prints."""
        self.say(f"[dim]$[/dim] kubectl {' '.join(command)}")
        self._console.print(self._shop.kubectl(*command).rstrip(), markup=False)

    def tell(self, experiment: dict[str, Any]) -> bool:
        """Tell the whole story; return whether it went as it should."""
        self.open(experiment)
        as_told = self.release("v2", BAD_ERRORS, ends="RolledBack")
        as_told &= self.release("v3", CHAMPION_ERRORS, ends="Promoted")
        self.chapter("How it stands")
        self.show(*TABLES)
        return self.check(frozenset({"v1", "v2", "v3"})) and as_told

    def open(self, experiment: dict[str, Any]) -> None:
        """Install the shop and wait until customers buy."""
        self.chapter("A ledger, a shop that sells for its credits, customers, an experiment")
        self._shop.remove()
        self._shop.install({"experiment": experiment})
        self._shop.wait_for_ledger()
        self.say("the ledger serves")
        self._shop.wait_for_orders()
        self.say(f"the shop (v1, {CHAMPION_ERRORS:.1%} errors) serves, customers buy")
        self.show("get", "pods", "--output=wide")
        self.until("Idle", seconds=60)

    def release(self, version: str, error_rate: float, *, ends: str) -> bool:
        """Change the shop's pod template and watch what becomes of it."""
        self.chapter(f"Version {version} with {error_rate:.1%} errors; it should end {ends}")
        before = self._told.get("challenger")
        self.say(f"[dim]$[/dim] {self._shop.release(version, error_rate)}")
        phase = self.until(*ENDED, seconds=RELEASE_SECONDS, not_of=before)
        return phase == ends

    def until(self, *phases: str, seconds: float, not_of: str | None = None) -> str:
        """Tell every change until the experiment is in one of the phases; return the last one."""
        for status in self._shop.watch(seconds):
            for line in changes(self._told, status):
                self.say(line)
            self._told = status
            if status.get("phase") in phases and status.get("challenger") != (not_of or ""):
                break
        return str(self._told.get("phase"))

    def check(self, versions: frozenset[str]) -> bool:
        """Close the shop and count."""
        self.chapter("The shop closes; what remains is counted")
        counts = self._shop.stop_load()
        findings = (
            failures_were_decided(counts, versions),
            orders_are_credits(counts, self._shop.consumed()),
            books_are_clean(self._shop.verify()),
        )
        for finding in findings:
            sign = "[green]✓[/green]" if finding.passed else "[red]✗[/red]"
            self.say(f"{sign} {finding.check}: {finding.told}")
        return all(finding.passed for finding in findings)


def main() -> int:
    """Run the demo and return its exit code."""
    speed = os.environ.get("SPEED", "normal")
    if speed not in SPEEDS:
        sys.stderr.write(f"SPEED={speed} is unknown: use one of {', '.join(SPEEDS)}\n")
        return 2
    helm_python.disable_logging()
    place = cluster()
    demo = Demo(Shop(place))
    try:
        demo.chapter("A real Kubernetes with two nodes")
        place.up()
        demo.chapter("The operator: images, chart")
        install(place)
        as_it_should_be = demo.tell(SPEEDS[speed])
    except ClusterError as error:
        demo.say(f"[red]{error}[/red]")
        return 1
    demo.say("[bold green]as it should be[/bold green]" if as_it_should_be else "[red]FAILED[/red]")
    return 0 if as_it_should_be else 1


if __name__ == "__main__":
    sys.exit(main())
