"""The clips that a stage could not use, each with its reason: `data/<stage>/failures.csv`."""

from collections.abc import Mapping
from pathlib import Path

from emotion_pipeline.data.tables import read_table, write_rows
from emotion_pipeline.errors import ClipError, UserError

Failures = dict[str, ClipError]
"""By clip id."""


def read_failures(folder: Path) -> Failures:
    """Return what `failures.csv` of a stage's folder lists."""
    return {row["clip_id"]: ClipError(row["reason"], row["detail"]) for row in read_table(folder / "failures.csv")}


def write_failures(folder: Path, failures: Mapping[str, ClipError]) -> None:
    """Write `failures.csv` (clip_id, reason, detail), sorted by clip id."""
    rows = [(clip_id, error.reason, error.detail) for clip_id, error in sorted(failures.items())]
    write_rows(folder / "failures.csv", [("clip_id", "reason", "detail"), *rows])


def require_few_failures(stage: str, out: Path, clips: int, failures: Failures, limit: float) -> None:
    """Raise UserError where more than `limit` of the clips failed, naming the list and its first line."""
    if len(failures) > limit * clips:
        clip_id, error = min(failures.items())
        raise UserError(
            f"{stage}: {len(failures)} of {clips} clips failed, limit {limit:.0%} (runtime.max_failed);"
            f" see {out}/failures.csv (first: {clip_id}, {error})"
        )
