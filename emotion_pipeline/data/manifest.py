"""The manifest: one row per clip; and by stage the clips that it could not use, `data/<stage>/failures.csv`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pydantic import TypeAdapter

from emotion_pipeline.data.tables import read_table, write_rows, write_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import ClipError, UserError

SPLITS = ("train", "val", "test")

Failures = dict[str, ClipError]
"""Why a clip could not be used, by clip id."""


@dataclass(frozen=True)
class Clip:
    """One row of `data/ingest/clips.csv`.

    `path` is relative to the data set's root; `split` is one of `SPLITS` or empty; `label` is one of
    `EMOTIONS` or empty. `frames`, `fps`, `width`, `height`, `seconds` are 0 where the clip could not be read.
    """

    clip_id: str
    path: str
    split: str
    label: str
    subject: str
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    has_audio: bool = False
    sha256: str = ""


def write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    """Write the clips to a csv file, sorted by clip id."""
    rows = [asdict(clip) | {"has_audio": int(clip.has_audio)} for clip in sorted(clips, key=lambda c: c.clip_id)]
    write_table(path, rows, [f.name for f in fields(Clip)], exact=True)


def read_manifest(path: Path) -> list[Clip]:
    """Return the clips that `write_manifest` wrote. Raises a ValueError where a value is not of its field's type."""
    return TypeAdapter(list[Clip]).validate_python(read_table(path))


def labels_of(clips: Iterable[Clip], splits: Iterable[str] = ("train", "val")) -> dict[str, int]:
    """Return class index by clip id, for labelled clips of some splits; by default not test, which chooses nothing."""
    wanted = set(splits)
    return {c.clip_id: EMOTIONS.index(c.label) for c in clips if c.label and c.split in wanted}


def seen_in_training(clips: Sequence[Clip]) -> list[list[tuple[str, int]]]:
    """Return what a training may see of the manifest, for its key: id and class of the clips of train, and of val."""
    return [sorted(labels_of(clips, (split,)).items()) for split in ("train", "val")]


def class_table(clips: Sequence[Clip]) -> list[dict[str, str | int]]:
    """Clips per class (rows, then "unlabelled" and "total") and split (columns, then "none" where needed, "total").

    The paper's table 1.
    """
    count = Counter((clip.label or "unlabelled", clip.split or "none") for clip in clips)
    splits = [*SPLITS, *(["none"] if any(not clip.split for clip in clips) else [])]
    names = [*EMOTIONS, "unlabelled"]
    table = {name: {split: count[name, split] for split in splits} for name in names}
    table["total"] = {split: sum(table[name][split] for name in names) for split in splits}
    return [{"class": name, **row, "total": sum(row.values())} for name, row in table.items()]


def read_failures(folder: Path) -> Failures:
    """Return the clips that `failures.csv` of a stage's folder lists; none where there is no such file."""
    file = folder / "failures.csv"
    rows = read_table(file) if file.is_file() else []
    return {row["clip_id"]: ClipError(row["reason"], row["detail"]) for row in rows}


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
