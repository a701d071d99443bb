"""Two checkouts on one machine never share a name or an address."""

import ipaddress
from pathlib import Path

import pytest

from tests.support.cluster.errors import ClusterError
from tests.support.cluster.layout import SLOTS, Layout, free_slot, networks_of, preferred_slot

HERE = Layout(Path("/a/checkout"), preferred_slot(Path("/a/checkout")))


def test_names_come_from_the_path_of_the_checkout() -> None:
    other = Layout(Path("/another/checkout"), HERE.slot)

    assert HERE.identity == Layout(Path("/a/checkout"), 0).identity
    assert HERE.link != other.link
    assert HERE.cgroup != other.cgroup


def test_the_name_of_the_link_is_short_enough_for_the_kernel() -> None:
    assert len(HERE.link) <= 15


def test_no_two_blocks_of_addresses_overlap() -> None:
    blocks = [Layout(Path("/x"), slot).network for slot in range(SLOTS)]

    assert not any(
        one.overlaps(other) for at, one in enumerate(blocks) for other in blocks[at + 1 :]
    )


def test_every_address_is_one_that_is_routed_nowhere() -> None:
    documentation = [
        ipaddress.IPv4Network(network)
        for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")  # RFC 5737
    ]

    for slot in range(SLOTS):
        network = Layout(Path("/x"), slot).network
        assert any(network.subnet_of(whole) for whole in documentation)


def test_host_and_nodes_have_different_addresses_of_one_block() -> None:
    addresses = [HERE.host_address, *(node.address for node in HERE.nodes)]

    assert len(set(addresses)) == 3
    assert all(ipaddress.ip_address(address) in HERE.network for address in addresses)


def test_the_preferred_block_is_always_the_same() -> None:
    first, second = (preferred_slot(Path("/a/checkout")) for _ in range(2))

    assert first == second
    assert 0 <= first < SLOTS


def test_the_server_is_the_first_node() -> None:
    assert HERE.server == f"https://{HERE.nodes[0].address}:6443"


def test_a_preferred_block_that_is_free_is_taken() -> None:
    assert free_slot(7, []) == 7


def test_blocks_that_overlap_a_network_of_the_machine_are_passed_over() -> None:
    last_network = networks_of("eth0 UP 192.0.2.2/24 \n")

    assert free_slot(SLOTS - 16, last_network) == 0
    assert free_slot(3, [Layout(Path("/x"), 3).network]) == 4


def test_a_machine_without_a_free_block_is_told_so() -> None:
    with pytest.raises(ClusterError, match="every block of addresses is taken"):
        free_slot(0, [ipaddress.IPv4Network("0.0.0.0/0")])


def test_the_machine_s_networks_are_read_from_what_ip_says() -> None:
    said = "lo UNKNOWN 127.0.0.1/8\nsx-1@if3 UP 198.51.100.1/28 203.0.113.5/32\nifb0 DOWN\n"

    assert [str(network) for network in networks_of(said)] == [
        "127.0.0.0/8",
        "198.51.100.0/28",
        "203.0.113.5/32",
    ]


def test_a_node_has_the_same_mac_after_every_start_and_no_two_share_one() -> None:
    first, second = HERE.nodes

    assert first.mac == Layout(HERE.checkout, HERE.slot).nodes[0].mac
    assert first.mac != second.mac
    assert int(first.mac[:2], 16) & 0b11 == 0b10  # given locally, of one machine
