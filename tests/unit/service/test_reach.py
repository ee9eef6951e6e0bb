"""Why no broker answers: a real listener on loopback for each cause, and the sentence that names it."""

import asyncio
import errno
import re
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)

from detector.service.reach import Reach, find_out, tells_nothing
from detector.service.settings import Settings

NO_SASL, OTHER_MECHANISM = 34, 33
_PORT = re.compile(r":\d{4,5}\b")

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, and what it has signed for 127.0.0.1 and for another host."""

    ca: Path
    right: Path
    wrong_host: Path
    key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made by openssl, which is where Python's own TLS comes from."""
    at = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=at, check=True, capture_output=True, timeout=30)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA")
    openssl("req", *key[:-2], "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=broker")
    for name, alternative in (("right", "IP:127.0.0.1"), ("wrong", "DNS:kafka.example")):
        (at / f"{name}.ext").write_text(f"subjectAltName={alternative}\n", "utf-8")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        out = ("-extfile", f"{name}.ext", "-out", f"{name}.pem")
        openssl("x509", "-req", "-in", "host.csr", *signed, *out)
    return Certificates(at / "ca.pem", at / "right.pem", at / "wrong.pem", at / "host.key")


def kafka(sasl: int = NO_SASL, *mechanisms: str) -> Talk:
    """Answers as a broker does: every listener ApiVersions, SaslHandshake with this code and these names."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            if not 0 < size < 1_000_000:  # a TLS handshake: Kafka says nothing to that and closes
                return
            api, _, number = struct.unpack_from(">hhi", await reader.readexactly(size))
            body = struct.pack(">hi", 0, 0)
            if api == 17:
                body = struct.pack(">hi", sasl, len(mechanisms))
                body += b"".join(struct.pack(">h", len(each)) + each.encode() for each in mechanisms)
            writer.write(struct.pack(">ii", 4 + len(body), number) + body)

    return talk


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Takes everything and says nothing."""
    while await reader.read(1000):
        pass


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it gets, whose size is right for an answer."""
    while said := await reader.read(1000):
        writer.write(said)


async def web(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers as a web server does that is asked in another protocol."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@asynccontextmanager
async def listening(
    talk: Talk, certificate: Path | None = None, key: Path | None = None
) -> AsyncIterator[str]:
    """A listener on loopback; `certificate`: it speaks TLS."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def said(bootstrap: str, protocol: str = "PLAINTEXT", *, within_s: float = 2.0, **more: str) -> str:
    """What is found out of one broker, its port left out."""
    settings = Settings(bootstrap=bootstrap, security_protocol=protocol, **more)  # type: ignore[arg-type]
    (sentence,) = await asyncio.to_thread(find_out, settings, within_s=within_s)
    return _PORT.sub("", sentence)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "there is no such name"),
        (
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure"),
            "the name cannot be looked up (Temporary failure): is it right, does the name server answer?",
        ),
    ],
    ids=["no such name", "no name server"],
)
async def test_a_name_that_is_not_found(
    monkeypatch: pytest.MonkeyPatch, error: socket.gaierror, expected: str
) -> None:
    """The name alone is said: its port has not come into it."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    assert await said("kafka:9092") == f"kafka: {expected}"


async def test_a_name_server_that_keeps_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time-out can be set on a look-up: its thread is left behind."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(*_: object, **__: object) -> None:
        asyncio.run_coroutine_threadsafe(over.wait(), loop).result()  # as long as nobody answers
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    began = time.monotonic()
    try:
        sentence = await said("kafka:9092", within_s=0.05)
    finally:
        over.set()

    assert sentence == "kafka: the name is not looked up in time: does the name server answer?"
    assert time.monotonic() - began < 2


async def test_a_port_on_which_nobody_listens() -> None:
    """It is refused at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sentence = await said(f"127.0.0.1:{port}")

    assert sentence == "127.0.0.1 refuses connections: is the port right, is the broker up?"


@pytest.mark.parametrize(
    ("protocol", "wanted"), [("PLAINTEXT", "SSL or SASL_SSL"), ("SASL_PLAINTEXT", "SASL_SSL")]
)
async def test_plaintext_to_a_listener_that_speaks_tls(
    certificates: Certificates, protocol: str, wanted: str
) -> None:
    """Whoever has signed its certificate does not matter yet."""
    async with listening(kafka(), certificates.wrong_host, certificates.key) as at:
        sentence = await said(at, protocol)

    assert sentence == (
        f"127.0.0.1 speaks TLS: set security_protocol to {wanted} (DETECTOR_SECURITY_PROTOCOL)"
    )


@pytest.mark.parametrize(
    ("protocol", "wanted"), [("SSL", "PLAINTEXT or SASL_PLAINTEXT"), ("SASL_SSL", "SASL_PLAINTEXT")]
)
async def test_tls_to_a_listener_that_speaks_none(protocol: str, wanted: str) -> None:
    """It is a broker all the same, and answers where it is asked in plaintext."""
    async with listening(kafka()) as at:
        sentence = await said(at, protocol)

    assert sentence == (
        f"127.0.0.1 speaks no TLS: set security_protocol to {wanted} (DETECTOR_SECURITY_PROTOCOL)"
    )


async def test_a_certificate_of_an_authority_that_is_not_known(certificates: Certificates) -> None:
    """That is not taken for a listener without TLS."""
    async with listening(kafka(), certificates.right, certificates.key) as at:
        sentence = await said(at, "SSL")

    assert sentence == (
        "127.0.0.1 has a certificate that no CA in the system's store has signed: "
        "set ssl_cafile to the PEM file of the CA that has (DETECTOR_SSL_CAFILE)"
    )


async def test_a_certificate_for_another_host(certificates: Certificates) -> None:
    """Its authority is known; the name that was asked for is not in it."""
    async with listening(kafka(), certificates.wrong_host, certificates.key) as at:
        sentence = await said(at, "SSL", ssl_cafile=str(certificates.ca))

    assert sentence.startswith("127.0.0.1 has a certificate for another name than 127.0.0.1: ")


async def test_a_listener_that_wants_a_certificate_of_ours(certificates: Certificates) -> None:
    """In TLS 1.3 it says so only after the handshake."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(certificates.right, certificates.key)
    context.verify_mode = ssl.CERT_REQUIRED

    def serve(server: socket.socket) -> None:
        for _ in range(2):  # the first is only to see whether anybody listens
            link, _address = server.accept()
            with context.wrap_socket(link, server_side=True, do_handshake_on_connect=False) as shaking:
                with suppress(OSError):
                    shaking.do_handshake()
                with socket.socket(fileno=shaking.detach()) as rest, suppress(OSError):
                    while rest.recv(1000):  # what is left unread at the close takes the alert with it
                        pass

    # Not asyncio's server, which closes without its alert.
    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = asyncio.create_task(asyncio.to_thread(serve, server))
        at = f"127.0.0.1:{server.getsockname()[1]}"
        sentence = await said(at, "SSL", ssl_cafile=str(certificates.ca))
        await serving

    assert sentence.startswith("127.0.0.1 ends the TLS handshake (")
    assert sentence.endswith("): does it want a certificate of ours (ssl_certfile, ssl_keyfile)?")


async def test_a_listener_that_wants_sasl(certificates: Certificates) -> None:
    """With its mechanisms; over TLS it is the other protocol."""
    wanted = "127.0.0.1 answers, but wants SASL (PLAIN or SCRAM-SHA-512): set security_protocol to SASL_"
    async with listening(kafka(0, "PLAIN", "SCRAM-SHA-512")) as at:
        assert (await said(at)).startswith(f"{wanted}PLAINTEXT (DETECTOR_SECURITY_PROTOCOL), sasl_mechanism")
    talk = kafka(OTHER_MECHANISM, "PLAIN", "SCRAM-SHA-512")
    async with listening(talk, certificates.right, certificates.key) as at:
        sentence = await said(at, "SSL", ssl_cafile=str(certificates.ca))

    assert sentence.startswith(f"{wanted}SSL (")


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        (kafka(), "takes no SASL: set security_protocol to PLAINTEXT (DETECTOR_SECURITY_PROTOCOL)"),
        (
            kafka(OTHER_MECHANISM, "SCRAM-SHA-256"),
            "has no SASL mechanism PLAIN: set sasl_mechanism to SCRAM-SHA-256",
        ),
    ],
    ids=["none", "another mechanism"],
)
async def test_sasl_that_is_not_what_the_listener_has(talk: Talk, expected: str) -> None:
    """It tells by the first step of SASL, in which no password is sent."""
    async with listening(talk) as at:
        assert await said(at, "SASL_PLAINTEXT") == f"127.0.0.1 answers, but {expected}"


async def test_a_broker_that_answers_as_we_are_set() -> None:
    """It may have come back meanwhile: what is left to look at is said, and no more is claimed."""
    async with listening(kafka()) as at:
        assert (await said(at)).startswith("127.0.0.1 answers now: where this goes on,")
    async with listening(kafka(0, "PLAIN")) as at:
        assert await said(at, "SASL_PLAINTEXT") == (
            "127.0.0.1 answers: are sasl_username and sasl_password right?"
        )


@pytest.mark.parametrize("mechanism", ["", "\x1b[2J"], ids=["empty", "an order to the screen"])
async def test_a_mechanism_that_is_no_name_is_not_shown(mechanism: str) -> None:
    """Whoever listens there can answer anything."""
    async with listening(kafka(0, mechanism)) as at:
        assert (await said(at)).startswith("127.0.0.1 answers: look at the security settings")


async def test_a_listener_that_is_no_broker(certificates: Certificates) -> None:
    """Neither in the clear nor in TLS."""
    for talk in (web, echo):
        async with listening(talk) as at:
            assert "answers neither in Kafka's protocol nor in TLS" in await said(at)
            assert "can be connected to, but speaks no TLS" in await said(at, "SSL")
    async with listening(web, certificates.right, certificates.key) as at:
        sentence = await said(at, "SSL", ssl_cafile=str(certificates.ca))
    assert sentence.startswith("127.0.0.1 speaks TLS, but does not answer in Kafka's protocol")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
async def test_a_listener_that_says_nothing_is_left_in_time(protocol: str) -> None:
    """All brokers are tried at the same time, so that a list of them takes no longer than one."""
    async with listening(silent) as first, listening(silent) as second:
        settings = Settings(bootstrap=f"{first},{second}", security_protocol=protocol)  # type: ignore[arg-type]
        began = time.monotonic()
        sentences = await asyncio.to_thread(find_out, settings, within_s=0.4)
        lasted_s = time.monotonic() - began

    assert [sentence.split(" ", 1)[0] for sentence in sentences] == [first, second]
    assert all("can be connected to, but says nothing: " in sentence for sentence in sentences)
    assert lasted_s < 1.5


def test_errors_that_say_only_that_nobody_answers() -> None:
    """Their cause is to be found out."""
    of_kafka = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError)
    of_system = (TimeoutError, ConnectionRefusedError, ConnectionResetError, socket.gaierror)

    assert [kind for kind in (*of_kafka, *of_system) if not tells_nothing(kind())] == []


@pytest.mark.parametrize(
    "error",
    [
        TopicAuthorizationFailedError("detector.control"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
    ids=lambda error: type(error).__name__ + str(getattr(error, "errno", "")),
)
async def test_an_error_that_tells_its_cause_is_not_looked_into(error: BaseException) -> None:
    """Who is refused by an ACL has reached the broker; who has no file left has not tried to."""

    def look(_: Settings) -> list[str]:
        raise AssertionError("nothing is to be tried")

    assert not tells_nothing(error)
    assert await Reach(Settings(), look=look).news(error) == ""


async def test_advice_is_said_once_and_again_when_it_changes() -> None:
    """Brokers are asked at the first error of each kind, and now and then where it goes on."""
    now, asked, answer = 100.0, 0, ["refuses", "and another"]

    def look(_: Settings) -> list[str]:
        nonlocal asked
        asked += 1
        return answer

    watch = Reach(Settings(), look=look, now=lambda: now)
    error = KafkaConnectionError("Unable to bootstrap")

    assert await watch.news(TopicAuthorizationFailedError("t")) == ""
    assert await watch.news(error) == "refuses; and another"
    assert await watch.news(KafkaConnectionError("Unable to bootstrap, in another order")) == ""
    assert asked == 1
    now += 31.0
    assert await watch.news(error) == ""
    assert asked == 2
    answer = ["speaks TLS"]
    assert await watch.news(error) == ""
    assert await watch.news(KafkaTimeoutError()) == "speaks TLS"
    assert asked == 3


async def test_errors_that_take_turns_do_not_have_brokers_asked_at_each() -> None:
    """Of one outage there are several kinds: each is looked into at once, then all of them now and then."""
    now = 100.0
    looked_at: list[float] = []

    def look(_: Settings) -> list[str]:
        looked_at.append(now)
        return ["refuses"]

    watch = Reach(Settings(), look=look, now=lambda: now)
    while now < 200.0:
        await watch.news(KafkaConnectionError("Unable to bootstrap"))
        now += 5.0
        await watch.news(KafkaTimeoutError())
        now += 5.0

    assert looked_at == [100.0, 105.0, 135.0, 165.0, 195.0]
