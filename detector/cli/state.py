"""`detector state`: what is active now and why."""

import shlex
import time
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.connect import Bootstrap, SettingsFile, TopicPrefix, read_settings, unreachable
from detector.cli.output import found_wrong, note, plain_console, print_json
from detector.cli.words import judged_meanwhile, names_of

if TYPE_CHECKING:
    from rich.table import Table

_NAMES_SHOWN = 5
_SHOWN = 0.005  # less of a share would read 0%
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

    Where a worker seems to be silent, or a clock wrong, it listens for a heartbeat for up to 4 s.

    Exit code 0: shown. 1: the broker cannot be reached, or no detector has run on it.
    """
    import asyncio

    from aiokafka.errors import KafkaError

    from detector.service.inspect import NothingHereError, look

    settings = read_settings(bootstrap, topic_prefix, settings_file)
    try:
        found, since = asyncio.run(look(settings, listening=_listening))
    except NothingHereError as error:
        found_wrong(str(error))
    except (KafkaError, OSError) as error:
        unreachable(settings, error)
    if json_output:
        print_json(found)
    else:
        _show(found, since)


def _listening(partitions: Collection[int]) -> None:
    """Say why it takes longer."""
    from detector.service.heartbeats import LISTEN_S

    which = f"partition{'s' if len(partitions) > 1 else ''} {_numbers(partitions)}"
    note(f"detector: by the clock nobody watches {which}; listening for a heartbeat, up to {LISTEN_S:.0f} s")


def _table(title: str, *columns: str) -> "Table":
    """One whose headers stay whole: a word broken in two cannot be read, nor searched for."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold", min_width=len(name))
    return table


def _predicates(found: dict[str, Any]) -> "Table":
    """How each predicate stands: routes per outcome, and which routes they are, where it is not armed."""
    from detector.service.survey import NAMED, OUTCOMES

    table = _table("predicates: on how many routes", "predicate", "routes", "more")
    for name, standing in found.items():
        shown = [f"finds {_finds(standing['finds'])} and more"] if standing["finds"] else []
        shown += [f"{outcome}: {routes}" for outcome in NAMED if (routes := _routes(standing, outcome))]
        if standing["frozen"]:
            shown.append(f"reference frozen on {standing['frozen']:,}")
        if standing["crept"]:
            names = ", ".join(standing["crept_named"][:_NAMES_SHOWN])
            shown.append(
                f"healthy traffic is no longer what it was at first on {standing['crept']:,}: {names}"
            )
        numbers = [f"{number:,} {name}" for name in OUTCOMES if (number := standing["routes"].get(name))]
        table.add_row(name, ", ".join(numbers) or "none yet", "; ".join(shown))
    return table


def _routes(standing: dict[str, Any], outcome: str) -> str:
    """Some of the routes on which a predicate stands so, and how many more there are."""
    routes = standing["named"].get(outcome, ())[:_NAMES_SHOWN]
    more = standing["routes"].get(outcome, 0) - len(routes)
    return ", ".join(routes) + (f" and {more:,} more" if more else "") if routes else ""


def _seen(predicates: dict[str, Any]) -> str:
    """What holds, on which routes: where nothing is active, modes that only give notice rest on it."""
    found = {name: _routes(standing, "breach") for name, standing in predicates.items()}
    return "; ".join(f"{name} on {routes}" for name, routes in found.items() if routes)


def _partitions(found: dict[str, Any]) -> "Table":
    """One row each: of those of one owner, one can be stuck while others are busy."""
    table = _table("partitions", "partition", "owner", "heard", "judged")
    for number, partition in found.items():
        counts, heard_s = partition["counts"], partition["heard_s_ago"]
        heard = ("not now" if partition["owner"] else "never") if heard_s is None else f"{heard_s:.1f} s ago"
        lapsed = ", lapsed" if partition["lapsed"] and partition["owner"] else ""
        odd = _odd(counts)
        judged = f"{counts.get('judged', 0):,}" + (f" ({odd})" if odd else "")
        counting = "" if partition["complete"] else " and counting"
        table.add_row(number, partition["owner"] or "nobody", heard + lapsed, judged + counting)
    return table


def _odd(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in _ODD if counts.get(name))


def _numbers(partitions: Iterable[str | int]) -> str:
    """Numbers of partitions, in order.

    >>> _numbers(["0", "1", "2", "5", "7", "8"])
    '0-2, 5, 7-8'
    """
    runs: list[list[int]] = []
    for number in map(int, partitions):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _armed(partitions: Collection[dict[str, Any]]) -> str:
    """Share of all records judged while armed, of the predicates that were so at all."""
    shares = [each["armed"] for each in partitions]
    judged = [each["counts"].get("judged", 0) for each in partitions]
    weights = judged if any(judged) else [1] * len(shares)
    said = {
        name: sum(each.get(name, 0.0) * weight for each, weight in zip(shares, weights, strict=True))
        / sum(weights)
        for name in sorted({name for each in shares for name in each})
    }
    return (
        ", ".join(f"{name} {share:.0%}" for name, share in said.items() if share >= _SHOWN) or "nothing yet"
    )


def _finds(ends: list[float]) -> str:
    least, greatest = (f"{end:.2g}" for end in ends)
    return least if least == greatest else f"{least} .. {greatest}"


def _standing(
    scope: dict[str, Any], lapsed: bool, since: float | None = None, drifts: Collection[str] = ()
) -> str:
    """A scope in lines, not in a table: whoever is to force it needs its whole name, on any screen.

    `drifts`: predicates that `detector accept` can end.
    """
    from msgspec import convert

    from detector.lab.report import clock
    from detector.modes.catalog import meaning
    from detector.modes.voice import describe
    from topics.control import Evidence
    from topics.scope import split_scope

    until, evidence = scope["override_until"], convert(scope["evidence"], Evidence)
    seen = clock(evidence.event_time) if evidence.event_time else ""
    state = (
        f"forced {'on' if scope['state'] == 'active' else 'off'} until {clock(until)}" if until else "active"
    )
    if lapsed:
        state += ", held" if scope["on_expiry"] == "hold" else ", lapsed"
    mode, share = scope["mode"], f"{scope['primary_share']:.0%} to the primary"
    lines = [f"{scope['scope']}: {', '.join(filter(None, (state, mode, share)))}"]
    rests_on = {evidence.predicate, evidence.detail.get("decided by")}
    lines.append(f"  do: {_to_do(scope, lapsed, drift=not rests_on.isdisjoint(drifts))}")
    if until and scope["state"] != "active" and scope["modes"]:
        deployment = split_scope(scope["scope"])[1]
        lines.append(f"  {judged_meanwhile(deployment, scope['modes'], lapsed=lapsed)}")
    if scope["fallbacks"]:
        to = "; ".join(f"{name}: {', '.join(names)}" for name, names in scope["fallbacks"].items())
        lines.append(f"  fallbacks: {to}")
    if since is not None:
        lines.append(f"  active for {_lasted(time.time() - since)}, since {clock(since)}")
    # A reason tells of the present; of what began it only as long as nothing has been tried since.
    if evidence.predicate and (cause := describe(evidence)) not in scope["reason"]:
        fault = f"{meaning(mode)}: {cause}" if mode else cause
        lines.append(f"  fault: {fault}" + (f" ({seen})" if seen else ""))
        seen = ""
    lines.append(f"  why: {scope['reason']}" + (f" (evidence of {seen})" if seen else ""))
    return "\n".join(lines)


def _to_do(scope: dict[str, Any], lapsed: bool, *, drift: bool) -> str:
    """What whoever was woken up can do about a scope, in one line; most often nothing."""
    from detector.modes.outlook import NO_PROBE
    from topics.scope import split_scope

    name = shlex.quote(scope["scope"])
    if lapsed:
        return "start a worker: nobody watches this scope"
    if scope["override_until"]:
        if scope["state"] != "active" and scope["modes"]:
            return f"unless you are sure that it is well: detector unforce {name}"
        return f"nothing, the order ends by itself; sooner: detector unforce {name}"
    served = f"calls are served by {names_of(scope['fallbacks']) or 'its fallbacks'}"
    if split_scope(scope["scope"])[1]:
        served = "its calls go to its siblings"
    if NO_PROBE in scope["reason"]:
        seen = "see that calls come and are reported: it ends by probes alone, and there was none of late"
        return f"{seen}; or detector force {name} off --for 30m --reason .."
    said = (
        f"nothing, {served}; if you are sure that it is well: detector force {name} off --for 30m --reason .."
    )
    return said + (f"; if the drift is meant: detector accept {name} --reason .." if drift else "")


def _unwatched(found: dict[str, Any]) -> str:
    """What to say before all else where leases have lapsed; empty where none has.

    Nothing that is told of such partitions is so any more, and nothing new will be found there.
    """
    partitions = found["partitions"]
    if not partitions:
        return "NOBODY WATCHES: no worker has taken a partition yet. Start a worker."
    lapsed = {number: each for number, each in partitions.items() if each["lapsed"]}
    if not lapsed:
        return ""
    which, start = "", "Start a worker."
    if len(lapsed) < len(partitions):
        which, start = f" ({_numbers(lapsed)})", "Start a worker, or ask /readyz of those that run."
    ago_s = [each["lapsed_s"] for each in lapsed.values() if each["lapsed_s"] is not None]
    since = f", for {_lasted(max(ago_s))} now" if ago_s else ""
    held = any(
        scope["state"] == "active" and scope["on_expiry"] == "hold" and scope["scope"] in found["lapsed"]
        for scope in found["scopes"]
    )
    but = " (those marked held once their time is over)" if held else ""
    return (
        f"NOBODY WATCHES {len(lapsed)} of {len(partitions)} partitions{which}{since}: "
        f"their routes use their primaries whatever happens{but}. {start}"
    )


def _lasted(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _show(found: dict[str, Any], since: Mapping[str, float] = MappingProxyType({})) -> None:
    """`since`: when scopes began to be active, as far as is known."""
    console = plain_console()
    if unwatched := _unwatched(found):
        console.print(unwatched, soft_wrap=True)
    if off_s := found["clock_off_s"]:
        which = "ahead of" if off_s > 0 else "behind"
        console.print(
            f"this machine's clock is {abs(off_s):.0f} s {which} a worker's: times here are off by as much",
            soft_wrap=True,
        )
    drifts = {name for name, standing in found["predicates"].items() if standing.get("drift")}
    shown = [scope for scope in found["scopes"] if scope["state"] == "active" or scope["override_until"]]
    if shown:
        console.print("active or forced:")
        for scope in shown:
            name = scope["scope"]
            told = _standing(scope, name in found["lapsed"], since.get(name), drifts)
            console.print(told, soft_wrap=True)
    active = {scope["scope"] for scope in shown if scope["state"] == "active"}
    if not active and found["partitions"] and all(each["lapsed"] for each in found["partitions"].values()):
        console.print("nothing was active when a worker was last heard")
    elif not active:
        ordered = ", ".join(scope["scope"] for scope in shown)
        by = f"; by order: {ordered}" if ordered else ""
        console.print(f"nothing is active: every route uses its primary{by}", soft_wrap=True)
        if seen := _seen(found["predicates"]):
            console.print(f"seen, and not acted on: {seen}", soft_wrap=True)
    elif not active.isdisjoint(found["lapsed"]):
        console.print("lapsed: the owner is silent and its lease is over, so gateways obey it no more")
    if withheld := found["withheld"]:
        console.print(f"withheld: {', '.join(withheld)}; max_active_share keeps these on their primary")
    if odd := _odd(found["counts"]):
        console.print(f"not judged as they came: {odd} ({_WHERE_TO_LOOK})")
    calibration = found["calibration"]
    console.print(
        f"calibrated {calibration['age_s'] / 86_400:.1f} days ago ({calibration['made_at']})"
        if calibration
        else "not calibrated: predicates learn by themselves and use safe defaults"
    )
    if found["predicates"]:
        console.print(_predicates(found["predicates"]))
    if partitions := found["partitions"]:
        console.print(_partitions(partitions))
        console.print(f"armed on records judged: {_armed(partitions.values())}", soft_wrap=True)
