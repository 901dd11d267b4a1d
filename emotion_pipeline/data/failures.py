"""The clips that a stage could not use, each with its reason: `data/<stage>/failures.csv`."""

import csv
from collections.abc import Mapping
from pathlib import Path

from emotion_pipeline.errors import ClipError, UserError

Failures = dict[str, ClipError]
"""By clip id."""


def read_failures(folder: Path) -> Failures:
    """`failures.csv` of a stage's folder: clip id -> reason and detail."""
    with open(folder / "failures.csv", newline="", encoding="utf-8") as file:
        return {row["clip_id"]: ClipError(row["reason"], row["detail"]) for row in csv.DictReader(file)}


def write_failures(folder: Path, failures: Mapping[str, ClipError]) -> None:
    """Write `failures.csv` (clip_id, reason, detail), sorted by clip id."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "failures.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip_id", "reason", "detail"])
        writer.writerows([c, failures[c].reason, failures[c].detail] for c in sorted(failures))


def require_few_failures(stage: str, out: Path, clips: int, failures: Failures, limit: float) -> None:
    """Raise UserError where more than `limit` of the clips failed, naming the list and its first line."""
    if len(failures) > limit * clips:
        clip_id, error = min(failures.items())
        raise UserError(
            f"{stage}: {len(failures)} of {clips} clips failed, limit {limit:.0%} (runtime.max_failed);"
            f" see {out}/failures.csv (first: {clip_id}, {error})"
        )
