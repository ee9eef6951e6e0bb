"""`detector check F...`: every problem of contract files, with its place and what to do."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.output import FOUND, print_json, wrong_use


def check(
    files: Annotated[list[Path], typer.Argument(metavar="F...", help="Contract files.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Validate contract files: every finding with its place, its rule and what to do.

    \b
    detector check contract.yaml
    detector check contracts/*.yaml --json

    Exit code 0: no finding, or notes alone. 1: findings, warnings included. 2: a file that cannot be read.
    """
    from detector.contract import Finding, check_text

    findings: list[Finding] = []
    unreadable: list[str] = []
    for file in files:
        try:
            findings += check_text(_read(file), str(file))
        except OSError as error:
            unreadable.append(f"{file}: {error.strerror or error}")
    wrong = [found for found in findings if found.severity != "note"]
    if json:
        ok = not wrong and not unreadable
        print_json({"findings": [asdict(found) for found in findings], "ok": ok})
    else:
        for found in findings:
            level = "" if found.severity == "error" else f" ({found.severity})"
            print(f"{found.file}:{found.line}:{found.column} {found.rule} {found.message}{level}")
            print(f"    {found.advice}")
        bad = len({found.file for found in findings})
        if checked := len(files) - len(unreadable):
            print(_count(checked, bad, len(findings)))
    if unreadable:
        wrong_use("; ".join(unreadable))
    if wrong:
        raise typer.Exit(FOUND)


def _read(file: Path) -> bytes:
    """The file's bytes, as far as the loader would read them."""
    from detector.contract.nodes import MAX_BYTES

    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _count(files: int, bad: int, findings: int) -> str:
    checked = f"{files} file{'s' * (files != 1)} checked"
    if not findings:
        return f"{checked}, no finding"
    return f"{checked}, {findings} finding{'s' * (findings != 1)} in {bad} of them"
