"""`shieldx replay --prometheus`: what a real Prometheus remembers of two versions, judged."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from shieldx.__main__ import app
from tests.support.experiments import SPEC
from tests.support.exposed import Exposed
from tests.support.prometheus import SCRAPE_SECONDS, PrometheusServer

pytestmark = pytest.mark.timeout(300)

BUCKET = 2
PAST, TRIAL = 3, 8  # buckets


def experiment(folder: Path, **source: Any) -> Path:
    """Write an experiment down that reads from a Prometheus which is not the one that is asked."""
    there = {"url": "http://prometheus.monitoring:9090", "scrapeInterval": f"{SCRAPE_SECONDS}s"}
    spec = {
        **SPEC,
        "metrics": {**SPEC["metrics"], "source": source or {"prometheus": there}},
        "decision": {**SPEC["decision"], "bucket": f"{BUCKET}s"},
    }
    file = folder / "experiment.yaml"
    live = {"apiVersion": "shieldx.io/v1alpha1", "kind": "ShadowExperiment"}
    file.write_text(yaml.safe_dump({**live, "metadata": {"name": "trial"}, "spec": spec}))
    return file


def replayed(url: str, file: Path, begin: float, end: float, *arguments: str) -> Any:
    times = [f"{datetime.fromtimestamp(at, UTC):%FT%TZ}" for at in (begin, end)]
    asked = ["replay", "--prometheus", url, "--experiment", str(file), "--from", times[0]]
    return CliRunner().invoke(app, [*asked, "--to", times[1], *arguments])


async def test_the_past_of_two_versions_is_judged_as_if_it_were_present(
    prometheus: PrometheusServer, tmp_path: Path
) -> None:
    file = experiment(tmp_path)
    async with AsyncExitStack() as stack:
        names = ("shop-5d9c7b-x2x4p", "shop-5d9c7b-k8m1q", "shop-challenger-77f6c-9s2lw")
        pods = [await stack.enter_async_context(Exposed(name)) for name in names]
        other = await stack.enter_async_context(Exposed("till-5d9c7b-x2x4p"))
        for it in (*pods, other):
            it.counts.update({"200": 1, "500": 1})
        prometheus.scrape({"shop": {it.name: it.address for it in (*pods, other)}})
        await asyncio.to_thread(prometheus.start)
        begin = 0.0
        for bucket in range(PAST + TRIAL):
            if bucket == PAST:
                begin = time.time()
            for it in pods[: 2 if bucket < PAST else 3]:
                bad = 30 if it is pods[2] else 2
                it.counts.update({"200": 100 - bad, "500": bad})
            other.counts.update({"500": 1000})
            await asyncio.sleep(BUCKET)
        end = time.time()
        await asyncio.sleep(2 * SCRAPE_SECONDS)
        result = await asyncio.to_thread(
            replayed, prometheus.url, file, begin, end + 1, "-o", "json"
        )

    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["first"]["rollback"] is not None
    assert {each["blame"] for each in answer["buckets"]} == {None, "errors"}
    assert 3 <= len(answer["buckets"]) <= TRIAL + 1


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        ({"pods": {"port": 8080}}, (), "give it metrics.source.prometheus"),
        (
            {},
            ("--to", "2026-01-01T00:00:00Z"),
            "--from is when the challenger came, and before --to",
        ),
        ({}, (), "does not answer"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, source: Any, arguments: tuple[str, ...], said: str
) -> None:
    file, now = experiment(tmp_path, **source), time.time()
    result = replayed("http://127.0.0.1:1", file, now - 60, now, *arguments)

    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
