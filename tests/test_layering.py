"""The layers hold, and the test that says so can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.layering import breaches

ROOT = Path(__file__).parent.parent


def test_every_import_goes_down_the_arrow() -> None:
    """A pure layer neither waits nor looks at the world, and no layer imports one above it."""
    found = breaches(ROOT)

    assert not found, "\n" + "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("topics/planted.py", "import asyncio"),
        ("topics/planted.py", "import numpy"),
        ("topics/planted.py", "from detector.windows import panes"),
        ("detector/windows/planted.py", "from time import monotonic"),
        ("detector/windows/planted.py", "import detector.predicates"),
        ("detector/windows/planted.py", "from .. import pipeline"),
        ("detector/contract/planted.py", "from detector.modes import planted"),
        ("detector/contract/planted.py", "text = open('contract.yaml').read()"),
        ("detector/predicates/planted.py", "def late():\n    import aiokafka"),
        ("detector/predicates/planted.py", "from numpy import random"),
        ("detector/predicates/planted.py", "import numpy as np\nrng = np.random.default_rng()"),
        ("detector/modes/planted.py", "from datetime import datetime\nnow = datetime.now()"),
        ("detector/modes/planted.py", "import datetime\nnow = datetime.datetime.now(datetime.UTC)"),
        ("detector/modes/planted.py", "import faust"),
        ("detector/lab/simulator/planted.py", "from detector.modes import catalog"),
        ("detector/lab/simulator/planted.py", "import detector.predicates"),
        ("detector/pipeline.py", "import logging"),
        ("detector/pipeline.py", "from detector.service import settings"),
        ("detector/gateway/planted.py", "from detector.contract import model"),
        ("detector/gateway/planted.py", "import faust"),
        ("detector/gateway/adapters/planted.py", "from detector.pipeline import Pipeline"),
        ("detector/lab/planted.py", "from detector.service import settings"),
        ("detector/service/planted.py", "import detector.cli.main"),
        ("detector/unplaced/planted.py", "x = 1"),
    ],
)
def test_a_planted_breach_is_found(tmp_path: Path, file: str, source: str) -> None:
    """One forbidden line added to a copy of the sources gives a breach at that file."""
    for package in ("topics", "detector"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=_all_but_sources)
    for layer in ("windows", "contract", "predicates", "modes", "gateway", "lab", "service", "cli"):
        (tmp_path / "detector" / layer).mkdir(exist_ok=True)
    before = set(breaches(tmp_path))
    planted = tmp_path / file
    planted.parent.mkdir(parents=True, exist_ok=True)
    kept = planted.read_text(encoding="utf-8") if planted.exists() else ""
    planted.write_text(f"{kept}\n{source}\n", encoding="utf-8")

    found = set(breaches(tmp_path)) - before

    assert {breach.path for breach in found} == {file}


@pytest.mark.parametrize("package", ["topics", "detector", "detector.gateway"])
def test_a_gateway_loads_nothing_of_the_service(package: str) -> None:
    """Importing what a gateway needs brings in neither Faust nor numpy nor any of the detector's core."""
    heavy = [
        "faust",
        "mode",
        "numpy",
        "scipy",
        "river",
        "yaml",
        "typer",
        "structlog",
        "rich",
        "confluent_kafka",
    ]
    heavy += [
        f"detector.{layer}" for layer in ("windows", "predicates", "modes", "contract", "pipeline", "service")
    ]
    program = f"import sys, {package}; print(*[name for name in {heavy!r} if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.stdout.strip(), done.stderr) == ("", "")


def _all_but_sources(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".py") and not (Path(folder) / name).is_dir()}
