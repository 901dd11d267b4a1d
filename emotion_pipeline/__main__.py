"""`python -m emotion_pipeline`: the commands beside the pipeline, which `dvc repro` runs."""

import json
import logging
import sys
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, no_type_check

import typer
import typer.exceptions
from typer import Argument, Option

from emotion_pipeline.data.manifest import read_manifest
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.params.file import load_params, load_search
from emotion_pipeline.run.process import INTERRUPTED

log = logging.getLogger(__name__)

DATA, REPORTS, PARAMS = Path("data"), Path("reports"), Path("params.yaml")

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
weights = typer.Typer(help="List published files of weights, get one, or make one of your own smaller.")
app.add_typer(weights, name="weights", invoke_without_command=True)

Json = Annotated[bool, Option("--json", help="Print JSON, for programs.")]


def main() -> None:
    """Run one command of the command line; a wrong input ends it with one line and status 1, Ctrl-C with 130."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        status = app(args=sys.argv[1:] or ["--help"], prog_name="python -m emotion_pipeline", standalone_mode=False)
    except (UserError, ClipError) as error:
        sys.exit(f"ERROR: {error}")
    except typer.exceptions.TyperException as error:
        print(f"ERROR: {error.format_message()} See `python -m emotion_pipeline --help`.", file=sys.stderr)
        sys.exit(error.exit_code)
    if status == INTERRUPTED:
        log.info("interrupted: what was finished is kept")
    if status:
        sys.exit(status)


@app.command()
def status(as_json: Json = False) -> None:
    """Show what is done, reusable, failed or missing in each stage, and what a run would compute. Nothing runs."""
    from emotion_pipeline.audit import status

    found = status.status(status.read_stages(), load_params())
    print(json.dumps([asdict(row) for row in found], indent=1) if as_json else status.as_table(found))


@app.command()
def verify(
    remove: Annotated[bool, Option("--remove", help="Remove them, to be made or pulled again.")] = False,
    as_json: Json = False,
) -> None:
    """Read every output, kept result and file of DVC's cache, and name those that are damaged (then status 1)."""
    from emotion_pipeline.audit import verify

    counts, damaged = verify.verify()
    if remove:
        verify.remove(damaged)
    lines = [f"read: {', '.join(f'{count} files of {kind}' for kind, count in counts.items())}"]
    lines += ["{path}: {what}; {remedy}".format(**row) for row in damaged]
    lines += [f"{len(damaged)} damaged{', removed' if remove else ''}"]
    print(json.dumps({"read": counts, "damaged": damaged}, indent=1) if as_json else "\n".join(lines))
    raise SystemExit(bool(damaged))


@app.command()
def failures(as_json: Json = False) -> None:
    """List the clips that a stage could not use, with the reasons."""
    from emotion_pipeline.audit import status

    rows = status.list_failures(DATA, [out for stage in status.read_stages() for out in stage.outs])
    print(json.dumps(rows, indent=1) if as_json else status.failures_text(rows))


@app.command()
def explain(
    file: Path,
    number: Annotated[str, Argument(help="Of metrics.json, as fusion.submission_3.test.accuracy.")] = "",
    as_json: Json = False,
) -> None:
    """Show all that made a file of reports/ or data/, or a number in reports/metrics.json."""
    from emotion_pipeline.audit import explain

    result = explain.explain(file, number)
    print(json.dumps(result, indent=1) if as_json else explain.as_text(result))


@app.command()
def overlay(
    clip: Annotated[str, Argument(help="Clip id, as in data/ingest/clips.csv.")],
    out: Annotated[Path | None, Option(help="Video to write [default: reports/overlay/<clip>.mp4].")] = None,
) -> None:
    """Write a clip as a video with its boxes, tracks, landmarks and aligned faces."""
    from emotion_pipeline.faces.overlay import write_overlay

    manifest = DATA / "ingest" / "clips.csv"
    if not manifest.is_file():
        raise UserError(f"{manifest}: no such file; run `dvc repro track`")
    clips = {clip.clip_id: clip for clip in read_manifest(manifest)}
    if clip not in clips:
        near = ", ".join(get_close_matches(clip, clips, 5, 0.6)) or "none is similar"
        raise UserError(f"{clip}: no such clip in {manifest}; did you mean one of these: {near}")
    align, track = (DATA / stage / f"{clip}.h5" for stage in ("align", "track"))
    for file in (align, track):
        if not file.is_file():
            raise UserError(f"{file}: no such file; run `dvc repro track`, and see failures.csv beside it")
    target = out or REPORTS / "overlay" / f"{clip}.mp4"
    try:
        write_overlay(Path(load_params().ingest.root) / clips[clip].path, align, track, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error}); choose another place with --out") from error
    log.info("%s", target)


@app.command()
def search(
    target: Annotated[str, Argument(help="train_temporal.<model> or fusion.<name>")],
    trials: Annotated[int, Option(min=1, help="Finished trials wanted, earlier ones included.")] = 20,
    workers: Annotated[int, Option(min=1, help="Processes that share the trials.")] = 1,
) -> None:
    """Search the parameters of a temporal model or fusion at random on a grid (values: params/search.yaml)."""
    from emotion_pipeline.search.grid import Search

    own = Search(target, load_params(), load_search(), DATA)
    own.grid  # noqa: B018  # a wrong name or value is told before the imports: seconds
    from emotion_pipeline.search.output import write_search
    from emotion_pipeline.search.study import run_search

    write_search(REPORTS / "search" / target, own, run_search(own, trials, workers), PARAMS)


@app.command()
def complementary(
    targets: Annotated[list[str], Argument(help="train_temporal.<model>, as searched")],
    present: Annotated[list[str], Option(help="A temporal model that they are to complement; can be repeated.")] = [],  # noqa: B006
    among: Annotated[int, Option(min=1, help="Best trials of each search to choose from.")] = 10,
) -> None:
    """Choose among the best trials of some searches those that err most unlike the present models."""
    from emotion_pipeline.search.complementary import write_complementary
    from emotion_pipeline.search.grid import Search

    params, ranges = load_params(), load_search()
    searches = [Search(target, params, ranges, DATA) for target in targets]
    write_complementary(REPORTS / "search" / "complementary.yaml", searches, present, among, PARAMS)


@app.command()
def pool(
    revisions: Annotated[list[str], Argument(help="Names of DVC experiments, or commits.")],
    out: Annotated[Path, Option(help="Table to write.")] = REPORTS / "pooled" / "accuracy.csv",
) -> None:
    """Make one table over the test clips of several runs: leave one subject out (docs/experiments.md)."""
    from emotion_pipeline.report.pool import pool

    for row in pool(revisions, load_params().evaluate, out):
        numbers = [100 * float(row[key] or 0) for key in ("accuracy", "sd", "low", "high")]
        log.info("%s: %.1f %% +- %.1f (95 %% interval %.1f to %.1f) of %s clips", row["title"], *numbers, row["n"])
    log.info("%s", out)


@app.command()
def prune(shared: Annotated[bool, Option("--shared", help="Also from a store that other clones use.")] = False) -> None:
    """Remove kept results that the present outputs do not use. No stage may be running."""
    from emotion_pipeline.run.store import prune

    files, size = prune(shared=shared)
    log.info("prune: %d files removed, %.1f MiB", files, size / 2**20)


@weights.callback()
@no_type_check  # what typer hands over is the class under typer.Context
def list_weights(context: typer.Context) -> None:
    """List published files of weights: whether they are here and right, where they are from, their licences."""
    if context.invoked_subcommand is None:
        from emotion_pipeline.features.published import require_layers  # imports torch: seconds, needed by few commands
        from emotion_pipeline.weights.fetch import listing

        log.info("%s", listing(require_layers))


@weights.command()
def get(name: Annotated[str, Argument(help="Name of the file, as `weights` lists it.")]) -> None:
    """Download a published file to its place in data/weights, and check it."""
    from emotion_pipeline.features.published import require_layers
    from emotion_pipeline.weights import fetch

    fetch.get(name, require_layers)


@weights.command()
def halve(source: Path, target: Path) -> None:
    """Copy a network that this pipeline trained as float16: half the bytes, to be shared."""
    from emotion_pipeline.features.weights import halve

    halve(source, target)
    sizes = [path.stat().st_size / 2**20 for path in (source, target)]
    log.info("%s: %.1f MiB instead of %.1f", target, sizes[1], sizes[0])


if __name__ == "__main__":
    main()
