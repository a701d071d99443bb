"""Plays all stories, some times each, and writes docs/scenarios.md; 0 only if all went well."""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import helm_python

from tests.scenarios import kept, prometheus
from tests.scenarios.page import page
from tests.scenarios.shops import Shop
from tests.scenarios.stories import BLIND, STORIES, Run, Story, Told, play
from tests.scenarios.watching import Watch
from tests.support.cluster import Cluster, cluster, images
from tests.support.install import install
from tests.support.namespace import Namespace

PAGE: Final = Path(__file__).parents[2] / "docs" / "scenarios.md"
# So long only the champion serves at first, so that there are the ten buckets of a past.
PAST_SECONDS: Final = 130
OPENED_AT_ONCE: Final = 3

_writing = threading.Lock()

type Hear = Callable[[Told], None]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scenarios", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each story, beside each other")
    parser.add_argument("--rate", type=int, default=100, help="requests a second of each shop")
    parser.add_argument(
        "--only", nargs="*", help="keys of stories; of the others the page keeps what it has"
    )
    parser.add_argument("--prefix", default="scenarios", help="of the namespaces")
    asked = parser.parse_args()
    helm_python.disable_logging()
    stories = [it for it in (*STORIES, BLIND) if not asked.only or it.key in asked.only]
    place = cluster()
    place.up()
    install(place)
    tales: list[Told] = []

    def hear(told: Told) -> None:
        """Write the page anew with every tale, so that what was seen is there whatever comes."""
        with _writing:
            now = datetime.now(UTC)
            told = replace(told, ended_at=f"{now:%Y-%m-%d %H:%M}", load=os.getloadavg()[1])
            tales.append(told)
            print(f"{now:%H:%M:%S} {json.dumps(kept.facts(told))}", flush=True)
            everything = [*(it for it in kept.read() if it.of.story not in stories), *tales]
            kept.write(everything)
            PAGE.write_text(page(everything))

    tell(place, stories, hear, asked)
    return int(any(it.faults for it in tales))


def tell(place: Cluster, stories: Sequence[Story], hear: Hear, asked: argparse.Namespace) -> None:
    """Play the stories one after the other in each shop, that of the Prometheus beside them."""
    runs, rate, prefix = asked.runs, asked.rate, asked.prefix
    with ExitStack() as stack:
        seen = [it for it in stories if it != BLIND]
        shops, blind = [], []
        watch = stack.enter_context(Watch(place))
        if seen:
            for run in range(1, runs + 1):
                world = stack.enter_context(Namespace.made(place, f"{prefix}-{run}"))
                shops.append(Shop(world, rate=rate, source={"pods": {"port": 8080}}))
        if BLIND in stories:
            place.load(prometheus.IMAGE, images.build(prometheus.IMAGE))
            server = stack.enter_context(Namespace.made(place, f"{prefix}-prometheus"))
            stack.callback(prometheus.uninstall, server)
            prometheus.install(server)
            for run in range(1, runs + 1):
                world = stack.enter_context(Namespace.made(place, f"{prefix}-blind-{run}"))
                source = prometheus.source(server, world.name)
                blind.append(Shop(world, rate=rate // 2, source=source))
            outage = prometheus.Outage(server, runs)
        with ThreadPoolExecutor(OPENED_AT_ONCE) as opening:
            list(opening.map(Shop.open, [*shops, *blind]))
        print(f"{len(shops) + len(blind)} shops are open", flush=True)
        time.sleep(PAST_SECONDS)
        with ThreadPoolExecutor(2 * runs) as playing:
            going = [
                playing.submit(
                    _one_after_the_other, shop, watch, hear, [Run(it, number) for it in seen]
                )
                for number, shop in enumerate(shops, start=1)
            ]
            going += [
                playing.submit(_blind, shop, watch, hear, outage, Run(BLIND, number))
                for number, shop in enumerate(blind, start=1)
            ]
            for one in going:
                one.result()


def _one_after_the_other(shop: Shop, watch: Watch, hear: Hear, runs: Sequence[Run]) -> None:
    for run in runs:
        hear(replace(play(shop, watch, run), rate=shop.rate))


def _blind(shop: Shop, watch: Watch, hear: Hear, outage: prometheus.Outage, run: Run) -> None:
    hear(replace(prometheus.play(shop, watch, outage, run), rate=shop.rate))


if __name__ == "__main__":
    sys.exit(main())
