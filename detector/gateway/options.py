"""What aiokafka's clients are given: security by the service's own variables, each client what it knows."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from aiokafka.helpers import create_ssl_context

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


def known_to(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a client's constructor takes."""
    known = signature(kind).parameters
    return {name: value for name, value in options.items() if name in known}


def security_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """Security for aiokafka's clients from `DETECTOR_SECURITY_PROTOCOL`, `_SASL_*` and `_SSL_*FILE`.

    Raises:
        ValueError: a protocol or a mechanism that is not known, SASL without a user, or a file that cannot be
            read.
    """
    protocol = environ.get("DETECTOR_SECURITY_PROTOCOL") or "PLAINTEXT"
    if protocol not in _PROTOCOLS:
        raise ValueError(
            f"DETECTOR_SECURITY_PROTOCOL: expected one of {', '.join(_PROTOCOLS)}, got {protocol!r}"
        )
    options: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        files = {
            name: environ.get(f"DETECTOR_SSL_{name.upper()}") or None
            for name in ("cafile", "certfile", "keyfile")
        }
        try:
            options["ssl_context"] = create_ssl_context(**files)
        except OSError as error:
            raise ValueError(f"DETECTOR_SSL_CAFILE, _CERTFILE or _KEYFILE: {error}") from None
    if protocol.startswith("SASL"):
        user = environ.get("DETECTOR_SASL_USERNAME")
        if not user:
            raise ValueError(f"DETECTOR_SASL_USERNAME: needed for {protocol}")
        mechanism = environ.get("DETECTOR_SASL_MECHANISM") or "PLAIN"
        if mechanism not in _MECHANISMS:
            raise ValueError(
                f"DETECTOR_SASL_MECHANISM: expected one of {', '.join(_MECHANISMS)}, got {mechanism!r}"
            )
        options |= {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": user,
            "sasl_plain_password": environ.get("DETECTOR_SASL_PASSWORD", ""),
        }
    return options
