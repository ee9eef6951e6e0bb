"""Laws of the contract loader over arbitrary and damaged text."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detector.contract import RULES, ContractError, check_text, load_contract
from detector.contract.digest import digest
from detector.contract.model import Contract
from detector.contract.nodes import read_nodes

EXAMPLE = (Path(__file__).parents[1] / "data" / "contracts" / "example.yaml").read_text()
CONTENT: dict[str, Any] = yaml.safe_load(EXAMPLE)
DIGEST = load_contract(EXAMPLE).digest

AWKWARD = (
    *(
        "\t",
        "\x00",
        "\ud800",
        "\ufeff",
        "\x85",
        "\u2028",
        "\r",
        "\x1b[31m",
        "'",
        '"',
        "#",
        "[" * 50,
        "{" * 50,
    ),
    *("&a ", "*a", "<<: *a", "!!python/object:os.system ", "!x ", "? ", "- ", ": ", "|\n"),
    *(
        "---\n",
        "...\n",
        "%YAML 9.9\n",
        "1e999",
        "-.inf",
        ".nan",
        "9" * 400,
        "0x" + "f" * 400,
        "null",
        "{}",
        "[]",
    ),
)
awkward = st.sampled_from(AWKWARD)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["*", "rule", "errors"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


def refused_or_loaded(text: str | bytes) -> None:
    """The two entries agree, and nothing but ContractError leaves them."""
    findings = check_text(text, "c.yaml")
    assert all(found.rule in RULES and found.line >= 1 and found.column >= 1 for found in findings)
    assert all("\n" not in found.message + found.advice for found in findings)
    if any(found.severity == "error" for found in findings):
        with pytest.raises(ContractError) as caught:
            load_contract(text, "c.yaml")
        assert list(caught.value.findings) == findings
    else:
        assert isinstance(load_contract(text, "c.yaml"), Contract)


@given(st.one_of(st.text(), st.binary(), st.lists(awkward, max_size=6).map("".join)))
@example("? [a]\n: b")
@example("a: &a [*a]")
@example("\ud800")
def test_arbitrary_text_raises_nothing_else(text: str | bytes) -> None:
    """Whatever stands in the file, it is a contract or a list of findings."""
    refused_or_loaded(text)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.one_of(awkward, st.text(max_size=8)))
def test_a_damaged_example_raises_nothing_else(start: int, length: int, put: str) -> None:
    """A cut, an insertion or both anywhere in a good file."""
    refused_or_loaded(EXAMPLE[:start] + put + EXAMPLE[start + length :])


def paths(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in the content, from the root down."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [here, *(path for key, child in children for path in paths(child, (*here, key)))]


PATHS = paths(CONTENT)


def with_value(path: tuple[Any, ...], value: Any) -> Any:
    """The content with another value at one place."""
    if not path:
        return value
    content = copy.deepcopy(CONTENT)
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return content


@settings(max_examples=200)
@given(st.sampled_from(PATHS), values)
def test_any_value_anywhere_raises_nothing_else(path: tuple[Any, ...], value: Any) -> None:
    """Well-formed YAML of the wrong shape, at every place of the example."""
    refused_or_loaded(yaml.dump(with_value(path, value), Dumper=Plain))


class Plain(yaml.SafeDumper):
    """Writes values out where they stand."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def shuffled(node: Any, draw: random.Random, here: tuple[Any, ...] = ()) -> Any:
    """The same content with the keys of every mapping but `modes` in another order."""
    if isinstance(node, dict):
        keys = list(node)
        if here != ("modes",):
            draw.shuffle(keys)
        return {key: shuffled(node[key], draw, (*here, key)) for key in keys}
    return [shuffled(item, draw, (*here, None)) for item in node] if isinstance(node, list) else node


@settings(max_examples=50)
@given(st.randoms(use_true_random=False), st.sampled_from([None, True, False]), st.integers(20, 200))
def test_the_digest_does_not_see_formatting(draw: random.Random, flow: bool | None, width: int) -> None:
    """Order of keys where it has no meaning, block or flow style, line lengths and comments do not count."""
    text = yaml.dump(
        shuffled(CONTENT, draw), Dumper=Plain, sort_keys=False, default_flow_style=flow, width=width
    )

    assert load_contract("# a comment\n" + text + "\n# another\n").digest == DIGEST


@pytest.mark.parametrize(("old", "new"), [("lease_s: 15", "lease_s: 15.0"), ("p99_ms: 250", "p99_ms: 2.5e2")])
def test_the_digest_takes_a_number_by_its_value(old: str, new: str) -> None:
    """How a number is written is formatting."""
    assert load_contract(EXAMPLE.replace(old, new)).digest == DIGEST


def test_the_digest_sees_the_order_of_modes() -> None:
    """It is their precedence."""
    content = {**CONTENT, "modes": dict(reversed(CONTENT["modes"].items()))}
    other = load_contract(yaml.dump(content, Dumper=Plain, sort_keys=False))

    assert list(other.modes) == list(reversed(CONTENT["modes"]))
    assert other.digest != DIGEST


def variant(value: Any) -> Any:
    """Another value of the same kind, close enough to be valid almost everywhere."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 1.001
    return {"act": "notice", "notice": "act"}.get(value, f"{value}2")


def at(path: tuple[Any, ...]) -> Any:
    """The value at one place of the content."""
    value: Any = CONTENT
    for key in path:
        value = value[key]
    return value


def digest_of(content: Any) -> str:
    """The digest of any content, a contract or not."""
    root = read_nodes(yaml.dump(content, Dumper=Plain, sort_keys=False), lambda rule, mark, message: None)
    assert root is not None
    return digest(root)


@pytest.mark.parametrize("path", [path for path in PATHS if not isinstance(at(path), dict | list)], ids=str)
def test_the_digest_changes_with_any_value(path: tuple[Any, ...]) -> None:
    """One value changed at one place, or taken away, is another content."""
    changed = digest_of(with_value(path, variant(at(path))))

    assert len({changed, digest_of(with_value(path, None)), digest_of(CONTENT)}) == 3
    assert digest_of(CONTENT) == DIGEST
    assert len(changed) == 16


LEARNT = "calibration: {routes: {chat: {predicates: {errors: {ceiling: %s}}}}}"


def test_the_digest_sees_calibration() -> None:
    """What was learnt is part of what decides."""
    one, two = (
        load_contract(EXAMPLE.replace("calibration: {}", LEARNT % ceiling)) for ceiling in (0.01, 0.02)
    )

    assert len({one.digest, two.digest, DIGEST}) == 3
    found = one.calibrated("chat", "errors")
    assert found is not None
    assert found.ceiling == 0.01


def test_a_bomb_of_aliases_costs_no_more_than_its_text() -> None:
    """Aliases are refused where they stand, before anything is multiplied."""
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
    findings = check_text(f"a0: &a0 [x]\n{levels}\n")

    assert {found.rule for found in findings} == {"yaml-alias"}


@pytest.mark.parametrize(
    "text", ["[" * 10_000, "{a: " * 10_000, "- " * 10_000], ids=["flow list", "flow mapping", "block list"]
)
def test_depth_is_bounded_before_it_is_built(text: str) -> None:
    """Ten thousand levels are findings, not a stack overflow."""
    refused_or_loaded(text)
    assert check_text(text)


def test_nesting_by_indentation_is_bounded_too() -> None:
    """Blocks nest without a bracket."""
    (found,) = check_text("".join(" " * level + "a:\n" for level in range(300)))

    assert (found.rule, found.line) == ("too-deep", 25)
