"""Many contracts on one stream of records: in this process, or shared out over a few."""

import multiprocessing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from detector.contract.model import Contract
from detector.lab.feed import Feed
from detector.lab.outcome import digest_of
from detector.modes.counts import armed_shares
from detector.modes.decision import Decision
from detector.pipeline import Pipeline
from topics.telemetry import Evaluation, TelemetryRecord

Chunk = tuple[list[TelemetryRecord], list[int]]  # records and their rows' indices
Verdicts = Sequence[tuple[int, Evaluation]]
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Judged:
    """What one contract decided.

    Attributes:
        armed: how much of the traffic each predicate was armed for, 0..1.
        late: records older than every window, not judged.
    """

    decisions: tuple[Decision, ...]
    armed: dict[str, float]
    digest: str
    late: int


class WorkerError(RuntimeError):
    """A worker process came to an end before its work."""


def judge_all(
    chunks: Iterable[Chunk], contracts: Sequence[Contract], workers: int = 1, verdicts: Verdicts = ()
) -> list[Judged]:
    """Judge a stream by every contract, each as a replay of its own would.

    Args:
        chunks: the stream, read once.
        contracts: results come in their order.
        workers: processes to share them out over.
        verdicts: late ones with the index of their row, held by each worker.

    Raises:
        WorkerError: a worker was killed or failed.
    """
    workers = min(workers, len(contracts))
    if workers <= 1:
        return _judge_here(chunks, contracts, verdicts)
    # Spawned, not forked: whoever calls this from a notebook has threads.
    context = multiprocessing.get_context("spawn")
    shares = [contracts[number::workers] for number in range(workers)]
    pipes: list[Connection] = []
    processes = []
    try:
        for share in shares:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, list(share), verdicts), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        results = _hand_out(chunks, pipes)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join()
    judged: list[Judged | None] = [None] * len(contracts)
    for number, share_results in enumerate(results):
        judged[number::workers] = share_results
    return [each for each in judged if each is not None]


def _judge_here(chunks: Iterable[Chunk], contracts: Sequence[Contract], verdicts: Verdicts) -> list[Judged]:
    benches = [_Bench(contract, verdicts) for contract in contracts]
    for records, offsets in chunks:
        for bench in benches:
            bench.take(records, offsets)
    return [bench.judged() for bench in benches]


class _Bench:
    """One contract at work."""

    def __init__(self, contract: Contract, verdicts: Verdicts) -> None:
        self._pipeline = Pipeline(contract)
        self._feed = Feed.for_contract([self._pipeline], contract, evaluations=verdicts)

    def take(self, records: Sequence[TelemetryRecord], offsets: Sequence[int]) -> None:
        for record, offset in zip(records, offsets, strict=True):
            self._feed.add(record, offset)

    def judged(self) -> Judged:
        self._feed.finish()
        decisions = tuple(self._feed.decisions)
        pipeline, late = self._pipeline, self._pipeline.counts.late
        armed = armed_shares(pipeline.contract.predicates, map(pipeline.route, pipeline.routes))
        return Judged(decisions, armed, digest_of(decisions), late)


def _hand_out(chunks: Iterable[Chunk], pipes: Sequence[Connection]) -> list[list[Judged]]:
    """Give every worker the whole stream; a pipe that is full holds the reading back."""
    try:
        for records, offsets in chunks:
            data = _encode((records, offsets))
            for pipe in pipes:
                pipe.send_bytes(data)
        for pipe in pipes:
            pipe.send_bytes(b"")
        answers: list[Any] = [pipe.recv() for pipe in pipes]
    except (EOFError, OSError) as error:
        raise WorkerError(f"a worker of the sweep has ended: {error!r}") from error
    return answers


def _work(pipe: Connection, contracts: list[Contract], verdicts: Verdicts) -> None:
    """Body of a worker: chunks in until an empty one, results out."""
    benches = [_Bench(contract, verdicts) for contract in contracts]
    decode = msgspec.msgpack.Decoder(tuple[list[TelemetryRecord], list[int]]).decode
    while data := pipe.recv_bytes():
        records, offsets = decode(data)
        for bench in benches:
            bench.take(records, offsets)
    pipe.send([bench.judged() for bench in benches])
