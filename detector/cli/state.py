"""`detector state`: what is active now and why."""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_settings, unreachable
from detector.cli.output import found_wrong, plain_console, print_json

if TYPE_CHECKING:
    from rich.table import Table

_NAMES_SHOWN = 5
_ODD = ("malformed", "late", "clamped")  # counts of the snapshots
_WHERE_TO_LOOK = "malformed ones lie in the dead-letter topic, each with its path"


def state(
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    settings_file: SettingsFile = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show what is active, forced or withheld now and why, which predicates are armed, who owns each
    partition, and what was judged or could not be.

    Read from the topics alone; no worker is asked, so it works while all of them are away.

    \b
    detector state --bootstrap kafka:9092
    detector state --bootstrap kafka:9092 --json

    Exit code 0: shown. 1: the broker cannot be reached, or no detector has run on it.
    """
    import asyncio

    from aiokafka.errors import KafkaError

    from detector.service.inspect import NothingHereError, look

    settings = read_settings(bootstrap, topic_prefix, settings_file)
    try:
        found, since = asyncio.run(look(settings))
    except NothingHereError as error:
        found_wrong(str(error))
    except (KafkaError, OSError) as error:
        unreachable(settings.bootstrap, error)
    if json_output:
        print_json(found)
    else:
        _show(found, since)


def _predicates(found: dict[str, Any]) -> "Table":
    """How each predicate stands: routes per outcome, and which routes they are, where it is not armed."""
    from rich.table import Table

    from detector.service.survey import NAMED, OUTCOMES

    table = Table(title="predicates: on how many routes", title_justify="left")
    table.add_column("predicate", overflow="fold")
    for name in (*OUTCOMES, "routes"):
        table.add_column(name)
    for name, standing in found.items():
        shown = [f"finds {_finds(standing['finds'])} and more"] if standing["finds"] else []
        for outcome in NAMED:
            if routes := standing["named"].get(outcome):
                more = standing["routes"][outcome] - len(routes[:_NAMES_SHOWN])
                shown.append(
                    f"{outcome}: {', '.join(routes[:_NAMES_SHOWN])}" + (f" and {more:,} more" if more else "")
                )
        numbers = (f"{standing['routes'].get(outcome, 0):,}" for outcome in OUTCOMES)
        if standing["frozen"]:
            shown.append(f"reference frozen on {standing['frozen']:,}")
        if standing["crept"]:
            names = ", ".join(standing["crept_named"][:_NAMES_SHOWN])
            shown.append(
                f"healthy traffic is no longer what it was at first on {standing['crept']:,}: {names}"
            )
        table.add_row(name, *numbers, "; ".join(shown))
    return table


def _finds(ends: list[float]) -> str:
    least, greatest = (f"{end:.2g}" for end in ends)
    return least if least == greatest else f"{least} .. {greatest}"


def _standing(scope: dict[str, Any], lapsed: bool, since: float | None = None) -> str:
    """A scope in lines, not in a table: whoever is to force it needs its whole name, on any screen."""
    from msgspec import convert

    from detector.lab.report import clock
    from detector.modes.voice import describe
    from topics.control import Evidence

    until, evidence = scope["override_until"], convert(scope["evidence"], Evidence)
    seen = clock(evidence.event_time) if evidence.event_time else ""
    state = (
        f"forced {'on' if scope['state'] == 'active' else 'off'} until {clock(until)}" if until else "active"
    )
    if lapsed:
        state += ", held" if scope["on_expiry"] == "hold" else ", lapsed"
    mode, share = scope["mode"], f"{scope['primary_share']:.0%} to the primary"
    lines = [f"{scope['scope']}: {', '.join(filter(None, (state, mode, share)))}"]
    if scope["fallbacks"]:
        to = "; ".join(f"{name}: {', '.join(names)}" for name, names in scope["fallbacks"].items())
        lines.append(f"  fallbacks: {to}")
    if since is not None:
        lines.append(f"  active for {_lasted(time.time() - since)}, since {clock(since)}")
    # A reason tells of the present; of what began it only as long as nothing has been tried since.
    if evidence.predicate and (cause := describe(evidence)) not in scope["reason"]:
        lines.append(f"  evidence: {cause}" + (f" ({seen})" if seen else ""))
        seen = ""
    lines.append(f"  why: {scope['reason']}" + (f" (evidence of {seen})" if seen else ""))
    return "\n".join(lines)


def _lasted(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _show(found: dict[str, Any], since: Mapping[str, float] = MappingProxyType({})) -> None:
    """`since`: when scopes began to be active, as far as is known."""
    from rich.table import Table

    console = plain_console()
    shown = [scope for scope in found["scopes"] if scope["state"] == "active" or scope["override_until"]]
    if shown:
        console.print("active or forced:")
        for scope in shown:
            name = scope["scope"]
            console.print(_standing(scope, name in found["lapsed"], since.get(name)), soft_wrap=True)
    active = {scope["scope"] for scope in shown if scope["state"] == "active"}
    if not active:
        console.print("nothing is active: every route uses its primary")
    elif not active.isdisjoint(found["lapsed"]):
        console.print("lapsed: the owner is silent and its lease is over, so gateways obey it no more")
    if withheld := found["withheld"]:
        console.print(f"withheld: {', '.join(withheld)}; max_active_share keeps these on their primary")
    if odd := [f"{found['counts'][name]:,} {name}" for name in _ODD if found["counts"].get(name)]:
        console.print(f"not judged as they came: {', '.join(odd)} ({_WHERE_TO_LOOK})")
    calibration = found["calibration"]
    console.print(
        f"calibrated {calibration['age_s'] / 86_400:.1f} days ago ({calibration['made_at']})"
        if calibration
        else "not calibrated: predicates learn by themselves and use safe defaults"
    )
    if found["predicates"]:
        console.print(_predicates(found["predicates"]))
    table = Table("partition", "owner", "heard", "judged", "armed", title="partitions", title_justify="left")
    for number, partition in found["partitions"].items():
        heard = partition["heard_s_ago"]
        table.add_row(
            number,
            partition["owner"] or "nobody",
            "never" if heard is None else f"{heard:.1f} s ago" + (", lapsed" if partition["lapsed"] else ""),
            f"{partition['counts'].get('judged', 0):,}" + ("" if partition["complete"] else " and counting"),
            ", ".join(f"{name} {share:.0%}" for name, share in sorted(partition["armed"].items())),
        )
    console.print(table)
