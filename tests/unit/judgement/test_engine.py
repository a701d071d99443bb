"""What the engine of a run weighs a bucket by."""

from shieldx.judgement.engine import Engine
from shieldx.resources.shadowexperiment import ShadowExperimentSpec
from shieldx.signals.buckets import Bucket, MetricBucket
from shieldx.signals.states import EvidenceReason, EvidenceState
from shieldx.stats import Dispersion
from tests.support.experiments import SPEC


def uneven() -> Dispersion:
    """Return a past in which one pod of two failed much more often than chance explains."""
    dispersion = Dispersion()
    for _ in range(40):
        dispersion.add(champion={"a": (500.0, 2.0), "b": (500.0, 30.0)}, challenger={})
    return dispersion


def bucket(end: float) -> Bucket:
    champion, challenger = {"a": (500.0, 2.0), "b": (500.0, 3.0)}, {"c": (500.0, 30.0)}
    metric = MetricBucket(
        champion,
        challenger,
        (1000.0, 5.0, 500.0, 30.0),
        EvidenceState.SUFFICIENT,
        EvidenceReason.COUNTED,
        "counted",
    )
    return Bucket(end - 10, end, {"errors": metric}, (2, 0, 1, 0))


def test_evidence_is_divided_by_the_dispersion_of_the_buckets_before() -> None:
    spec = ShadowExperimentSpec.parse(SPEC)
    even = Engine.begin(spec, 0, {"errors": 0.005}, {})
    scattered = Engine.begin(spec, 0, {"errors": 0.005}, {"errors": uneven()})
    before = scattered.dispersions["errors"].phi
    rows = scattered.rows(spec, bucket(10))

    assert before > 2
    assert rows == {"errors": (1000.0, 5.0, 500.0, 30.0, before), "restarts": (2, 0, 1, 0)}
    harms = [
        engine.update(spec, bucket(10)).metrics["errors"].log_e_harm for engine in (even, scattered)
    ]
    assert harms[0] > harms[1] > 0


def test_rows_that_were_weighed_weigh_the_same_again() -> None:
    spec = ShadowExperimentSpec.parse(SPEC)
    live = Engine.begin(spec, 0, {"errors": 0.005}, {"errors": uneven()})
    again = Engine.begin(spec, 0, {"errors": 0.005}, {})
    for end in (10.0, 20.0, 30.0):
        rows = live.rows(spec, bucket(end))
        judged = live.update(spec, bucket(end))

        assert again.recall(spec, rows, end, harm_only=False) == judged
