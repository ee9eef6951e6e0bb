"""What a contract file loads to."""

from dataclasses import fields
from pathlib import Path

import pytest

from detector.contract import ContractError, check_text, load_contract
from detector.contract.calibration import CalibratedPredicate, CalibratedRoute, Calibration
from detector.contract.grammar import (
    CALIBRATED,
    CALIBRATED_ROUTE,
    CALIBRATION,
    DEFAULTS,
    FALLBACK,
    MODE,
    PREDICATE,
    REFERENCE,
    ROUTE,
    ROW,
    SLO,
    Keys,
)
from detector.contract.model import (
    Contract,
    Defaults,
    Fallback,
    MatrixRow,
    Mode,
    PredicateSpec,
    Reference,
    RouteRule,
    Slo,
)
from detector.contract.nodes import scalar_value

EXAMPLE = (Path(__file__).parents[2] / "data" / "contracts" / "example.yaml").read_text()


@pytest.fixture(scope="module")
def example() -> Contract:
    return load_contract(EXAMPLE)


def test_the_example_loads_to_the_values_it_states(example: Contract) -> None:
    """Each section of the file arrives as typed values; what it leaves out has its default."""
    assert example.version == 1
    assert example.defaults == Defaults(
        false_alarms_per_week=0.15, lease_s=15.0, revert_within_s=10.0, probe_share=0.05
    )
    assert example.routes == (
        RouteRule(
            match="*",
            slo=Slo(p99_ms=250.0, primary_p99_ms=200.0, monitoring_ms=20.0, availability=0.9999),
            input_classes=("high_risk", "default"),
        ),
    )
    assert example.predicates["slow_upstream"] == PredicateSpec(
        name="slow_upstream", type="exceedance", field="upstream_s", above_ms=100.0, ceiling=0.01
    )
    assert example.predicates["silence"] == PredicateSpec(name="silence", type="absence", after_s=30.0)
    assert list(example.modes) == [
        "hallucination_spike",
        "external_api_latency",
        "latency_spike",
        "token_drift",
        "input_drift",
        "error_spike",
        "telemetry_silence",
    ]
    assert example.modes["external_api_latency"].mutes == ("latency_spike",)
    assert example.modes["telemetry_silence"].severity == "notice"
    assert example.fallbacks["cache"] == Fallback(name="cache", type="retrieval", p99_ms=35.0, share=0.15)
    assert example.matrix[1] == MatrixRow(
        mode="latency_spike", input_class="high_risk", fallbacks=("cache", "rule")
    )
    assert example.calibration == Calibration()


def test_the_example_chooses_the_more_specific_row(example: Contract) -> None:
    """A row that names the mode goes before one for any mode, and a named class before the rest."""
    assert example.fallbacks_for("hallucination_spike", "chat") == {"*": ["rule"]}
    assert example.fallbacks_for("latency_spike", "chat") == {
        "high_risk": ["cache", "rule"],
        "*": ["secondary", "cache", "rule"],
    }


def test_numbers_arrive_as_the_model_declares_them(example: Contract) -> None:
    """A whole number where the model has a float becomes a float: arithmetic is the same everywhere."""
    assert type(example.defaults.lease_s) is float
    assert type(example.predicates["silence"].after_s) is float
    assert type(example.version) is int


@pytest.mark.parametrize(
    ("keys", "made"),
    [
        (DEFAULTS, Defaults),
        (SLO, Slo),
        (ROUTE, RouteRule),
        (PREDICATE, PredicateSpec),
        (REFERENCE, Reference),
        (MODE, Mode),
        (FALLBACK, Fallback),
        (ROW, MatrixRow),
        (CALIBRATION, Calibration),
        (CALIBRATED_ROUTE, CalibratedRoute),
        (CALIBRATED, CalibratedPredicate),
    ],
)
def test_the_grammar_has_a_key_for_each_value_of_the_model(keys: Keys, made: type) -> None:
    """What the file can say and what the program reads are the same set; names are keys of their own."""
    elsewhere = {"name", "stated", *(("routes",) if made is PredicateSpec else ())}  # routes: under `where`

    assert set(keys) == {field.name for field in fields(made)} - elsewhere


@pytest.mark.parametrize("made", [Defaults, Slo])
def test_defaults_are_within_the_bounds_of_their_keys(made: type) -> None:
    """A contract that spells out every default has no finding."""
    section = "defaults" if made is Defaults else "slo"
    spelt = ", ".join(f"{field.name}: {field.default}" for field in fields(made) if field.name != "stated")
    line = next(line for line in EXAMPLE.splitlines() if f"{section}: {{" in line)
    spaces = line[: line.index(section)]

    assert check_text(EXAMPLE.replace(line, f"{spaces}{section}: {{{spelt}}}")) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1e-3", 1e-3),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0o17", 15),
        ("0x1F", 31),
        ("010", 10),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("TRUE", True),
        ("~", None),
        ("9" * 5000, float("inf")),
        ("١", "١"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    """YAML 1.1's surprises (no as false, 1:30 as 90) are not read into contracts."""
    assert scalar_value(text) == value
    assert type(scalar_value(text)) is type(value)


def test_bytes_and_text_load_alike_and_a_byte_order_mark_is_no_content() -> None:
    """What an editor adds in front of a file changes nothing."""
    plain = load_contract(EXAMPLE)

    assert load_contract(EXAMPLE.encode()) == plain
    assert load_contract(b"\xef\xbb\xbf" + EXAMPLE.encode()) == plain


def test_an_error_names_the_first_error_and_counts_the_rest() -> None:
    """One line is enough for a log."""
    with pytest.raises(ContractError, match=r"^c.yaml:1:10 wrong-version .* \(and 1 more\)$"):
        load_contract("version: 3\nmodes: {}\n", "c.yaml")


@pytest.mark.parametrize(
    "text",
    [
        'predicates: {a: {type: divergence, field: input_tokens, by: "\\e[31m\\e]0;x\\a"}}',
        'predicates: {"\\e[31m": {type: absence, after_s: 1}, b: {type: absence, after_s: 1}}\n'
        "modes: {m: {when: zzzzzzzz}}",
    ],
    ids=["what is to be a list", "names that are known"],
)
def test_no_advice_holds_what_a_terminal_would_obey(text):
    """What is copied from the file into advice is escaped as it is in messages."""
    found = check_text(f"version: 1\n{text}\n")

    assert any(r"\x1b[31m" in each.advice for each in found)
    assert all((each.message + each.advice).isprintable() for each in found)
