"""The whole loop on one machine: broker, service, two gateways, traffic; ends by itself within a minute."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from rich.console import Console

from detector.contract.loader import load_contract
from detector.embedded.broker import EmbeddedBroker
from detector.embedded.demo import story
from detector.embedded.demo.feeder import Feeder
from detector.embedded.demo.gateways import DemoGateway
from detector.embedded.demo.log import Log
from detector.embedded.demo.scenarios import HEALTHY_S, LAST_FAULT_ENDS_S, SCENARIOS, SILENT
from detector.embedded.demo.screen import Screen
from detector.embedded.demo.service import ServiceProcess
from detector.embedded.demo.traffic import Traffic
from detector.embedded.demo.watch import Watch
from topics.names import DEFAULT_PARTITIONS, Topics, topics

CONTRACT = Path(__file__).with_name("contract.yaml")
GATEWAYS = ("gateway-a", "gateway-b")
START_WITHIN_S = 15.0
LONGEST_FEED_S = 42.0
_AFTERWARDS_S = 1.5  # in which a control that stayed silent, or a relapse, still shows
_LOOK_S = 0.1


class DemoFailedError(RuntimeError):
    """The demo itself did not come off; the message says why."""


def run_demo(console: Console) -> dict[str, Any]:
    """Run all scenarios, draw on `console` what happens and tell what came of it.

    Returns:
        The document of `demo --json`.

    Raises:
        DemoFailedError: broker or service did not start, or ended on the way.
    """
    declared = topics()
    wanted = {topic.name: topic.partitions or DEFAULT_PARTITIONS for topic in declared.all()}
    console.print(
        "a broker, the detector and two gateways on this machine; traffic recorded on real systems,"
    )
    console.print("the time between its calls pressed together so that all of it happens now")
    with EmbeddedBroker(wanted) as broker, ServiceProcess(CONTRACT, broker.bootstrap) as service:
        return asyncio.run(_play(console, declared, broker.bootstrap, service))


async def _play(
    console: Console, declared: Topics, bootstrap: str, service: ServiceProcess
) -> dict[str, Any]:
    fallbacks = load_contract(CONTRACT.read_text("utf-8")).fallbacks
    fallback_s = {name: each.p99_ms / 1000.0 for name, each in fallbacks.items()}
    traffic = [Traffic(scenario, fallback_s) for scenario in SCENARIOS]
    watch = Watch(bootstrap, declared)
    async with AsyncExitStack() as stack:
        await watch.start()
        stack.push_async_callback(watch.stop)
        gateways = [DemoGateway(name, bootstrap, frozenset(fallbacks)) for name in GATEWAYS]
        for gateway in gateways:
            await gateway.start()
            stack.push_async_callback(gateway.stop)
        await _until_owned(watch, service)
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=2)
        await producer.start()
        stack.push_async_callback(producer.stop)
        feeder = Feeder(producer, declared.telemetry.name, traffic, gateways)
        console.print(f"{HEALTHY_S:.0f} s of healthy traffic first: this is what the detector learns from\n")
        async with _feeding(feeder):
            with Screen(console, watch.log, traffic, feeder.age_at) as screen:
                while not _over(feeder.age_s, watch.log):
                    if service.ended:
                        raise DemoFailedError(f"the service ended by itself:\n{service.log()}")
                    screen.update(feeder.age_s)
                    await asyncio.sleep(_LOOK_S)
            age_s = feeder.age_s
        return _tell(console, feeder, watch.log, age_s)


async def _until_owned(watch: Watch, service: ServiceProcess) -> None:
    """Wait until the service has claimed every partition."""
    deadline = time.monotonic() + START_WITHIN_S
    while len(watch.owners) < DEFAULT_PARTITIONS:
        if service.ended or time.monotonic() > deadline:
            raise DemoFailedError(
                f"the service did not start within {START_WITHIN_S:.0f} s:\n{service.log()}"
            )
        await asyncio.sleep(0.02)


@asynccontextmanager
async def _feeding(feeder: Feeder) -> AsyncIterator[None]:
    feeding = asyncio.create_task(feeder.run(), name="demo-feed")
    try:
        yield
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding


def _over(age_s: float, log: Log) -> bool:
    """Whether all faults are over and all primaries have their calls back, or that took too long."""
    if age_s >= LONGEST_FEED_S:
        return True
    answered = all(
        any(episode.closed is not None for episode in log.of_route(scenario.route))
        for scenario in SCENARIOS
        if scenario.expected != SILENT
    )
    ended = max((episode.latest.issued_at for episode in log.episodes), default=0.0)
    settled = time.time() - ended >= _AFTERWARDS_S
    return age_s >= LAST_FAULT_ENDS_S and answered and not log.open_scopes() and settled


def _tell(console: Console, feeder: Feeder, log: Log, age_s: float) -> dict[str, Any]:
    findings = [story.judge(traffic.scenario, log, traffic, feeder.age_at) for traffic in feeder.traffic]
    for finding, traffic in zip(findings, feeder.traffic, strict=True):
        story.tell(console, finding, traffic, feeder.age_at)
    each_record, windowed = story.delays_ms(log, feeder.sent_at)
    # A window's evidence is complete only when its pane closes, so its wait is told apart.
    summary = story.as_json(findings, feeder.records, log.deadletters, feeder.records / age_s, each_record)
    console.print(
        f"\nfrom the record that crossed the line to a gateway that obeys, {len(GATEWAYS)} gateways:"
    )
    said = (
        ("judged at each record", each_record),
        ("judged when a window's pane closes, the wait for it included", windowed),
    )
    for what, values in said:
        figures = story.quantiles(values)
        console.print(f"  {what}: p50 {figures['p50']} ms, p99 {figures['p99']} ms, n {figures['n']}")
    console.print(
        f"{feeder.records:,} calls in {age_s:.0f} s; of {feeder.malformed} messages that are no records"
        f" {log.deadletters} went to the dead letters, and none stopped anything"
    )
    right, false = sum(finding.ok for finding in findings), summary["false_activations"]
    console.print(f"\n{right} of {len(findings)} scenarios as expected, {false} false activations")
    return summary
