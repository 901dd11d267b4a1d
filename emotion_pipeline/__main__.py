"""`python -m emotion_pipeline`: what is no stage."""

import argparse
import json
import logging
import sys
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from emotion_pipeline.data.manifest import read_manifest
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.params import load_params
from emotion_pipeline.run.prune import prune

log = logging.getLogger(__name__)

DATA = Path("data")
REPORTS = Path("reports")
PARAMS = Path("params.yaml")


def main() -> None:
    """Run one command of the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(prog="python -m emotion_pipeline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    text = "remove kept results that the present outputs do not use (no stage may be running)"
    pruned = commands.add_parser("prune", help=text, description=text)
    pruned.add_argument("--shared", action="store_true", help="also from a store that other clones use")
    pruned.set_defaults(run=_prune)
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
    text = "random grid search over the parameters of a temporal model or fusion (ranges: `search` in params.yaml)"
    search = commands.add_parser("search", help=text, description=text)
    search.add_argument("target", help="train_temporal.<model> or train_fusion.<fusion>")
    search.add_argument("--trials", type=_count, default=20, help="finished trials wanted, earlier ones included")
    search.add_argument("--workers", type=_count, default=1, help="processes that share the trials")
    search.set_defaults(run=_search)
    text = "choose among the best trials of some searches those that err most unlike the models there are"
    complementary = commands.add_parser("complementary", help=text, description=text)
    complementary.add_argument("targets", nargs="+", help="train_temporal.<model>, as searched")
    complementary.add_argument("--present", nargs="*", default=[], help="temporal models that they are to complement")
    complementary.add_argument("--among", type=_count, default=10, help="best trials of each search to choose from")
    complementary.set_defaults(run=_complementary)
    text = "one table over the test clips of several runs: leave-one-subject-out (docs/experiments.md)"
    pool = commands.add_parser("pool", help=text, description=text)
    pool.add_argument("revisions", nargs="+", help="names of DVC experiments, or commits")
    pool.add_argument("--out", type=Path, default=REPORTS / "pooled" / "accuracy.csv", help="the table to write")
    pool.set_defaults(run=_pool)
    _add_audit(commands)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except (UserError, ClipError) as error:
        sys.exit(f"ERROR: {error}")
    except KeyboardInterrupt:
        log.info("interrupted: what was finished is kept")
        sys.exit(130)


def _add_audit(commands: Any) -> None:
    text = "what is done, reusable, failed or missing in each stage, and what a run would compute; nothing runs"
    status = commands.add_parser("status", help=text, description=text)
    status.set_defaults(run=_status)
    text = "read every output, kept result and file of DVC's cache, and name those that are damaged"
    verify = commands.add_parser("verify", help=text, description=text)
    verify.add_argument("--remove", action="store_true", help="remove them, to be made or pulled again")
    verify.set_defaults(run=_verify)
    text = "list the clips that a stage could not use, with the reasons"
    failures = commands.add_parser("failures", help=text, description=text)
    failures.set_defaults(run=_failures)
    text = "from a file of reports/ or data/, or a number in reports/metrics.json, to all that made it"
    explain = commands.add_parser("explain", help=text, description=text)
    explain.add_argument("file", type=Path)
    explain.add_argument("number", nargs="?", default="", help="as fusion.submission_3.test.accuracy")
    explain.set_defaults(run=_explain)
    for command in (status, verify, failures, explain):
        command.add_argument("--json", action="store_true", help="for programs")


def _status(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.audit import stages, status

    found = status.status(stages.read_stages(), load_params())
    print(json.dumps([asdict(s) for s in found], indent=1) if arguments.json else status.as_table(found))


def _verify(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.audit.verify import remove, verify

    counts, damaged = verify()
    if arguments.remove:
        remove(damaged)
    if arguments.json:
        print(json.dumps({"read": counts, "damaged": damaged}, indent=1))
    else:
        lines = ["{path}: {what}; {remedy}".format(**row) for row in damaged]
        print(f"read: {', '.join(f'{count} files of {kind}' for kind, count in counts.items())}")
        print("\n".join([*lines, f"{len(damaged)} damaged{', removed' if arguments.remove else ''}"]))
    sys.exit(bool(damaged))


def _failures(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.audit import failures, stages

    rows = failures.list_failures(DATA, [out for stage in stages.read_stages() for out in stage.outs])
    print(json.dumps(rows, indent=1) if arguments.json else failures.as_text(rows))


def _explain(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.audit import explain

    result = explain.explain(arguments.file, arguments.number)
    print(json.dumps(result, indent=1) if arguments.json else explain.as_text(result))


def _pool(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.report.pool import pool

    for row in pool(arguments.revisions, load_params().evaluate, arguments.out):
        numbers = [100 * float(row[key] or 0) for key in ("accuracy", "sd", "low", "high")]
        log.info("%s: %.1f %% +- %.1f (95 %% interval %.1f to %.1f) of %s clips", row["title"], *numbers, row["n"])
    log.info("%s", arguments.out)


def _prune(arguments: argparse.Namespace) -> None:
    files, size = prune(shared=arguments.shared)
    log.info("prune: %d files removed, %.1f MiB", files, size / 2**20)


def _list_weights(_: argparse.Namespace) -> None:
    from emotion_pipeline.features.published import require_layers  # imports torch: seconds, needed by few commands
    from emotion_pipeline.weights.fetch import listing

    log.info("%s", listing(require_layers))


def _get_weights(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.features.published import require_layers
    from emotion_pipeline.weights.fetch import get

    get(arguments.name, require_layers)


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
    video = Path(load_params().ingest.root) / clips[name].path
    try:
        write_overlay(video, align, track, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error}); choose another place with --out") from error
    log.info("%s", target)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _search(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.search import output, study
    from emotion_pipeline.search.trial import Search

    target, folder = arguments.target, REPORTS / "search" / arguments.target
    search = Search(target, load_params(), DATA)
    trials = study.run_search(search, arguments.trials, arguments.workers)
    best = output.write_search(folder, search, trials, PARAMS)
    values = ", ".join(f"{key}: {value}" for key, value in sorted(best.params.items()))
    log.info("search: %d trials; best: %.1f %% on val with %s", len(trials), 100 * float(best.value or 0), values)
    log.info("see %s/trials.csv and trials.svg; compare: diff %s %s/best.yaml", folder, PARAMS, folder)


def _complementary(arguments: argparse.Namespace) -> None:
    from emotion_pipeline.search import complementary, output
    from emotion_pipeline.search.trial import Search

    params = load_params()
    for name in arguments.present:
        if name not in params.train_temporal:
            raise UserError(f"--present: {name} is not among {', '.join(params.train_temporal)}")
    searches = [Search(target, params, DATA) for target in arguments.targets]
    chosen = complementary.choose_complementary(searches, arguments.present, arguments.among)
    for target, trial in chosen.trials.items():
        values = ", ".join(f"{key}: {value}" for key, value in sorted(trial.params.items()))
        log.info(
            "%s: trial %d, %.1f %% on val: %s", target, trial.user_attrs["point"], 100 * float(trial.value or 0), values
        )
    log.info("mean dissimilarity %.3f; of the best trials alone %.3f", chosen.dissimilarity, chosen.best_alone)
    file = REPORTS / "search" / "complementary.yaml"
    changes = {f"{s.target}_b": s.values(chosen.trials[s.target]) for s in searches}
    output.write_params(file, changes, PARAMS)
    log.info("as entries ..._b: diff %s %s", PARAMS, file)


if __name__ == "__main__":
    main()
