"""The webhook's own certificate authority and its leaves: how they are made, and when renewed.

The authority lives for years and is replaced long before it ends; for a while both are trusted.
A leaf lives for 90 days and is replaced after two thirds. Whoever looks first writes: the Secrets
are written by compare-and-set, and who loses takes what the winner wrote.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME: Final = timedelta(days=3650)
LEAF_LIFETIME: Final = timedelta(days=90)
# What part of a lifetime may pass before there must be a successor.
RENEW_AFTER: Final = 2 / 3
# Clocks of machines differ.
BACKDATE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    @classmethod
    def authority(cls, now: datetime, lifetime: timedelta = AUTHORITY_LIFETIME) -> Self:
        """Make a certificate authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shieldx webhook authority")])
        public = key.public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    @classmethod
    def leaf(
        cls, authority: "Pair", hosts: list[str], now: datetime, lifetime: timedelta = LEAF_LIFETIME
    ) -> Self:
        """Make a serving certificate for `hosts`, signed by `authority`."""
        issuer = x509.load_pem_x509_certificate(authority.certificate)
        signer = serialization.load_pem_private_key(authority.key, password=None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not one of ours: delete its Secret")
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        return cls(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    def due(self, now: datetime) -> bool:
        """Whether it is time for a successor."""
        certificate = x509.load_pem_x509_certificate(self.certificate)
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return now >= begins + (ends - begins) * RENEW_AFTER

    def signed(self, leaf: "Pair") -> bool:
        """Whether this authority's key signed `leaf`."""
        issuer = x509.load_pem_x509_certificate(self.certificate)
        try:
            x509.load_pem_x509_certificate(leaf.certificate).verify_directly_issued_by(issuer)
        except Exception:  # noqa: BLE001 - any failure to verify is a no.
            return False
        return True


@dataclass(frozen=True, slots=True)
class Trust:
    """The authority that signs, and the one before, which is still trusted."""

    current: Pair
    previous: bytes = b""

    @property
    def bundle(self) -> bytes:
        """All certificates that callers must trust, as PEM."""
        return self.current.certificate + self.previous

    def renewed(self, now: datetime) -> "Trust":
        """Return the trust with a new authority where it is time, itself otherwise."""
        if not self.current.due(now):
            return self
        return Trust(Pair.authority(now), self.current.certificate)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
