"""Which source reads what the spec of an experiment asks for."""

import aiohttp

from shieldx.resources.shadowexperiment import PodsEndpoint, PrometheusServer, Source
from shieldx.signals.pods import PodsSource
from shieldx.signals.prometheus import PrometheusSource
from shieldx.signals.prometheus_server import Prometheuses
from shieldx.signals.readings import MetricSource
from shieldx.signals.relays import RelaysSource


def open_session() -> aiohttp.ClientSession:
    """Return the session that serves all experiments, as many pods at once as there are.

    Were their number bounded, a hundred pods that hang would let no others be read in time.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def source_of(
    source: Source, session: aiohttp.ClientSession, prometheuses: Prometheuses
) -> MetricSource:
    """Return the source; `session` and `prometheuses` serve all experiments."""
    return RelaysSource(session, _source_of(source, session, prometheuses))


def _source_of(
    source: Source, session: aiohttp.ClientSession, prometheuses: Prometheuses
) -> MetricSource:
    match source:
        case PodsEndpoint(port, path):
            return PodsSource(session, port=port, path=path)
        case PrometheusServer():
            return PrometheusSource(
                prometheuses.at(source.url),
                match_labels=source.match_labels,
                pod_label=source.pod_label,
                scrape_interval_seconds=source.scrape_interval.total_seconds(),
            )
