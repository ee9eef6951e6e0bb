"""A gateway reads the service's own variables, and says which of them is wrong."""

import ssl
from dataclasses import fields

import pytest

from detector.gateway import GatewayClient, TelemetrySender
from detector.gateway.options import Security, known_to
from detector.service.settings import Settings


@pytest.mark.parametrize("name", [each.name for each in fields(Security)])
def test_each_variable_means_to_a_gateway_what_it_means_to_the_service(name: str) -> None:
    value = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}.get(name, "given")
    environ = {"DETECTOR_SASL_USERNAME": "gateway", f"DETECTOR_{name.upper()}": value}
    if name.startswith("ssl"):
        environ["DETECTOR_SECURITY_PROTOCOL"] = "PLAINTEXT"  # or the file would be opened

    service = Settings.from_sources({}, environ | {"DETECTOR_BOOTSTRAP": "kafka:9092"})

    assert getattr(Security.from_environment(environ), name) == value
    assert getattr(service, name) == value


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
def test_clients_of_either_are_given_the_same(protocol: str) -> None:
    environ = {
        "DETECTOR_SECURITY_PROTOCOL": protocol,
        "DETECTOR_SASL_USERNAME": "gateway",
        "DETECTOR_SASL_PASSWORD": "secret",
    }

    gateway = Security.from_environment(environ).client_options()
    service = Settings.from_sources({}, environ | {"DETECTOR_BOOTSTRAP": "kafka:9092"}).client_options()

    assert {"bootstrap_servers", *gateway} == {*service}
    assert all(service[name] == value for name, value in gateway.items() if name != "ssl_context")
    assert ("ssl_context" in gateway) == protocol.endswith("SSL")
    assert ("sasl_plain_password" in gateway) == protocol.startswith("SASL")


def test_tls_checks_whom_it_speaks_to() -> None:
    context = Security(security_protocol="SSL").ssl_context()

    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Security(sasl_password="secret"))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DETECTOR_SECURITY_PROTOCOL": "TLS"}, "DETECTOR_SECURITY_PROTOCOL: expected one of PLAINTEXT, SSL"),
        ({"DETECTOR_SECURITY_PROTOCOL": "SASL_SSL"}, "DETECTOR_SASL_USERNAME: needed for SASL_SSL"),
        (
            {"DETECTOR_SASL_MECHANISM": "SCRAM"},
            "DETECTOR_SASL_MECHANISM: expected one of PLAIN, SCRAM-SHA-256",
        ),
        (
            {"DETECTOR_SECURITY_PROTOCOL": "SSL", "DETECTOR_SSL_CAFILE": "/no/such.pem"},
            "DETECTOR_SSL_CAFILE, DETECTOR_SSL_CERTFILE or DETECTOR_SSL_KEYFILE: ",
        ),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Security.from_environment(environ)


def test_a_client_is_given_what_it_knows() -> None:
    class Client:
        def __init__(self, *, one: int) -> None: ...

    assert known_to(Client, {"one": 1, "two": 2}) == {"one": 1}


async def test_client_and_sender_take_the_same_options_and_refuse_the_same() -> None:
    """A misspelt one would be left out without a word, security among them."""
    both = {"fetch_max_wait_ms": 10, "linger_ms": 1, "security_protocol": "PLAINTEXT"}
    GatewayClient("kafka:9092", "gw", client_options=both)
    TelemetrySender("kafka:9092", client_options=both)

    with pytest.raises(TypeError, match="unknown client options: security_protokol"):
        GatewayClient("kafka:9092", "gw", client_options={"security_protokol": "SSL"})
    with pytest.raises(TypeError, match="unknown client options: security_protokol"):
        TelemetrySender("kafka:9092", client_options={"security_protokol": "SSL"})
