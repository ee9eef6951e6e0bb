"""A gateway reads the service's own variables, and says which of them is wrong."""

import ssl
from typing import Any

import pytest

from detector.gateway import options
from detector.gateway.options import known_to, security_of
from detector.service import settings
from detector.service.settings import Settings


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"DETECTOR_SECURITY_PROTOCOL": "SSL"},
        {
            "DETECTOR_SECURITY_PROTOCOL": "SASL_SSL",
            "DETECTOR_SASL_MECHANISM": "SCRAM-SHA-512",
            "DETECTOR_SASL_USERNAME": "gateway",
            "DETECTOR_SASL_PASSWORD": "secret",
        },
        {"DETECTOR_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "DETECTOR_SASL_USERNAME": "gateway"},
    ],
)
def test_gateway_and_service_mean_the_same_by_one_environment(environ: dict[str, str]) -> None:
    def comparable(options: dict[str, Any]) -> dict[str, Any]:
        shown = {name: value for name, value in options.items() if name != "bootstrap_servers"}
        return shown | ({"ssl_context": type(shown["ssl_context"])} if "ssl_context" in shown else {})

    service = Settings.from_sources({}, environ | {"DETECTOR_BOOTSTRAP": "kafka:9092"})

    assert comparable(security_of(environ)) == comparable(service.client_options())


def test_tls_checks_whom_it_speaks_to() -> None:
    context = security_of({"DETECTOR_SECURITY_PROTOCOL": "SSL"})["ssl_context"]

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DETECTOR_SECURITY_PROTOCOL": "TLS"}, "DETECTOR_SECURITY_PROTOCOL: expected one of"),
        ({"DETECTOR_SECURITY_PROTOCOL": "SASL_SSL"}, "DETECTOR_SASL_USERNAME: needed"),
        (
            {
                "DETECTOR_SECURITY_PROTOCOL": "SASL_SSL",
                "DETECTOR_SASL_USERNAME": "gateway",
                "DETECTOR_SASL_MECHANISM": "SCRAM",
            },
            "DETECTOR_SASL_MECHANISM: expected one of PLAIN, SCRAM-SHA-256",
        ),
        (
            {"DETECTOR_SECURITY_PROTOCOL": "SSL", "DETECTOR_SSL_CAFILE": "/no/such.pem"},
            "DETECTOR_SSL_CAFILE, _CERTFILE or _KEYFILE: ",
        ),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        security_of(environ)


def test_a_client_is_given_what_it_knows() -> None:
    class Client:
        def __init__(self, *, one: int) -> None: ...

    assert known_to(Client, {"one": 1, "two": 2}) == {"one": 1}


def test_the_service_knows_no_other_mechanism() -> None:
    assert options._MECHANISMS == settings._MECHANISMS
    assert options._PROTOCOLS == settings._PROTOCOLS
