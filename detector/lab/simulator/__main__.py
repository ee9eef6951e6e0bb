"""`python -m detector.lab.simulator NAME --seed N --out FILE`: write a scenario for `detector replay`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from detector.lab.simulator.catalogue import SCENARIOS
from detector.lab.simulator.profiles import PROFILES
from detector.lab.simulator.simulation import simulate


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a scenario and say what is in it; 0 well, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m detector.lab.simulator", description=__doc__)
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="of the catalogue; without it, print the catalogue"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE", help=".jsonl or .jsonl.gz")
    parser.add_argument("--profile", choices=sorted(PROFILES))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=NUMBER",
        dest="sets",
        help="change the scenario, such as calls_per_s=20 or fault_size=0.5; repeatable",
    )
    args = parser.parse_args(arguments)
    if args.name is None:
        width = max(map(len, SCENARIOS))
        sys.stdout.writelines(f"{name:{width}}  {each.says}\n" for name, each in SCENARIOS.items())
        return 0
    if args.out is None:
        parser.error("--out FILE is missing")
    try:
        changes: dict[str, float | str] = {"profile": args.profile} if args.profile else {}
        for each in args.sets:
            field, _, value = each.partition("=")
            changes[field] = int(value) if value.lstrip("-").isdigit() else float(value)
        simulation = simulate(args.name, args.seed, **changes)
        written = simulation.write(args.out)
    except (ValueError, TypeError, OSError) as error:
        parser.error(str(error))
    for path in written:
        sys.stdout.write(f"wrote {path}\n")
    for incident in simulation.incidents:
        sys.stdout.write(
            f"{incident.scope}  {incident.mode}  {incident.start:.0f} to {incident.end:.0f}, "
            f"{incident.affected} calls\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
