"""A throw-away certificate authority and everybody's certificates, made once per cluster."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.cluster.layout import API_SERVICE_ADDRESS, Layout

LIFETIME: Final = timedelta(days=30)
API_NAMES: Final = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)


def ensure_pki(layout: Layout) -> Path:
    """Return the folder of keys and certificates, making it where there is none."""
    folder = layout.folder / "pki"
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = _Authority(folder)
    first = layout.nodes[0].address
    authority.issue(
        "apiserver",
        "kube-apiserver",
        names=API_NAMES,
        addresses=("127.0.0.1", first, API_SERVICE_ADDRESS),
    )
    authority.issue("admin", "admin", organisation="system:masters")
    authority.issue("controller-manager", "system:kube-controller-manager")
    authority.issue("scheduler", "system:kube-scheduler")
    authority.issue("proxy", "system:kube-proxy")
    authority.issue("front-proxy", "front-proxy-client")
    for node in layout.nodes:
        authority.issue(
            node.name,
            f"system:node:{node.name}",
            organisation="system:nodes",
            names=(node.name,),
            addresses=(node.address,),
        )
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_key(folder / "service-accounts.key", key)
    (folder / "service-accounts.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    (folder / "complete").touch()
    return folder


class _Authority:
    """Signs certificates into one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shieldx-cluster")])
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        _write_key(folder / "ca.key", self._key)
        (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        file: str,
        common_name: str,
        *,
        organisation: str | None = None,
        names: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> None:
        """Write `file`.key and `file`.crt, good for servers and clients."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organisation:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
        usage = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        builder = (
            self._builder(x509.Name(subject), key.public_key())
            .add_extension(usage, critical=False)
            .add_extension(_usage(authority=False), critical=True)
        )
        others: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        others += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        _write_key(self._folder / f"{file}.key", key)
        (self._folder / f"{file}.crt").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )

    def _builder(self, subject: x509.Name, key: rsa.RSAPublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + LIFETIME)
            # Python 3.13 verifies strictly: without these two it trusts no certificate.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
