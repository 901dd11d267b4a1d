"""`python -m emotion_pipeline`: what is no stage."""

import argparse
import logging
import sys
from difflib import get_close_matches
from pathlib import Path

from emotion_pipeline.clips import ClipError, UserError, read_manifest
from emotion_pipeline.params import load_params
from emotion_pipeline.reuse import prune

log = logging.getLogger(__name__)

DATA = Path("data")
WEIGHTS_FOLDER = DATA / "weights"


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
    text = "write a clip as a video with its boxes, tracks, landmarks and aligned faces"
    overlay = commands.add_parser("overlay", help=text, description=text)
    overlay.add_argument("clip", help="clip id, as in data/ingest/clips.csv")
    overlay.add_argument("--out", type=Path, help="the video to write (default: reports/overlay/<clip>.mp4)")
    overlay.set_defaults(run=_overlay)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except (UserError, ClipError) as error:
        sys.exit(f"ERROR: {error}")


def _prune(_: argparse.Namespace) -> None:
    files, size = prune()
    log.info("prune: %d files removed, %.1f MiB", files, size / 2**20)


def _list_weights(_: argparse.Namespace) -> None:
    from emotion_pipeline.faces import files
    from emotion_pipeline.features import download  # imports torch: seconds, which the other commands need not wait

    log.info("%s", download.listing(WEIGHTS_FOLDER))
    log.info("%s", files.listing())


def _get_weights(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.faces import files
    from emotion_pipeline.features import download, weights

    name = arguments.name
    if name in files.PUBLISHED:
        files.get(name)
    elif name in weights.WEIGHTS:
        download.get(name, WEIGHTS_FOLDER)
    else:
        known = ", ".join([*weights.WEIGHTS, *files.PUBLISHED])
        raise UserError(f"{name}: no published file of this name is known; there are {known}")


def _halve_weights(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.features.weights import halve

    halve(arguments.source, arguments.target)
    sizes = [path.stat().st_size / 2**20 for path in (arguments.source, arguments.target)]
    log.info("%s: %.1f MiB instead of %.1f", arguments.target, sizes[1], sizes[0])


def _overlay(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.faces.overlay import write_overlay

    manifest, name = DATA / "ingest" / "clips.csv", arguments.clip
    if not manifest.is_file():
        raise UserError(f"{manifest}: no such file; run `dvc repro track`")
    clips = {clip.clip_id: clip for clip in read_manifest(manifest)}
    if name not in clips:
        near = ", ".join(get_close_matches(name, clips, 5, 0.6)) or "none is similar"
        raise UserError(f"{name}: no such clip in {manifest}; did you mean one of these: {near}")
    align, track = (DATA / stage / f"{name}.h5" for stage in ("align", "track"))
    for file in (align, track):
        if not file.is_file():
            raise UserError(f"{file}: no such file; run `dvc repro track`, and see failures.csv beside it")
    target = arguments.out or Path("reports/overlay") / f"{name}.mp4"
    write_overlay(Path(load_params().ingest.root) / clips[name].path, align, track, target)
    log.info("%s", target)


if __name__ == "__main__":
    main()
