"""`python -m emotion_pipeline`: what is no stage."""

import argparse
import logging
import sys
from pathlib import Path

from emotion_pipeline.clips import UserError
from emotion_pipeline.reuse import prune

log = logging.getLogger(__name__)

WEIGHTS_FOLDER = Path("data/weights")


def main() -> None:
    """Run one command of the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(prog="python -m emotion_pipeline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    text = "remove kept results that the present outputs do not use (no stage may be running)"
    commands.add_parser("prune", help=text, description=text).set_defaults(run=_prune)
    text = "list the published files of weights: whether they are here and right, where they are from, their licences"
    weights = commands.add_parser("weights", help=text, description=text)
    weights.set_defaults(run=_list_weights)
    text = "download one of them to its place in data/weights, and check it"
    actions = weights.add_subparsers(metavar="action")
    get = actions.add_parser("get", help=text, description=text)
    get.add_argument("name", help="name of the file, as `weights` lists it")
    get.set_defaults(run=_get_weights)
    text = "copy a network that this pipeline trained as float16: half the bytes, to be shared"
    halve = actions.add_parser("halve", help=text, description=text)
    halve.add_argument("source", type=Path)
    halve.add_argument("target", type=Path)
    halve.set_defaults(run=_halve_weights)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except UserError as error:
        sys.exit(f"ERROR: {error}")


def _prune(_: argparse.Namespace) -> None:
    files, size = prune()
    log.info("prune: %d files removed, %.1f MiB", files, size / 2**20)


def _list_weights(_: argparse.Namespace) -> None:
    from emotion_pipeline.features import download  # imports torch: seconds, which the other commands need not wait

    log.info("%s", download.listing(WEIGHTS_FOLDER))


def _get_weights(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.features import download

    download.get(arguments.name, WEIGHTS_FOLDER)


def _halve_weights(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.features.weights import halve

    halve(arguments.source, arguments.target)
    sizes = [path.stat().st_size / 2**20 for path in (arguments.source, arguments.target)]
    log.info("%s: %.1f MiB instead of %.1f", arguments.target, sizes[1], sizes[0])


if __name__ == "__main__":
    main()
