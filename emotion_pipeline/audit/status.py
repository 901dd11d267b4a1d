"""The commands `status` (what is done, could be reused, would be computed) and `failures`. Nothing runs."""

import importlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from emotion_pipeline.data.manifest import read_failures
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import Params
from emotion_pipeline.report.sources import KINDS, failure_rows
from emotion_pipeline.report.tables import failures_by_clip
from emotion_pipeline.run.dvclock import mend_lock
from emotion_pipeline.run.keys import keys_file_of, read_noted
from emotion_pipeline.run.perclip import ClipWork
from emotion_pipeline.run.store import result_path

STATES = (
    "done",  # as the present parameters, code and inputs make it
    "reusable",  # computed before, and kept: needs no work
    "to compute",
    "waiting",  # its input is to be made first; where that comes out as before, nothing is computed
    "no input",  # a file that it is made from is not on this disk
    "failed",  # see failures.csv: tried again when the stage runs
)
"""The states of a clip in a per-clip stage."""


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml."""

    name: str
    words: tuple[str, ...]  # its module and arguments
    outs: tuple[Path, ...]
    before: tuple[str, ...]  # the stages that it reads from
    changed: tuple[str, ...]  # why DVC would run it; none where it would not

    def work(self, params: Params) -> ClipWork | None:
        """Return the work for every clip; None where it does not work clip by clip, or the manifest is missing."""
        script, paths = importlib.import_module(self.words[0]), [Path(word) for word in self.words[1:]]
        no_manifest = any(path.name == "ingest" and not (path / "clips.csv").is_file() for path in paths)
        return script.work(*paths, params) if hasattr(script, "work") and not no_manifest else None


def read_stages() -> list[Stage]:
    """Return all stages, each after those that it reads from. Raises UserError where DVC cannot read the pipeline."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    mend_lock()
    try:
        with Repo() as repository:
            changed, graph = repository.status(), repository.index.graph
            order = TopologicalSorter(graph.adj).static_order()
            return [
                Stage(
                    name=stage.addressing,
                    words=tuple(shlex.split(stage.cmd)[3:]),
                    outs=tuple(Path(os.path.relpath(out.fs_path)) for out in stage.outs),
                    before=tuple(sorted(other.addressing for other in graph.successors(stage) if other.cmd)),
                    changed=tuple(_reasons(changed.get(stage.addressing, []))),
                )
                for stage in order
                if stage.cmd
            ]
    except DvcException as error:
        raise UserError(f"dvc.yaml: DVC cannot read the pipeline ({error}); `dvc status` says more") from error


def _reasons(entries: list[Any]) -> Iterator[str]:
    """Yield a line for each change, as `params.yaml fusion.submission_3: modified`."""
    for entry in entries:
        if not isinstance(entry, Mapping):
            yield str(entry)
            continue
        for path, state in (change for paths in entry.values() for change in paths.items()):
            inner = state if isinstance(state, Mapping) else {"": state}
            yield from (f"{path} {key}: {what}".replace(" :", ":") for key, what in inner.items())


@dataclass(frozen=True)
class Status:
    """The state of one stage."""

    stage: str
    changed: tuple[str, ...]  # why DVC would run it
    after: tuple[str, ...]  # the stages before it that may give other results
    clips: dict[str, list[str]] | None  # by state; None where its work is not per clip

    @property
    def runs(self) -> bool:
        """Return whether its outputs may become others."""
        if self.clips is not None:
            return bool(self.clips["to compute"] or self.clips["waiting"])
        return bool(self.after or self.changed)

    @property
    def why(self) -> str:
        """Return why it runs, or what it waits for."""
        if self.changed:
            return f"runs: {_first_of(self.changed)}"
        if self.after:
            return f"runs if these give other results: {_first_of(self.after)}"
        return "up to date" if self.clips is None else ""


def status(stages: Sequence[Stage], params: Params) -> list[Status]:
    """Return the state of every stage, in the order of `stages`. Compute, fetch and change nothing."""
    found: dict[str, Status] = {}
    places: dict[Path, dict[str, Path]] = {}
    for stage in stages:
        after = tuple(name for name in stage.before if found[name].runs)
        clips = None
        if work := stage.work(params):
            stale = [out for s in stages if s.name in after and not found[s.name].clips for out in s.outs]
            clips, places[work.out] = _clip_states(work, stale, places)
        found[stage.name] = Status(stage.name, stage.changed, after, clips)
    return list(found.values())


def _clip_states(
    work: ClipWork, stale: Sequence[Path], places: Mapping[Path, Mapping[str, Path]]
) -> tuple[dict[str, list[str]], dict[str, Path]]:
    """Return the clips by state, and where the result of each clip that is done or reusable is.

    `stale` are inputs of all clips that are to be made first; `places` is the second result for the stages before.
    """
    failed, lost = work.without_input()
    noted = read_noted(keys_file_of(work.out), "keys")
    listed = read_failures(work.out)
    states: dict[str, list[str]] = {state: [] for state in STATES}
    at: dict[str, Path] = {}
    for clip_id, given in sorted(work.files.items()):
        files = [places[file.parent].get(clip_id) if file.parent in places else file for file in given]
        here = [file for file in files if file and file.is_file()]
        is_stale = any(file.is_relative_to(out) for file in given for out in stale)
        if clip_id in failed:
            state = "failed"
        elif is_stale or (None in files and clip_id not in lost):
            state = "waiting"
        elif len(here) < len(files):
            state = "no input"
        else:
            state, result = _result(work, clip_id, here, noted)
            at |= {clip_id: result} if result else {}
            if state == "to compute" and clip_id in listed and work.noted(clip_id) not in noted:
                state = "failed"
        states[state].append(clip_id)
    return states, at


def _result(work: ClipWork, clip_id: str, files: Sequence[Path], noted: Mapping[str, str]) -> tuple[str, Path | None]:
    """Return the state of a clip whose input files are here, and its result if that is on this disk."""
    key, own = work.key(clip_id, files), work.out / f"{clip_id}.h5"
    if noted.get(work.noted(clip_id)) == key and own.is_file():
        return "done", own
    if (kept := result_path(key)).is_file():
        return "reusable", kept
    return "reusable" if key in noted.values() else "to compute", None  # noted: in DVC's cache or a remote


def as_table(found: Sequence[Status]) -> str:
    """Return a line for each stage: its clips by state, why it runs or what it waits for."""
    width = max(len(status.stage) for status in found)
    lines = [f"{'stage':<{width}}  {'clips':>6}" + "".join(f"  {state:>10}" for state in STATES)]
    for status in found:
        counts = [len(clips) for clips in (status.clips or {}).values()]
        clips = f"  {sum(counts):>6}" + "".join(f"  {count or '.':>10}" for count in counts)
        lines.append(f"{status.stage:<{width}}{clips if counts else ''}  {status.why}".rstrip())
    computed = {status.stage: len(status.clips["to compute"]) for status in found if status.clips}
    runs = [status.stage for status in found if status.clips is None and status.changed]
    clips = ", ".join(f"{count} in {stage}" for stage, count in computed.items() if count) or "none"
    lines += ["", f"Clips to compute now: {clips}.", f"Other stages that run: {', '.join(runs) or 'none'}."]
    return "\n".join(lines)


def _first_of(names: Sequence[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def list_failures(data: Path, outs: Iterable[Path]) -> list[dict[str, Any]]:
    """Return a row for each clip and reason, sorted: clip_id, reason, detail, the first stage that says so, `also_in`.

    `outs` are the outputs of all stages, in the order in which these run. Those of models only repeat the list of their
    features. Raises UserError where no stage has run.
    """
    folders = {out.relative_to(data): out for out in outs if (out / "failures.csv").is_file()}
    features = {name.as_posix(): out for name, out in folders.items() if name.parts[0] not in KINDS.values()}
    if not features:
        raise UserError(f"{data}: no failures.csv in any stage's folder; run `dvc repro` or `dvc pull`")
    return [
        {"clip_id": clip_id, "reason": reason, "detail": detail, "stage": stages[0], "also_in": stages[1:]}
        for clip_id, reason, detail, stages in failures_by_clip(failure_rows(features))
    ]


def failures_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return a line for each row, and the number of clips."""
    if not rows:
        return "no clip failed"
    lines = [f"{r['clip_id']}: {r['reason']}: {r['detail']} ({', '.join((r['stage'], *r['also_in']))})" for r in rows]
    return "\n".join([*lines, "", f"{len({row['clip_id'] for row in rows})} clips"])
