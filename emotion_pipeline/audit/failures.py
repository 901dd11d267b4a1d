"""All clips that some stage could not use, with the reasons."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from emotion_pipeline.data.failures import read_failures
from emotion_pipeline.errors import UserError


@dataclass(frozen=True)
class Failure:
    """A clip, why it could not be used, the first stage that says so, and those that lack it for the same reason."""

    clip_id: str
    reason: str
    detail: str
    stage: str
    also_in: tuple[str, ...]


def list_failures(data: Path, stages: list[str]) -> list[Failure]:
    """Sorted by clip; `stages` are the folders of `data` in the order in which they run.

    Raises UserError where none of the stages has run.
    """
    folders = [name for name in stages if (data / name / "failures.csv").is_file()]
    if not folders:
        raise UserError(f"{data}: no failures.csv in any stage's folder; run `dvc repro` or `dvc pull`")
    found: dict[tuple[str, str, str], list[str]] = {}
    for name in folders:
        for clip_id, error in read_failures(data / name).items():
            found.setdefault((clip_id, error.reason, error.detail), []).append(name)
    return [Failure(*what, names[0], tuple(names[1:])) for what, names in sorted(found.items())]


def as_text(failures: list[Failure]) -> str:
    """For people: a line each."""
    if not failures:
        return "no clip failed"
    lines = [f"{f.clip_id}: {f.reason}: {f.detail} ({', '.join((f.stage, *f.also_in))})" for f in failures]
    return "\n".join([*lines, "", f"{len({f.clip_id for f in failures})} clips"])


def as_json(failures: list[Failure]) -> str:
    """For programs."""
    return json.dumps([asdict(failure) for failure in failures], indent=1)
