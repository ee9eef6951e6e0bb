"""Settings of a sweep that come out the same: the one nearest to the contract as it is written is marked."""

import pytest

from detector.contract.loader import load_contract
from detector.lab.incidents import Incident
from detector.lab.settings_grid import grid
from detector.lab.sweep import sweep_rows
from detector.lab.sweep_report import as_text
from tests.unit.lab.test_sweep import CONTRACT, T0
from topics.telemetry import TelemetryRecord


@pytest.mark.parametrize(
    ("values", "own", "chosen", "whose"),
    [
        pytest.param([0.1, 0.2, 0.3], 0.2, 0.2, "the contract's own", id="its own is among them"),
        pytest.param([0.1, 0.2, 0.3], 0.29, 0.3, "nearest to the contract's own", id="it is not"),
        pytest.param([0.3, 0.2, 0.1], 0.2, 0.2, "the contract's own", id="in another order"),
    ],
)
def test_of_settings_that_tie_the_contracts_own_is_marked(capsys, values, own, chosen, whose):
    """A mark is no reason to change a setting that does as well."""
    rows = [TelemetryRecord(event_time=T0 + i / 10, route="chat") for i in range(1000)]
    text = CONTRACT.replace("ceiling: 0.01", f"ceiling: {own}")
    truth = [Incident("chat", "error_spike", T0 + 60, T0 + 75)]
    result = sweep_rows(rows, grid(text, "c", {"predicates.errors.ceiling": values}), incidents=truth)
    as_text(result)
    told = " ".join(capsys.readouterr().out.split())

    marked = [each.setting.values["predicates.errors.ceiling"] for each in result.tried if each.chosen]
    assert marked == [chosen]
    assert "no difference between all 3 settings in mistakes, delay, calls diverted needlessly" in told
    assert f"> marks {whose} " in told


@pytest.mark.parametrize(
    ("path", "value", "apart"),
    [
        ("predicates.errors.ceiling", 0.02, 0.5),
        ("predicates.errors.ceiling", 0.01, 0.0),
        ("predicates.output.drift.window_s", 10, 0.0),
        ("defaults.lateness_s", load_contract(CONTRACT).defaults.lateness_s, 0.0),
        ("predicates.output.drift.min_samples", 100, 1.0),
        ("modes.error_spike.when", "errors", 0.0),
    ],
)
def test_a_setting_knows_how_far_it_is_from_the_contract(path, value, apart):
    """Defaults that the file leaves out are the contract's own values too."""
    (only,) = grid(CONTRACT, "c", {path: [value]})

    assert only.distance == pytest.approx(apart)
