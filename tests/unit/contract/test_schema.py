"""The JSON Schema agrees with the loader on keys, types and ranges."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from detector.contract import check_text, contract_schema, example_text

DATA = Path(__file__).parents[2] / "data" / "contracts"
SCHEMA = contract_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
# Rules about one value or key by itself: all that a schema can tell.
SHAPE = {
    "bad-name",
    "condition-shape",
    "empty-list",
    "lease-too-short",
    "missing-key",
    "no-modes",
    "not-a-mapping",
    "repeated-name",
    "revert-too-slow",
    "unknown-choice",
    "unknown-key",
    "window-length",
    "wrong-type",
    "wrong-version",
}
NOT_FOR_A_SCHEMA = {"yaml-syntax", "tab-indent", "several-documents", "not-utf8", "out-of-range", "yaml-tag"}
REACHED = {
    "routes": "routes: [{match: a, %s: %s}]",
    "slo": "routes: [{match: a, slo: {%s: %s}}]",
    "predicates": "predicates: {a: {type: rate, %s: %s}}",
    "modes": "modes: {a: {when: b, %s: %s}}",
    "fallbacks": "fallbacks: {a: {%s: %s}}",
    "matrix": 'matrix: [{mode: "*", %s: %s}]',
    "defaults": "defaults: {%s: %s}",
    "contract": "%s: %s",
}


def described() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every (section, key, its schema)."""
    top = SCHEMA["properties"]
    sections = {
        "contract": SCHEMA,
        "defaults": top["defaults"],
        "routes": top["routes"]["items"],
        "slo": top["routes"]["items"]["properties"]["slo"],
        "predicates": top["predicates"]["additionalProperties"],
        "modes": top["modes"]["additionalProperties"],
        "fallbacks": top["fallbacks"]["additionalProperties"],
        "matrix": top["matrix"]["items"],
    }
    for section, schema in sections.items():
        assert schema["additionalProperties"] is False
        for key, value in schema["properties"].items():
            yield section, key, value


def test_the_schema_is_one_and_the_examples_are_valid() -> None:
    """Both examples are instances."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(yaml.safe_load(example_text()))
    VALIDATOR.validate(yaml.safe_load((DATA / "example.yaml").read_text()))
    json.dumps(SCHEMA)


@pytest.mark.parametrize("path", sorted((DATA / "bad").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_refuses_what_is_wrong_by_itself_and_nothing_else(path: Path) -> None:
    """A fault in the shape is a fault to both; one between several places is the loader's alone."""
    if path.stem in NOT_FOR_A_SCHEMA or path.stem in (
        "duplicate-key",
        "key-not-text",
        "yaml-alias",
        "too-deep",
    ):
        return
    valid = VALIDATOR.is_valid(yaml.safe_load(path.read_text()))

    assert valid == (path.stem not in SHAPE)


@pytest.mark.parametrize(("section", "key", "value"), list(described()))
def test_the_loader_knows_every_key_of_the_schema(section: str, key: str, value: dict[str, Any]) -> None:
    """A key that the schema has is no unknown key to the loader, and a misspelt one is, to both."""
    known = {found.rule for found in check_text(REACHED[section] % (key, "x"))}
    other = {found.rule for found in check_text(REACHED[section] % (key + "_", "x"))}

    assert "unknown-key" not in known
    assert "unknown-key" in other
    assert value["description"]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [case for case in described() if case[2].get("type") in ("number", "integer")],
)
def test_schema_and_loader_draw_the_same_bounds(section: str, key: str, value: dict[str, Any]) -> None:
    """A number is within the schema's range exactly if the loader has nothing to say about that value."""
    by_itself = {"out-of-range", "lease-too-short", "revert-too-slow", "window-length", "wrong-type"}
    validator = jsonschema.Draft202012Validator(value)
    for number in (-1, 0, 0.5, 1, 1.5, 5, 10, 10.5, 12, 12.5, 60, 61, 3600, 3601):
        findings = check_text(REACHED[section] % (key, number))
        complaints = {found.rule for found in findings if f"'{key}'" in found.message} & by_itself

        assert validator.is_valid(number) == (not complaints), number
