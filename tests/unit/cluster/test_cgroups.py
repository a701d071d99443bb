"""Where a cluster's control groups are, by what the kernel says about this process."""

from tests.support.cluster.cgroups import parse


def test_with_version_1_there_is_a_tree_per_controller() -> None:
    lines = "9:name=systemd:/\n4:memory:/jobs/7\n1:cpu:/\n0::/\n"

    assert parse(lines) == [("systemd", "/"), ("memory", "/jobs/7"), ("cpu", "/")]


def test_controllers_that_share_a_tree_are_one_tree() -> None:
    assert parse("2:cpu,cpuacct:/x\n") == [("cpu,cpuacct", "/x")]


def test_with_version_2_there_is_one_tree() -> None:
    assert parse("0::/user.slice/session-1.scope\n") == [("", "/user.slice/session-1.scope")]
