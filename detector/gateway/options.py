"""What Kafka's clients are given: security, the same for gateways and service, and to each what it knows."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def known_to(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a client's constructor takes."""
    known = signature(kind).parameters
    return {name: value for name, value in options.items() if name in known}


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """See that each is one of a consumer or a producer: the rest would be left out without a word.

    Raises:
        TypeError: an option that no client knows.
    """
    known = known_to(AIOKafkaConsumer, options) | known_to(AIOKafkaProducer, options)
    if unknown := options.keys() - known:
        raise TypeError(f"unknown client options: {', '.join(sorted(unknown))}")


class SecurityError(ValueError):
    """Security that cannot be used: `names` of the settings, and `what` is wrong with them."""

    def __init__(self, what: str, *names: str) -> None:
        super().__init__(f"{_listed(names)}: {what}")
        self.what, self.names = what, names


@dataclass(frozen=True, slots=True)
class Security:
    """How brokers are spoken to; empty text: not set. A service's settings have the same names.

    Attributes:
        ssl_cafile, ssl_certfile, ssl_keyfile: PEM files; without a CA file the system's store is used.
    """

    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """What `DETECTOR_SECURITY_PROTOCOL` and its kin say; empty ones are not set.

        Raises:
            ValueError: it cannot be used; the variables are named.
        """
        given = {each.name: environ.get(_variable(each.name)) for each in fields(cls)}
        made = cls(**{name: value for name, value in given.items() if value})
        try:
            made.check()
            made.ssl_context()
        except SecurityError as error:
            names = [_variable(name) for name in error.names]
            raise ValueError(f"{_listed(names)}: {error.what}") from None
        return made

    def check(self) -> None:
        """See that all but the files can be used.

        Raises:
            SecurityError: a protocol or a mechanism that is not known, or SASL without a user.
        """
        if self.security_protocol not in PROTOCOLS:
            raise SecurityError(f"expected one of {', '.join(PROTOCOLS)}", "security_protocol")
        if self.sasl_mechanism not in MECHANISMS:
            raise SecurityError(f"expected one of {', '.join(MECHANISMS)}", "sasl_mechanism")
        if self.security_protocol.startswith("SASL") and not self.sasl_username:
            raise SecurityError(f"needed for {self.security_protocol}", "sasl_username")

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context, None where the protocol has no TLS.

        Raises:
            SecurityError: a certificate file cannot be read.
        """
        if not self.security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile or None)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile or None)
        except OSError as error:
            raise SecurityError(str(error), "ssl_cafile", "ssl_certfile", "ssl_keyfile") from None
        return context

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for every client of aiokafka."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if context := self.ssl_context():
            options["ssl_context"] = context
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options


def _variable(name: str) -> str:
    return f"DETECTOR_{name.upper()}"


def _listed(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
