"""Reading a contract file for a verb: findings go to stderr, a bad file ends the command."""

from collections.abc import Collection
from pathlib import Path

from detector.cli.output import note, wrong_use
from detector.contract.model import Contract


def read_contract(path: Path, despite: Collection[str] = ()) -> Contract:
    """Load the contract at `path`, or end the command with exit code 2 and every finding on stderr."""
    from detector.contract import ContractError, load_contract

    try:
        text = path.read_bytes()
    except OSError as error:
        wrong_use(f"{path}: {error}")
    try:
        return load_contract(text, str(path), despite=despite)
    except ContractError as error:
        for finding in error.findings:
            note(f"{finding.file}:{finding.line}:{finding.column}: {finding.rule}: {finding.message}")
        wrong_use(f"{path} is not a contract that can run; `detector check {path}` says what to do")
