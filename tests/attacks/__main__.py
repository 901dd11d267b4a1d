"""`python -m tests.attacks`: everything that a team's cache must survive, tried for real; prints a table.

All of it takes more than an hour; `--quick` is what the test suite runs. Exit status 1 where something was not
survived.
"""

import argparse
import logging
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from tests.attacks.tally import Tally

ATTACKS = ("sharing", "interruption", "resources", "damage", "videos", "hostile")
"""Modules of this package, each with `attack(folder, quick)`, which yields its tallies."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("attacks", nargs="*", default=list(ATTACKS), help=f"any of {', '.join(ATTACKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="few tries of each")
    arguments = parser.parse_args()
    if unknown := set(arguments.attacks) - set(ATTACKS):
        parser.error(f"no such attack: {', '.join(sorted(unknown))}; there are {', '.join(ATTACKS)}")
    logging.getLogger("emotion_pipeline").setLevel(logging.ERROR)  # what stages say of each damaged file
    tallies: list[Tally] = []
    print("| attack | test | tries | survived |\n|---|---|--:|--:|")
    for name in arguments.attacks:
        with tempfile.TemporaryDirectory(prefix=f"{name}_") as folder:
            for tally in import_module(f"tests.attacks.{name}").attack(Path(folder), arguments.quick):
                tallies.append(tally)
                print(f"| {name} | {tally.test} | {tally.tries} | {tally.tries - len(tally.broken)} |", flush=True)
    for tally in tallies:
        for problem in tally.broken:
            print(f"NOT SURVIVED: {tally.test}: {problem}", file=sys.stderr)
    sys.exit(any(tally.broken or not tally.tries for tally in tallies))


if __name__ == "__main__":
    main()
