"""No verb writes over a file that it reads: what is asked for by mistake costs nobody a recording."""

import json
import os

import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.contract import load_contract
from tests.unit.lab.test_replay import CONTRACT, T0

ROWS = [
    {"event_time": T0 + i / 10, "route": "chat", "error": "", "output_tokens": 100 + i % 7}
    for i in range(3000)
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Calls under four names, and a contract; commands are given from there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calls.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "link.yaml").symlink_to("calls.jsonl")
    os.link("calls.jsonl", "hard.yaml")
    (tmp_path / "sub").mkdir()
    (tmp_path / "contract.yaml").write_text(CONTRACT)
    (tmp_path / "page.html").symlink_to("contract.yaml")
    return tmp_path


def invoke(*args):
    return CliRunner().invoke(build(), [*map(str, args)])


def calibrated(*options):
    return invoke("calibrate", "calls.jsonl", "--contract", "contract.yaml", *options)


@pytest.mark.parametrize("name", ["calls.jsonl", "link.yaml", "hard.yaml", "sub/../calls.jsonl"])
@pytest.mark.parametrize("option", ["--out", "--report"])
def test_calibrate_writes_over_no_recording(folder, option, name):
    """By none of its names; it is refused before anything is read."""
    before = (folder / "calls.jsonl").read_bytes()
    out = [] if option == "--out" else ["--out", "out.yaml"]
    result = calibrated(*out, option, name)

    assert result.exit_code == 2
    assert f"detector: {name} is " in result.stderr
    assert "that this command reads or writes too: name another one" in result.stderr
    assert (folder / "calls.jsonl").read_bytes() == before
    assert not (folder / "out.yaml").exists()


@pytest.mark.parametrize(
    ("out", "page"),
    [("contract.yaml", "page.html"), ("one.yaml", "one.yaml"), ("one.yaml", "./sub/../one.yaml")],
)
def test_the_page_is_neither_the_contract_nor_the_calibrated_one(folder, out, page):
    """Though one may be a link, and the other not be there yet."""
    result = calibrated("--out", out, "--report", page)

    assert result.exit_code == 2
    assert (folder / "contract.yaml").read_text() == CONTRACT


def test_a_contract_may_be_calibrated_in_its_place(folder):
    """All that a person wrote stays in it."""
    assert calibrated("--out", "contract.yaml").exit_code == 0
    assert load_contract((folder / "contract.yaml").read_text()).calibration.routes.keys() == {"chat"}
    assert (folder / "contract.yaml").read_text().startswith(CONTRACT)


@pytest.mark.parametrize("read", ["--replay", "--settings"])
def test_label_writes_over_nothing_that_it_reads(folder, read):
    """Incidents are neither a replay nor settings."""
    (folder / "out.json").write_text("{}")
    (folder / "same.csv").symlink_to("out.json")
    result = invoke("label", "chat", "true", "--incidents", "same.csv", read, "out.json")

    assert result.exit_code == 2
    assert "same.csv is out.json that this command reads" in result.stderr
    assert (folder / "out.json").read_text() == "{}"
