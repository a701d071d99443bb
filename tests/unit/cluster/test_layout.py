"""Two checkouts on one machine never share a name or an address."""

import ipaddress
from pathlib import Path

from tests.support.cluster.layout import SLOTS, Layout, preferred_slot

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
