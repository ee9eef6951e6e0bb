"""Why no broker answers, found out by trying: the name, the port, TLS or none, the certificate, SASL or none.

A client says "unable to bootstrap" of all of these alike. Nothing is asked of a broker here that needs a
right on it, and no password is sent.
"""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError

from detector.service.addresses import Broker, brokers
from detector.service.settings import Settings, SettingsError

WITHIN_S = 2.0  # of all brokers, which are tried side by side
_GRACE_S = 0.2
_AGAIN_S = 30.0  # at every retry would be a lot of connections, and each is a line in a broker's log
_NO_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_API_VERSIONS, _SASL_HANDSHAKE = 18, 17
_ILLEGAL_SASL_STATE, _UNSUPPORTED_MECHANISM = 34, 33  # the listener has no SASL; it has some other one
_MOST_BYTES = 1 << 16
_WRONG_NAME = {62, 64}  # of X509_V_ERR: host, IP address
_UNKNOWN_CA = {2, 18, 19, 20, 21}
_SET = "(DETECTOR_SECURITY_PROTOCOL)"
_ASK_PORT = "is the port right, is it a Kafka broker"

# Not every OSError: those of no file descriptor left, or of no route, tell their cause themselves.
_NO_ANSWER = (
    KafkaConnectionError,
    KafkaTimeoutError,
    RequestTimedOutError,
    NodeNotReadyError,
    TimeoutError,
    ConnectionRefusedError,
    ConnectionResetError,
    socket.gaierror,
)


class _OtherProtocolError(Exception):
    """What came is no answer in Kafka's protocol, or nothing came."""


@dataclass(slots=True)
class _Attempt:
    """One broker, as far as it could be told."""

    broker: Broker
    settings: Settings
    context: ssl.SSLContext | None
    deadline: float
    said: str

    def run(self) -> None:
        self.said = self._find_out()

    def _left_s(self) -> float:
        return max(0.05, self.deadline - time.monotonic())

    def _find_out(self) -> str:
        name, host, port = self.broker.name, self.broker.host, self.broker.port
        try:
            places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, UnicodeError) or error.errno in _NO_NAME:
                return f"{host}: there is no such name"
            return (
                f"{host}: the name cannot be looked up ({error.strerror}): is it right, does the name server "
                "answer?"
            )
        found: list[OSError] = []
        for number, place in enumerate(places):
            left = self._left_s() / (len(places) - number)  # one silent address leaves time for the next
            address = (str(place[4][0]), port)
            try:
                socket.create_connection(address, timeout=left).close()
            except OSError as error:
                found.append(error)
            else:
                return self._over_tls(address) if self.context else self._plainly(address)
        if any(isinstance(error, ConnectionRefusedError) for error in found):
            return f"{name} refuses connections: is the port right, is the broker up?"
        if all(isinstance(error, TimeoutError) for error in found):
            return f"{name} does not answer: is the host up, does a firewall drop what is sent to it?"
        return f"{name} cannot be reached: {found[-1].strerror or found[-1]}"

    def _plainly(self, address: tuple[str, int]) -> str:
        name, silent = self.broker.name, False
        try:
            # Half of the time: a TLS listener may keep silent and wait for more.
            with socket.create_connection(address, timeout=self._left_s() / 2) as link:
                return self._as_kafka(link)
        except TimeoutError:
            silent = True
        except (_OtherProtocolError, OSError):
            pass
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        try:
            with self._tls(address, anyone):
                spoken = True
        except ssl.SSLError as error:
            spoken = _is_alert(error)
        except OSError:
            spoken = False
        if spoken:
            wanted = "SASL_SSL" if self._with_sasl() else "SSL or SASL_SSL"
            return f"{name} speaks TLS: set security_protocol to {wanted} {_SET}"
        if silent:
            return f"{name} can be connected to, but says nothing: {_ASK_PORT}, does it hang?"
        return f"{name} can be connected to, but answers neither in Kafka's protocol nor in TLS: {_ASK_PORT}?"

    def _over_tls(self, address: tuple[str, int]) -> str:
        name, context = self.broker.name, self.context
        assert context is not None
        shaken = silent = False
        try:
            with self._tls(address, context) as link:
                shaken = True
                return self._as_kafka(link)
        except ssl.SSLCertVerificationError as error:
            return self._of_certificate(error)
        except (_OtherProtocolError, OSError) as error:
            silent = isinstance(error, TimeoutError)
            # In TLS 1.3 a certificate of ours is asked for when the handshake is over on our side.
            if isinstance(error, ssl.SSLError) and _is_alert(error):
                return (
                    f"{name} ends the TLS handshake ({error.reason}): does it want a certificate of ours "
                    "(ssl_certfile, ssl_keyfile)?"
                )
        if shaken:
            # Where the alert is lost with the connection, this is all that is left of a certificate not sent.
            return (
                f"{name} speaks TLS, but does not answer in Kafka's protocol: {_ASK_PORT}, does it want a "
                "certificate of ours (ssl_certfile, ssl_keyfile)?"
            )
        try:
            with socket.create_connection(address, timeout=self._left_s()) as plain:
                _ask(plain, _API_VERSIONS, 0)
        except (_OtherProtocolError, OSError):
            if silent:
                return f"{name} can be connected to, but says nothing: {_ASK_PORT}, does it hang?"
            return f"{name} can be connected to, but speaks no TLS: {_ASK_PORT}?"
        wanted = "SASL_PLAINTEXT" if self._with_sasl() else "PLAINTEXT or SASL_PLAINTEXT"
        return f"{name} speaks no TLS: set security_protocol to {wanted} {_SET}"

    def _tls(self, address: tuple[str, int], context: ssl.SSLContext) -> ssl.SSLSocket:
        """A connection after its handshake, which may take half of the time that is left."""
        with socket.create_connection(address, timeout=self._left_s() / 2) as plain:
            return context.wrap_socket(plain, server_hostname=self.broker.host)  # takes the socket over

    def _of_certificate(self, error: ssl.SSLCertVerificationError) -> str:
        name = self.broker.name
        if error.verify_code in _WRONG_NAME:
            return (
                f"{name} has a certificate for another name than {self.broker.host}: use a name that is "
                "in it, or have one made for this one"
            )
        if error.verify_code in _UNKNOWN_CA:
            known = self.settings.ssl_cafile or "the system's store"
            return (
                f"{name} has a certificate that no CA in {known} has signed: set ssl_cafile to the PEM "
                "file of the CA that has (DETECTOR_SSL_CAFILE)"
            )
        return f"{name} has a certificate that is not valid: {error.verify_message}"

    def _with_sasl(self) -> bool:
        return self.settings.security_protocol.startswith("SASL")

    def _as_kafka(self, link: socket.socket) -> str:
        """What a broker says that speaks as we do, TLS or none; raises where it is none."""
        name, mechanism = self.broker.name, self.settings.sasl_mechanism
        _ask(link, _API_VERSIONS, 0)
        over = "SSL" if self.context else "PLAINTEXT"
        try:
            # Every listener answers the first question; this one, those with SASL answer otherwise.
            told = _ask(link, _SASL_HANDSHAKE, 1, struct.pack(">h", len(mechanism)) + mechanism.encode())
            code, offered = _offer(told)
        except (_OtherProtocolError, OSError):
            return f"{name} answers: look at the security settings (security_protocol, sasl_mechanism)"
        if code == _ILLEGAL_SASL_STATE and self._with_sasl():
            return f"{name} answers, but takes no SASL: set security_protocol to {over} {_SET}"
        if code in (0, _UNSUPPORTED_MECHANISM) and not self._with_sasl():
            return (
                f"{name} answers, but wants SASL ({offered}): set security_protocol to SASL_{over} {_SET}, "
                "sasl_mechanism, sasl_username and sasl_password"
            )
        if code == _UNSUPPORTED_MECHANISM:
            return f"{name} answers, but has no SASL mechanism {mechanism}: set sasl_mechanism to {offered}"
        if code == 0:
            return f"{name} answers: are sasl_username and sasl_password right?"
        return (
            f"{name} answers now: where this goes on, look at the names that the brokers give out "
            "(advertised.listeners)"
        )


def _is_alert(error: ssl.SSLError) -> bool:
    """Whether the other side has said no in TLS, which it then speaks."""
    return "ALERT" in (error.reason or "")


def _ask(link: socket.socket, api: int, version: int, body: bytes = b"") -> bytes:
    """The answer to one request of Kafka's, without its header."""
    # Its number is one that no other protocol would send back at that place.
    number, client = 0x64657400 + api, b"detector"
    request = struct.pack(">hhih", api, version, number, len(client)) + client + body
    link.sendall(struct.pack(">i", len(request)) + request)
    size, answered = struct.unpack(">ii", _exactly(link, 8))
    if answered != number or not 4 <= size <= _MOST_BYTES:
        raise _OtherProtocolError
    return _exactly(link, size - 4)


def _exactly(link: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = link.recv(count - len(got))
        if not part:
            raise _OtherProtocolError
        got += part
    return got


def _offer(told: bytes) -> tuple[int, str]:
    """Error code and mechanisms of an answer to SaslHandshake."""
    try:
        code, count = struct.unpack_from(">hi", told)
        at, names = 6, []
        for _ in range(count):
            (size,) = struct.unpack_from(">h", told, at)
            name = told[at + 2 : at + 2 + size].decode("ascii")
            if size < 1 or not name.isprintable():  # it is to be shown on a screen
                raise _OtherProtocolError
            names.append(name)
            at += 2 + size
    except (struct.error, UnicodeDecodeError):
        raise _OtherProtocolError from None
    return code, " or ".join(names)


def tells_nothing(error: BaseException) -> bool:
    """Whether the error says only that there was no answer, which has many causes."""
    return isinstance(error, _NO_ANSWER)


def find_out(settings: Settings, *, within_s: float = WITHIN_S) -> list[str]:
    """Try each broker once; it blocks for as long as `within_s` and a little.

    Returns:
        One sentence per broker: what is wrong, and what to do about it.
    """
    try:
        context = settings.ssl_context()
    except SettingsError as error:  # the file was there when we began
        return [str(error)]
    deadline = time.monotonic() + within_s
    attempts = [
        # Only to look up a name can take longer than the deadline: what stands there until then is of that.
        _Attempt(
            each,
            settings,
            context,
            deadline,
            said=f"{each.host}: the name is not looked up in time: does the name server answer?",
        )
        for each in brokers(settings.bootstrap)
    ]
    # Threads that end with the process: nothing can call back one that looks up a name.
    threads = [threading.Thread(target=each.run, name="reach", daemon=True) for each in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline + _GRACE_S - time.monotonic()))
    return [attempt.said for attempt in attempts]


class Reach:
    """The advice of one outage, told when it is new, so that a log that goes on for hours stays readable."""

    def __init__(
        self,
        settings: Settings,
        *,
        look: Callable[[Settings], list[str]] = find_out,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is tried before there is an error; `look` may block, `now`: in s."""
        self._settings, self._look, self._now = settings, look, now
        self._kinds: set[type[BaseException]] = set()
        self._looked_at = 0.0
        self._said = ""

    async def news(self, error: BaseException) -> str:
        """What to do about an error; empty where it tells enough, or what is found was said before."""
        if not tells_nothing(error):
            return ""
        # Not by its text, which names the brokers in another order each time.
        now, kind = self._now(), type(error)
        # One limit for all kinds: in one outage they take turns.
        if kind in self._kinds and now - self._looked_at < _AGAIN_S:
            return ""
        self._kinds.add(kind)
        self._looked_at = now
        found = "; ".join(await asyncio.to_thread(self._look, self._settings))
        if found == self._said:
            return ""
        self._said = found
        return found
