"""One holder at a time: by a Lease in memory, and clocks that the test turns."""

import copy
from typing import Any

import pytest

from shieldx.kube import Cluster, ConflictError, UnreachableError
from shieldx.lease import DURATION_SECONDS, GIVE_UP_SECONDS, RENEW_SECONDS, Lease


class OneLease(Cluster):
    """A cluster that holds a Lease, gives each version a number, and can fall silent."""

    def __init__(self) -> None:
        self.live: dict[str, Any] | None = None
        self.silent = False

    async def get(self, *_: Any) -> dict[str, Any] | None:
        if self.silent:
            raise UnreachableError("silence")
        return copy.deepcopy(self.live)

    async def create(self, manifest: dict[str, Any]) -> bool:
        if self.live is not None:
            return False
        self.live = copy.deepcopy(manifest)
        self.live["metadata"]["resourceVersion"] = "1"
        return True

    async def patch(self, *arguments: Any, **options: Any) -> dict[str, Any] | None:
        assert self.live is not None
        metadata = self.live["metadata"]
        if options["resource_version"] != metadata["resourceVersion"]:
            raise ConflictError("changed")
        self.live["spec"] |= arguments[4]["spec"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        return self.live

    @property
    def holder(self) -> str:
        assert self.live is not None
        return str(self.live["spec"]["holderIdentity"])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cluster() -> OneLease:
    return OneLease()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sleepless(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeping turns the clock and takes no time."""

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr("shieldx.lease.asyncio.sleep", sleep)


def lease(cluster: Cluster, clock: Clock, identity: str) -> Lease:
    return Lease(cluster, "ns", "operator", identity=identity, monotonic=clock)


async def test_the_first_takes_it_and_the_second_does_not(cluster: OneLease, clock: Clock) -> None:
    assert await lease(cluster, clock, "a")._try()
    assert not await lease(cluster, clock, "b")._try()

    assert cluster.holder == "a"


@pytest.mark.usefixtures("sleepless")
async def test_a_holder_that_is_silent_is_followed_but_not_before_its_time(
    cluster: OneLease, clock: Clock
) -> None:
    await lease(cluster, clock, "a").acquire()

    await lease(cluster, clock, "b").acquire()

    assert cluster.holder == "b"
    assert clock.now > DURATION_SECONDS


async def test_a_holder_that_renews_is_never_followed(cluster: OneLease, clock: Clock) -> None:
    holder, follower = lease(cluster, clock, "a"), lease(cluster, clock, "b")
    await holder.acquire()

    for _ in range(30):
        clock.now += RENEW_SECONDS
        assert await holder._try()
        assert not await follower._try()


@pytest.mark.usefixtures("sleepless")
async def test_a_holder_without_an_api_server_gives_up_before_a_follower_may_begin(
    cluster: OneLease, clock: Clock
) -> None:
    holder = lease(cluster, clock, "a")
    await holder.acquire()
    cluster.silent = True

    await holder.keep()

    assert holder.lost.is_set()
    assert GIVE_UP_SECONDS <= clock.now <= DURATION_SECONDS - RENEW_SECONDS


@pytest.mark.usefixtures("sleepless")
async def test_a_holder_that_finds_another_one_stops_at_once(
    cluster: OneLease, clock: Clock
) -> None:
    holder = lease(cluster, clock, "a")
    await holder.acquire()
    assert cluster.live is not None
    cluster.live["spec"]["holderIdentity"] = "b"

    await holder.keep()

    assert holder.lost.is_set()
    assert clock.now == RENEW_SECONDS


async def test_a_lease_that_was_given_back_is_free_at_once(cluster: OneLease, clock: Clock) -> None:
    holder = lease(cluster, clock, "a")
    await holder.acquire()

    await holder.release()

    assert await lease(cluster, clock, "b")._try()


async def test_only_the_holder_gives_it_back(cluster: OneLease, clock: Clock) -> None:
    await lease(cluster, clock, "a").acquire()

    await lease(cluster, clock, "b").release()

    assert cluster.holder == "a"


async def test_of_two_that_write_at_once_one_wins(cluster: OneLease, clock: Clock) -> None:
    await lease(cluster, clock, "a").acquire()
    stale = copy.deepcopy(cluster.live)
    assert stale is not None
    await lease(cluster, clock, "a")._try()

    assert not await lease(cluster, clock, "b")._write(stale, {"holderIdentity": "b"})
    assert cluster.holder == "a"
