"""One bad file for each rule, and the example that breaks none."""

from dataclasses import asdict
from pathlib import Path

import pytest

from detector.contract import RULES, ContractError, check_text, example_text, load_contract
from detector.contract.nodes import MAX_CHARACTERS

DATA = Path(__file__).parents[2] / "data" / "contracts"
BAD = sorted((DATA / "bad").glob("*.yaml"))
EXAMPLE = (DATA / "example.yaml").read_text()


def places(text: str | bytes) -> list[tuple[str, str]]:
    return [(found.rule, f"{found.line}:{found.column}") for found in check_text(text)]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_breaks_exactly_the_rule_it_is_named_after_at_the_place_in_its_header(path: Path) -> None:
    """The header reads `# rule line:column`; nothing but that one problem is reported."""
    data = path.read_bytes()
    _, rule, place = data.split(b"\n", 1)[0].decode().split()

    assert rule == path.stem
    assert places(data) == [(rule, place)]


def test_every_rule_has_a_bad_file() -> None:
    """A rule without a file that breaks it is not known to work; a file too large to keep is made below."""
    assert {path.stem for path in BAD} == set(RULES) - {"file-too-large"}


def test_one_wrong_value_hides_no_other_problem() -> None:
    """Of one predicate and one fallback: what is out of range, what does not fit, and what is not read."""
    text = EXAMPLE.replace(
        "errors:          {type: rate, field: error, ceiling: 0.01}",
        "errors:          {type: rate, field: latency_s, ceiling: 0, by: [tenant]}",
    ).replace("p99_ms: 20, share: 0.8", "p99_ms: 90, share: 2")

    found = [rule for rule, _ in places(text)]
    assert sorted(found) == ["fallback-too-slow", "field-type", "out-of-range", "out-of-range", "unused-key"]


def test_a_file_too_large_is_refused_before_it_is_read() -> None:
    """The limit counts characters: at the limit the text is read, over it it is not."""
    padded = EXAMPLE + "#" * (MAX_CHARACTERS - len(EXAMPLE))

    assert places(padded) == []
    assert places(padded + "#") == [("file-too-large", "1:1")]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_finding_says_what_to_do(path: Path) -> None:
    """Message and advice are there, on one line each, and the level is the rule's."""
    for found in check_text(path.read_bytes(), path.name):
        assert found.file == path.name
        assert found.message
        assert found.advice
        assert "\n" not in found.message + found.advice
        assert found.severity == RULES[found.rule].severity


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_errors_stop_the_loading_and_warnings_do_not(path: Path) -> None:
    """load_contract raises exactly if a finding is an error, and carries all findings."""
    findings = check_text(path.read_bytes(), path.name)
    if all(found.severity != "error" for found in findings):
        assert load_contract(path.read_bytes(), path.name).digest
    else:
        with pytest.raises(ContractError) as caught:
            load_contract(path.read_bytes(), path.name)
        assert list(caught.value.findings) == findings


def test_the_examples_are_without_a_finding_and_the_same_contract() -> None:
    """The shipped example explains the documented one and changes nothing in it."""
    assert check_text(EXAMPLE) == []
    assert check_text(example_text()) == []
    assert asdict(load_contract(example_text())) == asdict(load_contract(EXAMPLE))


def test_every_problem_is_reported_at_once_in_the_order_of_the_file() -> None:
    """Problems in different parts do not hide each other."""
    text = (
        EXAMPLE.replace("lease_s: 15", "lease_s: 5")
        .replace("field: hallucinated", "field: hallucinatd")
        .replace("when: slow_upstream", "when: slow_upstrem")
        .replace("fallbacks: [rule]}", "fallbacks: [rul]}")
        .replace("p99_ms: 45", "p99_ms: 450")
    )
    findings = check_text(text)

    assert {found.rule for found in findings} == {
        "lease-too-short",
        "unknown-field",
        "unknown-predicate",
        "unused-predicate",
        "unknown-fallback",
        "fallback-too-slow",
        "fallback-mean-too-slow",
    }
    assert [(found.line, found.column) for found in findings] == sorted((f.line, f.column) for f in findings)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("cieling: 0.02", "ceiling"),
        ("ceiling: 0.02, methd: literal", "method"),
        ("ceiling: 0.02, method: litteral", "literal"),
    ],
)
def test_advice_names_the_nearest_word(wrong: str, right: str) -> None:
    """A slip of the fingers is answered with the word that was meant."""
    findings = check_text(EXAMPLE.replace("ceiling: 0.02", wrong))

    assert any(right in found.advice and "did you mean" in found.advice for found in findings)
