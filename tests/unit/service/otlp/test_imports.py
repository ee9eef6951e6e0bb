"""What the process loads."""

import subprocess
import sys

import pytest

PURE = "attributes clock decode join letters logs model otlp_json progress spans".split()
CLIENTS = ["aiokafka", "confluent_kafka", "faust", "prometheus_client", "structlog"]


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [(PURE, CLIENTS), (["run"], ["faust", "mode", "scipy", "river"])],
    ids=["pure", "run"],
)
def test_nothing_is_loaded_that_is_not_needed(modules: list[str], heavy: list[str]) -> None:
    """The mapping needs no client, and the process no Faust."""
    program = (
        "import sys, importlib\n"
        f"for name in {modules!r}: importlib.import_module('detector.service.otlp.' + name)\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("", "")
