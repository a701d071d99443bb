"""The certificates say who may call whom, and nobody else can read the keys."""

import stat

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.support.cluster.layout import API_SERVICE_ADDRESS, Layout
from tests.support.cluster.pki import ensure_pki


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("checkout"), 5)
    ensure_pki(made)
    return made


def certificate(layout: Layout, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((layout.folder / "pki" / f"{name}.crt").read_bytes())


def test_the_server_answers_for_every_name_that_it_is_called_by(layout: Layout) -> None:
    names = (
        certificate(layout, "apiserver")
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )

    called = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert called == {"127.0.0.1", API_SERVICE_ADDRESS, layout.nodes[0].address}
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)


def test_a_node_is_known_as_that_node(layout: Layout) -> None:
    subject = certificate(layout, "node2").subject

    (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    (group,) = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert (name.value, group.value) == ("system:node:node2", "system:nodes")


def test_every_certificate_is_signed_by_the_cluster_s_authority(layout: Layout) -> None:
    authority = certificate(layout, "ca")

    for file in (layout.folder / "pki").glob("*.crt"):
        certificate(layout, file.stem).verify_directly_issued_by(authority)


def test_keys_are_for_the_owner_only(layout: Layout) -> None:
    keys = list((layout.folder / "pki").glob("*.key"))

    assert len(keys) == 10
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_a_second_call_changes_nothing(layout: Layout) -> None:
    before = certificate(layout, "ca").serial_number
    ensure_pki(layout)

    assert certificate(layout, "ca").serial_number == before
