"""What is done, what could be reused, and what a run would compute: before anything runs."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from emotion_pipeline.audit.stages import Stage
from emotion_pipeline.data.failures import read_failures
from emotion_pipeline.errors import ClipError
from emotion_pipeline.params import Params
from emotion_pipeline.run.clipwork import ClipWork
from emotion_pipeline.run.keys import keys_file_of, read_keys
from emotion_pipeline.run.store import result_path

STATES = (
    "done",  # as the present parameters, code and inputs make it
    "reusable",  # computed before, and kept: needs no work
    "to compute",
    "waiting",  # its input is to be made first; where that comes out as before, nothing is computed
    "no input",  # a file that it is made from is not on this disk
    "failed",  # see failures.csv: tried again when the stage runs
)
"""Of a clip in a per-clip stage."""


@dataclass(frozen=True)
class Status:
    """Of one stage: `clips` are states by clip id, None where its work is not per clip."""

    stage: str
    changed: tuple[str, ...]
    after: tuple[str, ...]
    clips: dict[str, str] | None


def status(stages: Sequence[Stage], params: Params) -> list[Status]:
    """The state of every stage, in the order of `stages`; nothing is computed, fetched or changed."""
    found: dict[str, Status] = {}
    places: dict[Path, dict[str, Path]] = {}
    for stage in stages:
        unsettled = tuple(name for name in stage.before if _runs(found[name]))
        work = stage.work(params)
        if work is None:
            found[stage.name] = Status(stage.name, stage.changed, unsettled, None)
            continue
        stale = {
            out for other in stages if other.name in unsettled and not found[other.name].clips for out in other.outs
        }
        states, places[work.out] = _clip_states(work, stale, places)
        found[stage.name] = Status(stage.name, stage.changed, unsettled, states)
    return list(found.values())


def _runs(status: Status) -> bool:
    """Whether its outputs may become others."""
    if status.clips is not None:
        return any(state in ("to compute", "waiting") for state in status.clips.values())
    return bool(status.after or status.changed)


def _clip_states(
    work: ClipWork, stale: Iterable[Path], places: Mapping[Path, Mapping[str, Path]]
) -> tuple[dict[str, str], dict[str, Path]]:
    """State of every clip; and where the result of those is that are done or reusable.

    `stale` are inputs of all clips that are to be made first, `places` the second result for stages before.
    """
    failed, lost = work.without_input()
    noted, listed = read_keys(keys_file_of(work.out)), _own_failures(work.out)
    states: dict[str, str] = {}
    at: dict[str, Path] = {}
    for clip_id, given in sorted(work.files.items()):
        files = [places[file.parent].get(clip_id) if file.parent in places else file for file in given]
        own = work.out / f"{clip_id}.h5"
        if clip_id in failed:
            states[clip_id] = "failed"
        elif any(_within(file, stale) for file in given) or (None in files and clip_id not in lost):
            states[clip_id] = "waiting"
        elif not all(file and file.is_file() for file in files):
            states[clip_id] = "no input"
        else:
            key = work.key(clip_id, [file for file in files if file])
            if noted.get(work.noted(clip_id)) == key and own.is_file():
                states[clip_id], at[clip_id] = "done", own
            elif result_path(key).is_file():
                states[clip_id], at[clip_id] = "reusable", result_path(key)
            elif key in noted.values():  # the outputs of before, in DVC's cache or a remote
                states[clip_id] = "reusable"
            else:
                states[clip_id] = "failed" if clip_id in listed and work.noted(clip_id) not in noted else "to compute"
    return states, at


def _within(file: Path, folders: Iterable[Path]) -> bool:
    return any(file == folder or folder in file.parents for folder in folders)


def _own_failures(out: Path) -> dict[str, ClipError]:
    return read_failures(out) if (out / "failures.csv").is_file() else {}


def as_table(found: Sequence[Status]) -> str:
    """For people: clips by state, and why a stage runs or what it waits for."""
    width = max(len(status.stage) for status in found)
    lines = [f"{'stage':<{width}}  {'clips':>6}" + "".join(f"  {state:>10}" for state in STATES)]
    for status in found:
        line = f"{status.stage:<{width}}"
        if status.clips is not None:
            counts = Counter(status.clips.values())
            line += f"  {len(status.clips):>6}" + "".join(f"  {counts[state] or '.':>10}" for state in STATES)
        lines.append(f"{line}  {_why(status)}".rstrip())
    computed = {status.stage: list((status.clips or {}).values()).count("to compute") for status in found}
    runs = [status.stage for status in found if status.clips is None and status.changed]
    clips = ", ".join(f"{count} in {stage}" for stage, count in computed.items() if count) or "none"
    lines += ["", f"Clips to compute now: {clips}.", f"Other stages that run: {', '.join(runs) or 'none'}."]
    return "\n".join(lines)


def _why(status: Status) -> str:
    if status.changed:
        return f"runs: {_first_of(status.changed)}"
    if status.after:
        return f"runs if these give other results: {_first_of(status.after)}"
    return "" if status.clips else "up to date"


def _first_of(names: Sequence[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def as_json(found: Sequence[Status]) -> str:
    """For programs: a list of stages in their order; `clips` by state, or null."""
    rows = []
    for status in found:
        row = asdict(status)
        if status.clips is not None:
            row["clips"] = {state: [c for c, own in status.clips.items() if own == state] for state in STATES}
        rows.append(row)
    return json.dumps(rows, indent=1)
