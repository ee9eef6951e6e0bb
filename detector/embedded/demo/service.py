"""The real service as a child process, on a broker that is there already."""

import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from detector.service.children import end_with_parent

_STOP_S = 6.0


class ServiceProcess:
    """`detector run` on the embedded broker, for as long as the context lasts; what it logs is kept.

    Args:
        contract: path of the contract file.
        bootstrap: address of the embedded broker.
    """

    def __init__(self, contract: Path, bootstrap: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="detector-demo-")
        self._log = Path(self._folder.name) / "service.log"
        arguments = ["--contract", str(contract), "--bootstrap", bootstrap, "--embedded", "--http-port", "0"]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "detector", "run", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    @property
    def ended(self) -> bool:
        """Whether the process has ended, which it does not do by itself."""
        return self._child.poll() is not None

    def log(self, lines: int = 30) -> str:
        """The last lines that it logged."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])

    def close(self) -> None:
        """Stop it as an operator would, by SIGTERM; by force if that takes more than it promises."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
