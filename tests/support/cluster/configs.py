"""The configuration of every program of a node: pure functions from the layout to texts."""

import json
from collections.abc import Mapping
from typing import Final

from tests.support.cluster.layout import (
    API_PORT,
    DNS_ADDRESS,
    NODE_DISK,
    NODE_PROGRAMS,
    POD_NETWORK,
    SERVICE_NETWORK,
    Layout,
    Node,
)

CONTAINERD_SOCKET: Final = "/run/containerd.sock"
PKI: Final = f"{NODE_DISK}/pki"
KUBECONFIGS: Final = f"{NODE_DISK}/kubeconfigs"
PAUSE_IMAGE: Final = "localhost/pause:1"
VOLUMES: Final = f"{NODE_DISK}/volumes"


def kubeconfig(server: str, user: str, pki: str) -> str:
    """Return a kubeconfig of one user, whose files lie in the folder `pki`."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "shieldx",
                    "cluster": {"server": server, "certificate-authority": f"{pki}/ca.crt"},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate": f"{pki}/{user}.crt",
                        "client-key": f"{pki}/{user}.key",
                    },
                }
            ],
            "contexts": [{"name": "shieldx", "context": {"cluster": "shieldx", "user": user}}],
            "current-context": "shieldx",
        },
        indent=1,
    )


def containerd() -> str:
    """Return containerd's configuration, of version 2, which containerd 1.6 to 2.x read."""
    return f"""\
version = 2
root = "{NODE_DISK}/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # A node's root has no CAP_SYS_RESOURCE: without this no sandbox would start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{NODE_DISK}/cni"
"""


def cni(node: Node) -> str:
    """Return the pod network: point-to-point links, addresses counted on the node itself."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": "/run/cni",
                        "ranges": [[{"subnet": node.pods}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
    )


def kubelet(node: Node) -> str:
    """Return the kubelet's configuration; JSON is YAML."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": node.address,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{PKI}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            "failCgroupV1": False,
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": "cluster.local",
            "tlsCertFile": f"{PKI}/{node.name}.crt",
            "tlsPrivateKeyFile": f"{PKI}/{node.name}.key",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "resolvConf": "/etc/resolv.conf",
            "volumePluginDir": f"{NODE_DISK}/plugins",
            "podLogsDir": f"{NODE_DISK}/pod-logs",
        },
        indent=1,
    )


def control_plane(node: Node) -> Mapping[str, list[str]]:
    """Return the commands of etcd, API server, controllers and scheduler, in starting order."""
    return {
        "etcd": [
            f"{NODE_PROGRAMS}/etcd",
            f"--data-dir={NODE_DISK}/etcd",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            "--unsafe-no-fsync",  # nobody's data: it goes with the cluster
            "--log-level=warn",
        ],
        "kube-apiserver": [
            f"{NODE_PROGRAMS}/kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            f"--advertise-address={node.address}",
            f"--secure-port={API_PORT}",
            f"--client-ca-file={PKI}/ca.crt",
            f"--tls-cert-file={PKI}/apiserver.crt",
            f"--tls-private-key-file={PKI}/apiserver.key",
            f"--service-account-key-file={PKI}/service-accounts.pub",
            f"--service-account-signing-key-file={PKI}/service-accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--enable-admission-plugins=NodeRestriction",
            f"--kubelet-client-certificate={PKI}/admin.crt",
            f"--kubelet-client-key={PKI}/admin.key",
            f"--requestheader-client-ca-file={PKI}/ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={PKI}/front-proxy.crt",
            f"--proxy-client-key-file={PKI}/front-proxy.key",
            "--enable-aggregator-routing=true",
        ],
        "kube-controller-manager": [
            f"{NODE_PROGRAMS}/kube-controller-manager",
            f"--kubeconfig={KUBECONFIGS}/controller-manager",
            f"--service-account-private-key-file={PKI}/service-accounts.key",
            f"--root-ca-file={PKI}/ca.crt",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--cluster-signing-cert-file={PKI}/ca.crt",
            f"--cluster-signing-key-file={PKI}/ca.key",
            "--allocate-node-cidrs=false",
        ],
        "kube-scheduler": [
            f"{NODE_PROGRAMS}/kube-scheduler",
            f"--kubeconfig={KUBECONFIGS}/scheduler",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
    }


def machine(node: Node) -> Mapping[str, list[str]]:
    """Return the commands that every node runs, in starting order."""
    return {
        "kubelet": [
            f"{NODE_PROGRAMS}/kubelet",
            f"--kubeconfig={KUBECONFIGS}/{node.name}",
            f"--config={NODE_DISK}/kubelet.yaml",
            f"--root-dir={NODE_DISK}/kubelet",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
        ],
        "kube-proxy": [
            f"{NODE_PROGRAMS}/kube-proxy",
            f"--kubeconfig={KUBECONFIGS}/proxy",
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_NETWORK}",
            f"--hostname-override={node.name}",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        # A firewall only: it enforces NetworkPolicies. It exits unless its node exists.
        "kube-router": [
            f"{NODE_PROGRAMS}/kube-router",
            f"--kubeconfig={KUBECONFIGS}/admin",
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            f"--hostname-override={node.name}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--health-port=0",
        ],
    }


def hosts(layout: Layout) -> str:
    """Return /etc/hosts of a node: logs and exec find nodes by name."""
    lines = ["127.0.0.1 localhost", *(f"{node.address} {node.name}" for node in layout.nodes)]
    return "\n".join(lines) + "\n"
