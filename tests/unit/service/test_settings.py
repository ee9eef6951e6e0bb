"""Settings: which source wins, what is refused, and that security reaches every client."""

from contextlib import nullcontext
from typing import Any

import pytest
from confluent_kafka import Producer

from detector.service.settings import Settings, SettingsError, strangers
from topics.names import topics

SASL = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "who",
    "sasl_password": "secret",
}


def test_a_flag_wins_over_the_environment_and_that_over_the_file() -> None:
    """Each value comes from the first source that has it."""
    environ = {"DETECTOR_GROUP": "of-environment", "DETECTOR_TOPIC_PREFIX": "env."}
    file = 'group = "of-file"\ntopic_prefix = "file."\nhttp_port = 9\n'

    found = Settings.from_sources({"group": "of-flag", "topic_prefix": None}, environ, file)

    assert (found.group, found.topic_prefix, found.http_port) == ("of-flag", "env.", 9)
    assert found.session_timeout_s == Settings().session_timeout_s


@pytest.mark.parametrize(
    ("flags", "environ", "file", "named"),
    [
        ({"bootstrp": "x"}, {}, None, "bootstrp"),
        ({}, {}, "bootstrp = 1", "bootstrp"),
        ({}, {"DETECTOR_HTTP_PORT": "eighty"}, None, "http_port"),
        ({"http_port": 70_000}, {}, None, "http_port"),
        ({"security_protocol": "TLS"}, {}, None, "security_protocol"),
        ({"security_protocol": "SASL_SSL"}, {}, None, "sasl_username"),
        ({"heartbeat_s": 3.0}, {}, None, "heartbeat_s"),
        ({"snapshot_period_s": 0.0}, {}, None, "snapshot_period_s"),
        ({}, {}, "commit_interval_s = -1.0", "commit_interval_s"),
        ({"session_timeout_s": float("nan")}, {}, None, "session_timeout_s"),
        ({}, {"DETECTOR_LOG_LEVEL": "verbose"}, None, "log_level: expected one of debug, info"),
        ({}, {}, "http_port = ", "settings file"),
        ({}, {"DETECTOR_EMBEDDED": "perhaps"}, None, "embedded"),
        ({}, {}, "http_port = " + "1" * 5000, "settings file"),
        ({}, {}, "embedded = 1", "embedded: expected true or false, got 1"),
        ({}, {}, "http_port = [8080]", r"http_port: expected a whole number, got \[8080\] \(settings file\)"),
        ({}, {}, "http_port = inf", "http_port: expected a whole number, got inf"),
        ({}, {}, "http_port = 8080.7", "http_port: expected a whole number, got 8080.7"),
        ({}, {}, "http_port = true", "http_port: expected a whole number, got True"),
        ({}, {}, "session_timeout_s = [1]", "session_timeout_s: expected a number, got"),
        ({}, {}, "session_timeout_s = 1" + "0" * 400, "session_timeout_s: expected a number, got"),
        ({}, {}, "session_timeout_s = inf", "session_timeout_s: expected a number of seconds"),
        ({}, {}, 'bootstrap = ["a:1"]', "bootstrap: expected text in quotes, got"),
        ({}, {}, "group = 7", "group: expected text in quotes, got 7"),
        ({"bootstrap": "a:b:c"}, {}, None, "bootstrap: expected HOST:PORT.*, got 'a:b:c'"),
        (
            {"bootstrap": "127.0.0.1:99999"},
            {},
            None,
            "bootstrap: expected a port in 1..65535, got '127.0.0.1:99999'",
        ),
        ({"bootstrap": "a:1,b:0"}, {}, None, "bootstrap: expected a port in 1..65535, got 'b:0'"),
        ({"bootstrap": "kafka://a:1"}, {}, None, "bootstrap: expected HOST:PORT"),
        ({"bootstrap": "::1"}, {}, None, "bootstrap: expected HOST:PORT.* in brackets, got '::1'"),
        ({"bootstrap": "[a]:1"}, {}, None, "bootstrap: expected a host name or an IP address, got 'a'"),
        ({"bootstrap": "a..b:1"}, {}, None, "bootstrap: expected a host name or an IP address, got 'a..b'"),
        ({"bootstrap": ","}, {}, None, "bootstrap: expected HOST:PORT"),
        ({}, {"DETECTOR_BOOTSTRAP": ""}, None, "bootstrap: expected HOST:PORT"),
        (
            {"http_host": "0.0.0.256"},
            {},
            None,
            "http_host: expected a host name or an IP address, got '0.0.0.256'",
        ),
        (
            {"topic_prefix": "bad prefix/"},
            {},
            None,
            "topic_prefix: expected at most 229 of .*, got 'bad prefix/'",
        ),
        ({"topic_prefix": "x" * 300}, {}, None, "topic_prefix: expected at most 229 of"),
        ({"topic_prefix": "x" * 230}, {}, None, "topic_prefix: expected at most 229 of"),
        ({"topic_prefix": "ü."}, {}, None, "topic_prefix: expected at most 229 of"),
        ({"topic_prefix": "x.\n"}, {}, None, "topic_prefix: expected at most 229 of"),
        ({"http_host": ""}, {}, None, "http_host: expected a host name or an IP address"),
        ({"http_host": "a b"}, {}, None, "http_host: expected a host name or an IP address"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    flags: dict[str, Any], environ: dict[str, str], file: str | None, named: str
) -> None:
    """The error says which setting it is."""
    with pytest.raises(SettingsError, match=named):
        Settings.from_sources(flags, environ, file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bootstrap = kafka:9092", "bootstrap: text has to be in quotes"),
        ("http_port = 1\nbootstrap = 127.0.0.1:9092\n", "bootstrap: text has to be in quotes"),
        ("topic_prefix=eu.\n", "topic_prefix: text has to be in quotes"),
        ("sasl_password = hunter2", "sasl_password: text has to be in quotes"),
        ("security_protocol = SSL", "security_protocol: text has to be in quotes"),
        ("http_port = 80a", ""),
        ('bootstrap = "kafka:9092', ""),
        ("bootstrap = ", ""),
        ("bootstrap", ""),
    ],
)
def test_a_file_that_is_no_toml_is_named_and_text_without_quotes_told_of(text: str, says: str) -> None:
    """The value itself is not shown: it may be a password."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_sources({}, {}, text, named="/etc/detector.toml")
    said = str(caught.value)

    assert said.startswith("settings file /etc/detector.toml: ")
    assert said.endswith(says or ")")
    assert ("quotes" in said) is bool(says)
    assert "hunter2" not in said


def test_a_variable_that_is_no_setting_is_told_of_with_the_one_that_was_meant() -> None:
    """What tests, benchmarks and Kubernetes use is none of ours, and no mistake."""
    environ = dict.fromkeys(
        (
            "DETECTOR_HTTP_PORT",
            "DETECTOR_CONTRACT",
            "DETECTOR_SETTINGS",
            "DETECTOR_TEST_BOOTSTRAP",
            "DETECTOR_DATA",
            "DETECTOR_TRACES",
            "DETECTOR_SERVICE_HOST",
            "DETECTOR_WEB_SERVICE_PORT_HTTP",
            "DETECTOR_PORT_8080_TCP_ADDR",
            "DETECT",
        ),
        "x",
    )
    mistaken = {"DETECTOR_HTPP_PORT": "9", "DETECTOR_BOOSTRAP": "k:1", "DETECTOR_XYZZY": ""}

    assert strangers(environ | {"DETECTOR_PORT": "tcp://10.0.0.1:8080"} | mistaken) == {
        "DETECTOR_BOOSTRAP": "DETECTOR_BOOTSTRAP",
        "DETECTOR_HTPP_PORT": "DETECTOR_HTTP_PORT",
        "DETECTOR_XYZZY": "",
    }


@pytest.mark.parametrize(
    "brokers", ["kafka", "kafka_1:9092", "a:1,", "[::1]:9092", "10.0.0.1:1, b.example.:65535"]
)
def test_brokers_may_be_written_as_every_client_takes_them(brokers: str) -> None:
    """A name, an address, with Kafka's own port or another."""
    assert Settings.from_sources({"bootstrap": brokers, "http_host": "::"}, {}).bootstrap == brokers


def test_the_longest_prefix_leaves_room_for_the_longest_name() -> None:
    """Kafka's limit is 249 characters, whichever topic it is."""
    prefix = Settings.from_sources({"topic_prefix": "Eu-1_." + "x" * 223}, {}).topic_prefix

    assert max(len(topic.name) for topic in topics(prefix).all()) == 249


def test_a_file_may_write_whole_seconds_without_a_point() -> None:
    """TOML tells 6 from 6.0; whoever writes seconds does not."""
    assert Settings.from_sources({}, {}, "session_timeout_s = 6").session_timeout_s == 6.0


def test_security_reaches_the_bare_clients_and_faust_alike() -> None:
    """Both are given the same brokers and credentials."""
    found = Settings.from_sources({"bootstrap": "a:1, b:2"} | SASL, {}, None)
    client, faust = found.client_options(), found.faust_broker_options()

    assert client["bootstrap_servers"] == ["a:1", "b:2"]
    assert faust["broker"] == ["kafka://a:1", "kafka://b:2"]
    credentials = faust["broker_credentials"]
    assert credentials.protocol.value == client["security_protocol"] == "SASL_PLAINTEXT"
    assert credentials.mechanism.value == client["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (credentials.username, credentials.password) == ("who", "secret")
    assert (client["sasl_plain_username"], client["sasl_plain_password"]) == ("who", "secret")


def test_security_reaches_the_clients_of_librdkafka_too() -> None:
    """The same brokers, the same secret, the same files; a client takes them."""
    given = {"bootstrap": "a:9092,b:9092", "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}
    secret = {"sasl_username": "me", "sasl_password": "secret"}
    found = Settings.from_sources(given | secret, {}).librdkafka_options()
    assert found == {
        "bootstrap.servers": "a:9092,b:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "secret",
    }
    Producer({**found, "log_level": 0})

    files = {"security_protocol": "SSL", "ssl_cafile": "ca.pem", "ssl_certfile": "both.pem"}
    found = Settings.from_sources(files, {}).librdkafka_options()
    assert found["ssl.ca.location"] == "ca.pem"
    # A certificate's file may hold its key as well.
    assert found["ssl.certificate.location"] == found["ssl.key.location"] == "both.pem"
    assert "sasl.username" not in found


def test_a_password_is_shown_nowhere() -> None:
    """Neither in the settings' own text nor in an error about it."""
    assert "secret" not in repr(Settings.from_sources(SASL, {}, None))
    with pytest.raises(SettingsError) as refused:
        Settings.from_sources({"sasl_password": True}, {}, None)
    assert "True" not in str(refused.value)


@pytest.mark.parametrize(("session_s", "lease_s", "fits"), [(6, 12, False), (6, 12.5, True), (60, 15, False)])
def test_a_lease_outlives_a_takeover_or_is_refused(session_s: float, lease_s: float, fits: bool) -> None:
    """Heartbeat, session time-out, rebalance and claim together have to be shorter than the lease."""
    settings = Settings.from_sources({"session_timeout_s": session_s}, {}, None)

    with nullcontext() if fits else pytest.raises(SettingsError, match=r"session_timeout_s.*lease_s"):
        settings.check_lease(lease_s)


def test_two_installations_do_not_share_a_group() -> None:
    """The group follows the prefix unless it is named."""
    assert Settings(topic_prefix="eu.").group_id != Settings().group_id
    assert Settings(topic_prefix="eu.", group="mine").group_id == "mine"
