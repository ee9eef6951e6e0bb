"""Fixtures for a broker, a Redis and LiteLLM, one each for the run, and the lines that say which they were.

`DETECTOR_TEST_REQUIRE=kafka,redis,litellm` turns "none to be had" from a stand-in or a skip into a failure.
"""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.brokers import TestKafka, start_kafka
from tests.harness.redises import RedisUnavailableError, TestRedis

_KAFKA = pytest.StashKey[TestKafka]()
_LINES = pytest.StashKey[dict[str, str]]()
_REQUIRABLE = {"kafka", "redis", "litellm"}


def required() -> set[str]:
    """What DETECTOR_TEST_REQUIRE asks for."""
    return {word.strip() for word in os.environ.get("DETECTOR_TEST_REQUIRE", "").split(",") if word.strip()}


def pytest_configure(config: pytest.Config) -> None:
    unknown = required() - _REQUIRABLE
    if unknown:
        raise pytest.UsageError(
            f"DETECTOR_TEST_REQUIRE names {sorted(unknown)}; it takes {sorted(_REQUIRABLE)}"
        )
    config.stash[_LINES] = {
        "Kafka": "not used by the tests that ran",
        "Redis": "not used by the tests that ran",
        "LiteLLM": "not used by the tests that ran",
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, marker in (("kafka", "kafka"), ("redis_url", "redis")):
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.fixture(scope="session")
def kafka_session(request: pytest.FixtureRequest) -> Iterator[TestKafka]:
    broker = start_kafka()
    request.config.stash[_KAFKA] = broker
    request.config.stash[_LINES]["Kafka"] = broker.describe
    try:
        if "kafka" in required() and not broker.real:
            pytest.fail(f"a real Kafka is required: {broker.describe}", pytrace=False)
        yield broker
    finally:
        broker.close()


@pytest.fixture
def kafka(kafka_session: TestKafka) -> TestKafka:
    """The run's Kafka, started again if the test before stopped it."""
    if kafka_session.can_restart:
        kafka_session.start()
    return kafka_session


@pytest.fixture
def restartable_kafka(kafka: TestKafka) -> TestKafka:
    """The run's Kafka where it can be stopped and started; else the test is skipped."""
    if not kafka.can_restart:
        pytest.skip(f"a Kafka of the kind {kafka.kind!r} cannot be stopped")
    return kafka


@pytest.fixture
def real_kafka(kafka: TestKafka) -> TestKafka:
    """The run's Kafka where it is Apache Kafka; else the test is skipped."""
    if not kafka.real:
        pytest.skip(kafka.describe)
    return kafka


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topic and group names that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the run's Redis; where none can be had, the test is skipped."""
    try:
        server = TestRedis()
    except RedisUnavailableError as lack:
        request.config.stash[_LINES]["Redis"] = f"NONE, its tests were skipped ({lack})"
        if "redis" in required():
            pytest.fail(f"a real Redis is required: {lack}", pytrace=False)
        pytest.skip(str(lack))
    request.config.stash[_LINES]["Redis"] = server.describe
    try:
        yield server.url
    finally:
        server.close()


@pytest.fixture(scope="session")
def litellm_python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with the bare package and LiteLLM's proxy and nothing of the service, as gateways have.

    `make test` makes one in `.venv/litellm`; `DETECTOR_TEST_LITELLM` names another. Where there is none, the
    test is skipped.
    """
    usual = Path(__file__).parents[2] / ".venv" / "litellm" / "bin" / "python"
    found = Path(os.environ.get("DETECTOR_TEST_LITELLM") or usual)
    asked = "from importlib.metadata import version; print(version('litellm'))"
    try:
        version = subprocess.check_output([found, "-c", asked], text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        lack = f"{found} has no LiteLLM"
        request.config.stash[_LINES]["LiteLLM"] = f"NONE, its tests were skipped ({lack})"
        if "litellm" in required():
            pytest.fail(f"LiteLLM is required: {lack}", pytrace=False)
        pytest.skip(lack)
    request.config.stash[_LINES]["LiteLLM"] = version
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    broker = item.config.stash.get(_KAFKA, None)
    if report.failed and broker is not None and "kafka" in getattr(item, "fixturenames", ()):
        report.sections.append(("end of the broker's log", broker.log_tail()))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    yield  # everything else first: these are the run's last lines but for the counts
    terminalreporter.section("what the tests ran on")
    for name, line in config.stash[_LINES].items():
        terminalreporter.write_line(f"{name}: {line}")
