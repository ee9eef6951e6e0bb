"""Everything that a run of the service is told, in one frozen object.

Each value is taken from the first of: a flag, a `DETECTOR_*` environment variable, the TOML file, the
default. Brokers and security travel in this one object to every client, so that none is left behind.
"""

import math
import re
import ssl
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal

from detector.contract.grammar import HEARTBEAT_S, REBALANCE_AND_CLAIM_S
from detector.gateway.options import Security, SecurityError
from detector.service.addresses import AddressError, check_brokers, check_host
from topics.names import DEFAULT_PARTITIONS, topics

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
_LEVELS = ("debug", "info", "warning", "error")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]*")
_TOPIC_CHARACTERS = 249  # Kafka allows a name no more
ENVIRONMENT_PREFIX = "DETECTOR_"
_OPTIONS = ("settings", "contract", "redis", "flags", "alertmanager")  # of the command line, and no settings
_OF_TESTS, _OF_BENCHMARKS = "TEST_", ("DATA", "TRACES")
_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)")
_LINKED = re.compile(r"(tcp|udp|sctp)://")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_BARE = re.compile(r"""\s*(\w+)\s*=\s*[^\s"'\[{#]""")
_SWITCH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_IN_WORDS = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and where it came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one run. Durations in seconds.

    Attributes:
        bootstrap: brokers, `host:port` separated by commas.
        security_protocol, sasl_mechanism, sasl_username, sasl_password: how to speak to them.
        ssl_cafile, ssl_certfile, ssl_keyfile: PEM files; without a CA file the system's store is used.
        topic_prefix: put before every topic name and into the group's name.
        group: consumer group; empty derives it from the prefix.
        data_partitions: partitions of `llm.telemetry` where it has to be made.
        session_timeout_s, heartbeat_s: group membership; the lease rests on the former.
        commit_interval_s: how often covered offsets are committed.
        snapshot_period_s: how long a changed route may wait for its snapshot.
        http_host, http_port: where health and metrics are served; port 0 is any free one.
        embedded: the broker is the embedded one: no topic administration, and no long polls.
    """

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    topic_prefix: str = ""
    group: str = ""
    data_partitions: int = DEFAULT_PARTITIONS
    session_timeout_s: float = 6.0
    heartbeat_s: float = 1.0
    commit_interval_s: float = 0.5
    snapshot_period_s: float = 5.0
    http_host: str = "127.0.0.1"
    http_port: int = 8080
    log_level: str = "info"
    embedded: bool = False

    @classmethod
    def from_sources(
        cls,
        flags: Mapping[str, Any],
        environ: Mapping[str, str],
        file: str | None = None,
        *,
        named: str = "",
    ) -> "Settings":
        """Put the sources together.

        Args:
            flags: those that are None were not given.
            environ: the environment.
            file: TOML text; `named`: where it was read.

        Raises:
            SettingsError: an unknown name in the file or among the flags, or a value that cannot be used.
        """
        made = cls(**cls.given(flags, environ, file, named=named))
        made._check()
        return made

    @classmethod
    def given(
        cls,
        flags: Mapping[str, Any],
        environ: Mapping[str, str],
        file: str | None = None,
        *,
        named: str = "",
    ) -> dict[str, Any]:
        """Only what the sources say; arguments and errors as for `from_sources`."""
        known = {item.name: item for item in fields(cls)}
        texts = {name for name, item in known.items() if isinstance(item.default, str)}
        where = f"settings file {named}".rstrip()
        try:
            table = tomllib.loads(file) if file else {}
        except ValueError as error:  # not TOML, or a number of more digits than Python reads
            unquoted = _unquoted(file or "", str(error), texts)
            raise SettingsError(f"{where}: {error}{unquoted}") from None
        for name in (*table, *flags):
            if name not in known:
                raise SettingsError(f"unknown setting {name!r}; known ones: {', '.join(sorted(known))}")
        chosen: dict[str, Any] = {}
        for name, item in known.items():
            variable = ENVIRONMENT_PREFIX + name.upper()
            for source, value in (
                ("flag", flags.get(name)),
                (variable, environ.get(variable)),
                (where, table.get(name)),
            ):
                if value is not None:
                    chosen[name] = _typed(name, value, type(item.default), source)
                    break
        return chosen

    def _check(self) -> None:
        try:
            self._security.check()
        except SecurityError as error:
            raise SettingsError(str(error)) from None
        for name, check in (("bootstrap", check_brokers), ("http_host", check_host)):
            try:
                check(getattr(self, name))
            except AddressError as error:
                raise SettingsError(f"{name}: {error}") from None
        self._check_prefix()
        if not 0 <= self.http_port <= 65535:
            raise SettingsError("http_port: expected 0..65535")
        if self.data_partitions < 1:
            raise SettingsError("data_partitions: expected at least 1")
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not 0 < value < math.inf:
                raise SettingsError(f"{item.name}: expected a number of seconds above 0")
        if self.log_level.lower() not in _LEVELS:
            raise SettingsError(f"log_level: expected one of {', '.join(_LEVELS)}")
        if self.heartbeat_s * 3 > self.session_timeout_s:
            raise SettingsError("heartbeat_s: expected at most a third of session_timeout_s")

    def _check_prefix(self) -> None:
        """Kafka makes no topic whose name it does not allow: the service would ask for it for ever."""
        most = _TOPIC_CHARACTERS - max(len(topic.name) for topic in topics().all())
        if not _TOPIC.fullmatch(self.topic_prefix) or len(self.topic_prefix) > most:
            raise SettingsError(
                f"topic_prefix: expected at most {most} of the letters a-z, A-Z, digits, '.', '_' and '-', "
                f"got {self.topic_prefix[: most + 1]!r}"
            )

    def check_lease(self, lease_s: float) -> None:
        """See that one worker's death cannot let a lease lapse, whatever session time-out is set.

        Raises:
            SettingsError: the contract's lease ends before another worker can have claimed.
        """
        takeover_s = HEARTBEAT_S + self.session_timeout_s + REBALANCE_AND_CLAIM_S
        if lease_s <= takeover_s:
            raise SettingsError(
                f"session_timeout_s: with {self.session_timeout_s:g} s a takeover lasts up to "
                f"{takeover_s:g} s, and the contract's lease_s is {lease_s:g}; lower it or raise the lease"
            )

    @property
    def group_id(self) -> str:
        """The consumer group; two installations on one cluster differ by their prefix."""
        return self.group or f"{self.topic_prefix}detector"

    @property
    def _security(self) -> Security:
        return Security(**{item.name: getattr(self, item.name) for item in fields(Security)})

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context, None where the protocol has no TLS.

        Raises:
            SettingsError: a certificate file cannot be read.
        """
        try:
            return self._security.ssl_context()
        except SecurityError as error:
            raise SettingsError(str(error)) from None

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for every aiokafka client: brokers and security, nothing else."""
        servers = [item.strip() for item in self.bootstrap.split(",") if item.strip()]
        try:
            return {"bootstrap_servers": servers} | self._security.client_options()
        except SecurityError as error:
            raise SettingsError(str(error)) from None

    def librdkafka_options(self) -> dict[str, Any]:
        """The same for every client of librdkafka."""
        options: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password,
            }
        if self.security_protocol.endswith("SSL"):
            files = {
                "ssl.ca.location": self.ssl_cafile,
                "ssl.certificate.location": self.ssl_certfile,
                "ssl.key.location": self.ssl_keyfile or self.ssl_certfile,
            }
            options |= {name: path for name, path in files.items() if path}
        return options

    def faust_broker_options(self) -> dict[str, Any]:
        """The same for the Faust app: `broker` and, where there is security, `broker_credentials`."""
        from faust.auth import SASLCredentials, SSLCredentials

        brokers = [item.strip() for item in self.bootstrap.split(",") if item.strip()]
        options: dict[str, Any] = {"broker": [f"kafka://{item}" for item in brokers]}
        context = self.ssl_context()
        if self.security_protocol.startswith("SASL"):
            options["broker_credentials"] = SASLCredentials(
                username=self.sasl_username,
                password=self.sasl_password,
                mechanism=self.sasl_mechanism,
                ssl_context=context,
            )
        elif context is not None:
            options["broker_credentials"] = SSLCredentials(context)
        return options


def strangers(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like settings and are none, each with the known name most like it, if any is."""
    known = [name.upper() for name in (*(item.name for item in fields(Settings)), *_OPTIONS)]
    found = {}
    for variable, value in sorted(environ.items()):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        ours = name in known or name in _OF_BENCHMARKS or name.startswith(_OF_TESTS)
        if name == variable or ours or _of_kubernetes(variable, value):
            continue
        near = get_close_matches(name, known, n=1)
        found[variable] = ENVIRONMENT_PREFIX + near[0] if near else ""
    return found


def _of_kubernetes(name: str, value: str) -> bool:
    """It gives every container such variables for each service, and one may well be called `detector`."""
    return bool(_LINK.search(name)) or _LINKED.match(value) is not None


def _unquoted(text: str, error: str, names: Collection[str]) -> str:
    """What to add where TOML fails at one of these `names`, which hold text, since it is not in quotes."""
    found = _AT_LINE.search(error)
    lines = text.splitlines()
    if found is None or not 0 < int(found[1]) <= len(lines):
        return ""
    said = _BARE.match(lines[int(found[1]) - 1])
    return f"; {said[1]}: text has to be in quotes" if said is not None and said[1] in names else ""


def _typed(name: str, value: Any, kind: type, source: str) -> Any:
    """Turn text from the environment, or a TOML value, into the setting's type.

    A TOML value of another type is a mistake, and what Python would make of it, a list as text or the whole
    part of a number, is not what was meant.
    """
    try:
        if type(value) is kind:
            return value
        if isinstance(value, str):
            return _SWITCH[value.lower()] if kind is bool else kind(value)
        if kind is float and type(value) is int:
            return float(value)
    except (ValueError, KeyError, OverflowError):
        pass
    shown = "***" if "password" in name else repr(value)
    raise SettingsError(f"{name}: expected {_IN_WORDS[kind]}, got {shown} ({source})")
