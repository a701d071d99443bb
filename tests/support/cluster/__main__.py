"""The commands: up, down, status, images; for tests also in, lose, start, cut, heal."""

import argparse
import sys

from tests.support.cluster.choose import KINDS, cluster
from tests.support.cluster.errors import ClusterError
from tests.support.cluster.layout import NODES
from tests.support.cluster.local import LocalCluster


def main() -> None:
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    parser.add_argument("--cluster", choices=KINDS, help="default: $CLUSTER, else auto")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="make the cluster, or repair it")
    commands.add_parser("down", help="remove it and everything in it")
    commands.add_parser("status", help="say what there is")
    commands.add_parser("images", help="build the product's images and load them")
    for name, about in (
        ("lose", "take a node away, as a power cut does"),
        ("start", "switch a lost node on again"),
        ("cut", "take a node's network away"),
        ("heal", "give it back"),
        ("in", "run a command inside a node"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("node", choices=NODES)
        if name == "in":
            command.add_argument("words", nargs=argparse.REMAINDER)
    try:
        _run(parser.parse_args())
    except ClusterError as problem:
        sys.exit(f"{problem}")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(arguments: argparse.Namespace) -> None:
    it = cluster(arguments.cluster)
    match arguments.command:
        case "up":
            it.up()
            print(f"export KUBECONFIG={it.kubeconfig}")
        case "down":
            it.down()
        case "images":
            it.load_images()
        case verb if isinstance(it, LocalCluster):
            if verb == "status":
                print(it.status())
            elif verb == "in":
                print(it.exec_in_node(arguments.node, *arguments.words), end="")
            else:
                getattr(it, verb)(arguments.node)
        case "status":
            print(it.kubectl("get", "nodes", "--output=wide"))
        case verb:
            raise ClusterError(f"{verb} works on the local cluster only (CLUSTER=local)")


if __name__ == "__main__":
    main()
