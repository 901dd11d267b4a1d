"""`python -m emotion_pipeline`: what is no stage."""

import argparse
import logging
import sys

from emotion_pipeline.clips import UserError
from emotion_pipeline.reuse import prune

log = logging.getLogger(__name__)


def main() -> None:
    """Run one command of the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(prog="python -m emotion_pipeline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    text = "remove kept results that the present outputs do not use (no stage may be running)"
    commands.add_parser("prune", help=text, description=text).set_defaults(run=_prune)
    try:
        parser.parse_args().run()
    except UserError as error:
        sys.exit(f"ERROR: {error}")


def _prune() -> None:
    files, size = prune()
    log.info("prune: %d files removed, %.1f MiB", files, size / 2**20)


if __name__ == "__main__":
    main()
