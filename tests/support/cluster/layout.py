"""Where the cluster of one checkout lives: folders, names, addresses. All derived, nothing fixed.

Two checkouts can have a cluster each: names and addresses come from a hash of the checkout's
path. Addresses lie in the networks that are reserved for documentation (RFC 5737), which are
routed nowhere.
"""

import hashlib
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.cluster.errors import ClusterError

CHECKOUT: Final = Path(__file__).resolve().parents[3]
NODES: Final = ("node1", "node2")
POD_NETWORK: Final = "10.244.0.0/16"
SERVICE_NETWORK: Final = "10.96.0.0/16"
DNS_ADDRESS: Final = "10.96.0.10"
API_SERVICE_ADDRESS: Final = "10.96.0.1"
API_PORT: Final = 6443
# Inside a node: its disk and the programs, at short paths (a socket's path has 107 bytes).
NODE_DISK: Final = "/run/node"
NODE_PROGRAMS: Final = "/run/programs"

_DOCUMENTATION: Final = ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")
_PREFIX: Final = 28
_BLOCKS: Final = 16  # of that size in one of the networks
SLOTS: Final = len(_DOCUMENTATION) * _BLOCKS


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster."""

    name: str
    address: str
    pods: str

    @property
    def mac(self) -> str:
        """The same after every start: a neighbour that remembers it finds the machine at once."""
        return ":".join(
            f"{byte:02x}" for byte in (2, 0, *ipaddress.ip_address(self.address).packed)
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that distinguishes this checkout's cluster from others on the machine."""

    checkout: Path
    slot: int

    @property
    def identity(self) -> str:
        return hashlib.sha256(str(self.checkout).encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path:
        return self.checkout / ".run" / "cluster"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def link(self) -> str:
        """The host's end of the one link between host and cluster."""
        return f"sx-{self.identity}"

    @property
    def cgroup(self) -> str:
        return f"shieldx-{self.identity}"

    @property
    def network(self) -> ipaddress.IPv4Network:
        block, index = divmod(self.slot % SLOTS, _BLOCKS)
        whole = ipaddress.IPv4Network(_DOCUMENTATION[block])
        return list(whole.subnets(new_prefix=_PREFIX))[index]

    @property
    def host_address(self) -> str:
        return str(self.network[1])

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(
            Node(name, str(self.network[index + 1]), f"10.244.{index}.0/24")
            for index, name in enumerate(NODES, start=1)
        )

    @property
    def server(self) -> str:
        return f"https://{self.nodes[0].address}:{API_PORT}"

    def disk(self, node: str) -> Path:
        return self.folder / "disks" / node

    def wanted(self, node: str) -> Path:
        """A file that exists while the node shall be up."""
        return self.folder / "wanted" / node


def preferred_slot(checkout: Path) -> int:
    """Return the block of addresses that a checkout takes if nobody has it."""
    return int.from_bytes(hashlib.sha256(f"net {checkout}".encode()).digest()[:4]) % SLOTS


def networks_of(addresses: str) -> list[ipaddress.IPv4Network]:
    """Return the networks that a machine is in, from `ip -4 -brief address`."""
    return [
        ipaddress.IPv4Interface(word).network
        for line in addresses.splitlines()
        for word in line.split()[2:]
        if "/" in word
    ]


def free_slot(preferred: int, taken: Sequence[ipaddress.IPv4Network]) -> int:
    """Return the first block from `preferred` on that overlaps none of the machine's networks."""
    for offset in range(SLOTS):
        slot = (preferred + offset) % SLOTS
        if not any(Layout(CHECKOUT, slot).network.overlaps(network) for network in taken):
            return slot
    raise ClusterError("every block of addresses is taken: end a cluster of another checkout")


def cache_folder() -> Path:
    """Return where builds are kept for all checkouts."""
    if chosen := os.environ.get("SHIELDX_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shieldx"
