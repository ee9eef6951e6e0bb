"""Addresses as people write them: what no client could use is refused at once, and nothing is looked up."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_BROKER = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^\[\]:/\s]+))(?::(?P<port>[0-9]{1,5}))?")
_LIKE_IPV4 = re.compile(r"[0-9.]+")
_PORT = 9092
_BROKERS = "expected HOST:PORT, several separated by commas, an IPv6 address in brackets"


class AddressError(ValueError):
    """No address; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is; `name`: as in what is said of it."""

    name: str
    host: str
    port: int


def brokers(text: str) -> list[Broker]:
    """The brokers of a text that `check_brokers` takes.

    >>> [(each.name, each.host) for each in brokers("kafka, [::1]:9093")]
    [('kafka:9092', 'kafka'), ('[::1]:9093', '::1')]
    """
    found = []
    for item in filter(None, map(str.strip, text.split(","))):
        if (parts := _BROKER.fullmatch(item)) is not None:
            host = parts["host"] if parts["ipv6"] is None else parts["ipv6"]
            port = int(parts["port"] or _PORT)
            found.append(Broker(f"{parts['host'] or f'[{host}]'}:{port}", host, port))
    return found


def check_brokers(text: str) -> None:
    """See that every broker is HOST:PORT, or HOST alone for Kafka's usual port.

    >>> check_brokers("kafka-1:9092, [::1]:9092")

    Raises:
        AddressError: there is none, or one that cannot be an address.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise AddressError(_BROKERS)
    for broker in items:
        found = _BROKER.fullmatch(broker)
        if found is None:
            raise AddressError(f"{_BROKERS}, got {broker!r}")
        if found["port"] is not None and not 1 <= int(found["port"]) <= 65535:
            raise AddressError(f"expected a port in 1..65535, got {broker!r}")
        check_host(found["host"] if found["ipv6"] is None else found["ipv6"], ipv6=found["ipv6"] is not None)


def check_host(text: str, *, ipv6: bool = False) -> None:
    """See that this is a name or an address that a resolver would take; `ipv6`: nothing but such an address.

    Raises:
        AddressError: it is neither.
    """
    try:
        if ipv6 or ":" in text:
            IPv6Address(text)
        elif _LIKE_IPV4.fullmatch(text):
            IPv4Address(text)
        # What a resolver does first: parts of 1..63 characters, and none that no name can have.
        elif not text.encode("idna") or not text.isprintable() or " " in text:
            raise ValueError
    except ValueError:
        raise AddressError(f"expected a host name or an IP address, got {text!r}") from None
