"""What a notebook calibrates is a contract: to judge by, and to write where the command would."""

import random

import msgspec
import pyarrow as pa
import pyarrow.csv
import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.contract import load_contract
from detector.lab import calibrate, replay
from detector.lab.calibrate.section import SectionError
from tests.unit.lab.test_api import CONTRACT, T0


@pytest.fixture(scope="module")
def calls():
    draw = random.Random(3)
    rows = [
        {"event_time": T0 + i / 10, "route": "chat", "error": "500" if draw.random() < 0.002 else ""}
        for i in range(9000)
    ]
    return pa.Table.from_pylist(rows)


@pytest.fixture
def folder(tmp_path, calls):
    """The calls as a file, and a contract with a mark of byte order, a comment and Windows' ends of lines."""
    pyarrow.csv.write_csv(calls, tmp_path / "calls.csv")
    text = f"{CONTRACT}# mine\n".replace("\n", "\r\n")
    (tmp_path / "contract.yaml").write_bytes(text.encode("utf-8-sig"))
    return tmp_path


def test_it_is_written_to_the_byte_as_by_the_command(folder):
    """From the same file; and read again it is the contract that the notebook has."""
    args = [
        "calibrate",
        folder / "calls.csv",
        "--contract",
        folder / "contract.yaml",
        "--out",
        folder / "a.yaml",
    ]
    assert CliRunner().invoke(build(), [*map(str, args)]).exit_code == 0
    found = calibrate(folder / "calls.csv", folder / "contract.yaml")
    found.write(str(folder / "b.yaml"))
    written = (folder / "b.yaml").read_bytes()
    by_command, by_notebook = (
        [line for line in (folder / name).read_bytes().splitlines(True) if b"made_at:" not in line]
        for name in ("a.yaml", "b.yaml")
    )

    assert by_notebook == by_command
    assert b"# mine\r\n" in written
    assert load_contract(written) == found.contract
    assert found.contract.calibration.of("chat", "errors") is not None


def test_the_contract_of_a_frame_is_to_judge_by(calls):
    """It comes from text as from a `Contract`; what was never text has no digest, and is not written."""
    by_text, by_contract = (calibrate(calls, given) for given in (CONTRACT, load_contract(CONTRACT)))

    assert by_text.contract.digest not in ("", load_contract(CONTRACT).digest)
    assert by_contract.contract.digest == ""
    assert by_contract.contract.calibration.routes == by_contract.result.calibration.routes
    assert replay(calls, by_text.contract).result.records == 9000
    with pytest.raises(ValueError, match="has no text to write: give calibrate the path of its file"):
        by_contract.write("out.yaml")


def test_it_writes_over_the_contract_but_over_none_of_its_data(folder):
    """Not by a link either."""
    (folder / "link.yaml").symlink_to("calls.csv")
    before = (folder / "calls.csv").read_bytes()
    found = calibrate([folder / "calls.csv"], folder / "contract.yaml")
    found.write(folder / "contract.yaml")
    for name in ("calls.csv", "link.yaml"):
        with pytest.raises(ValueError, match=r"is a file of the data, .*calls\.csv"):
            found.write(folder / name)

    assert (folder / "calls.csv").read_bytes() == before
    assert load_contract((folder / "contract.yaml").read_bytes()) == found.contract


def test_a_contract_without_lines_of_its_own_is_refused(calls):
    """There is no place for the section."""
    text = msgspec.json.format(msgspec.json.encode(msgspec.yaml.decode(CONTRACT))).decode()
    found = calibrate(calls, text)

    with pytest.raises(SectionError, match="write the contract as lines"):
        found.write("out.yaml")
