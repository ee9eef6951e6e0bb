"""What the demo shows while it runs: a live table on a terminal, a line per event elsewhere."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from detector.embedded.demo.log import Log
from detector.embedded.demo.traffic import Traffic


class Screen:
    """Draws the state of all routes; `update` as often as wanted."""

    def __init__(
        self, console: Console, log: Log, traffic: Sequence[Traffic], age_at: Callable[[float], float]
    ) -> None:
        self._console = console
        self._log = log
        self._traffic = traffic
        self._age_at = age_at
        self._said = 0
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> "Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, age_s: float) -> None:
        """Show the state at `age_s` seconds into the feed."""
        if self._live is not None:
            self._live.update(self._table(age_s), refresh=True)
            return
        for record in self._log.acted[self._said :]:
            state = (
                record.state
                if record.state == "inactive"
                else f"{record.mode}, primary {record.primary_share:.0%}"
            )
            self._console.print(
                f"{self._age_at(record.issued_at):6.1f} s  {record.scope}: {state}: {record.reason}",
                markup=False,
            )
        self._said = len(self._log.acted)

    def _table(self, age_s: float) -> Table:
        table = Table(title=f"{age_s:.0f} s", title_justify="left")
        for column in ("route", "primary is", "gateways", "mode", "evidence"):
            table.add_column(column)
        for column in ("calls", "diverted", "probes"):
            table.add_column(column, justify="right")
        for traffic in self._traffic:
            scenario, tally = traffic.scenario, traffic.tally
            primary = "[red]at fault[/red]" if scenario.faulty(age_s) else "well"
            table.add_row(
                scenario.route,
                primary,
                *self._state(scenario.route),
                f"{tally.calls:,}",
                f"{tally.diverted:,}",
                f"{tally.probes:,}",
            )
        return table

    def _state(self, route: str) -> tuple[str, str, str]:
        episodes = self._log.of_route(route)
        if not episodes:
            return "use the primary", "", ""
        latest, mode, evidence = episodes[-1].latest, episodes[-1].mode, episodes[-1].opened.evidence
        crossed = (
            f"{evidence.predicate} {evidence.value:.3g} over {evidence.threshold:.3g}"
            if evidence.value is not None and evidence.threshold is not None
            else evidence.predicate
        )
        if latest.state == "inactive":
            return "[green]back on the primary[/green]", escape(mode), escape(crossed)
        if latest.next_revert_at is None:
            return f"[yellow]returning, {latest.primary_share:.0%}[/yellow]", escape(mode), escape(crossed)
        return "[yellow]on fallbacks[/yellow]", escape(mode), escape(crossed)
