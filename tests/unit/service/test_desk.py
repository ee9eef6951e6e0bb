"""An operator's order on its way through a whole worker, from the topic to the topic."""

import time
from typing import Any

from structlog.testing import capture_logs

from detector.contract.model import Contract, Fallback, MatrixRow, Mode
from detector.service.controlfeed import Read
from detector.service.settings import Settings
from detector.service.shell import Shell
from detector.service.topics_admin import Cluster
from topics.codec import encode
from topics.control import ControlRecord, Override, decode_control
from topics.names import topics

CONTRACT = Contract(
    modes={"errors": Mode(name="errors", when="errors")},
    fallbacks={name: Fallback(name=name) for name in ("rule", "cache")},
    matrix=(
        MatrixRow(mode="errors", input_class="*", fallbacks=("rule",)),
        MatrixRow(mode="*", input_class="*", fallbacks=("cache", "rule")),
    ),
)


def test_an_order_where_nothing_is_wrong_brings_the_contracts_fallbacks() -> None:
    """Without names a gateway that is told to leave the primary would not know where to go."""
    declared = topics()
    shell = Shell(Settings(), CONTRACT, Cluster(1, 1_000_000), owner_id="w")
    sent: list[tuple[str, Any, Any, Any]] = []

    def send(topic: str, key: Any, value: Any, headers: Any, **_: Any) -> int:
        sent.append((topic, key, value, headers))
        return len(sent)

    shell.control.send = send  # type: ignore[method-assign]

    def read_back() -> None:
        for topic, key, value, headers in sent[:]:
            if topic == declared.control.name:
                shell.desk.on_read([Read(topic, 0, key, value, tuple(headers))])

    shell.desk.assign(0)
    shell.desk.claim(0)
    read_back()
    order = Override(scope="chat", state="active", until=4e9, who="ann", issued_at=1.7e9)
    shell.desk.on_read([Read(declared.overrides.name, 0, b"chat", encode(order), ())])

    said = decode_control(sent[-1][2])
    assert (said.scope, said.state, said.source) == ("chat", "active", "operator")
    assert said.fallbacks == {"*": ["cache", "rule"]}


def test_without_a_row_for_any_mode_the_first_modes_fallbacks_serve() -> None:
    """A contract may name each mode; an order still has somewhere to go, and none is made up."""
    named = Contract(modes=CONTRACT.modes, matrix=CONTRACT.matrix[:1])

    assert named.fallbacks_at_will("chat") == {"*": ["rule"]}
    assert Contract().fallbacks_at_will("chat") == {}


def test_workers_that_judge_by_different_contracts_are_told_of_once() -> None:
    """By what the other one publishes now; what lies there from long ago was said by another contract too."""
    shell = Shell(Settings(), CONTRACT, Cluster(2, 1_000_000), owner_id="w")
    shell.desk.assign(0)
    topic = topics().control.name

    def read(contract: str, **changed: Any) -> list[Any]:
        fields = {"scope": "chat", "route": "chat", "state": "active", "partition": 1, "epoch": 9}
        record = ControlRecord(**fields | {"issued_at": time.time()} | changed, contract=contract)  # type: ignore[arg-type]
        with capture_logs() as logs:
            shell.desk.on_read([Read(topic, 0, b"chat", encode(record), ())])
        return [each for each in logs if each["event"] == "other_contract"]

    assert read("theirs", issued_at=time.time() - 600) == []
    assert read("theirs", partition=0) == []
    assert read(CONTRACT.digest, revision=1) == []
    (told,) = read("theirs", revision=2)
    assert (told["partition"], told["theirs"], told["ours"]) == (1, "theirs", CONTRACT.digest)
    assert read("theirs", revision=3) == []
    assert len(read("a third", revision=4)) == 1
