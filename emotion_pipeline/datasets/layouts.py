"""How the files of a data set lie in its folder: each layout is a function from the folder to manifest rows.

Paths in the rows are relative to the folder. What the files hold is not in the rows yet: `ingest` reads them.
"""

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from emotion_pipeline.data.manifest import SPLITS, Clip
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import IngestParams, SubjectSplit

VIDEO_SUFFIXES = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"}

JAVANESE_NAME = re.compile(r"(?P<actor>\d\d)-(?P<sentence>\d\d)-(?P<emotion>\d\d)_(?P<take>\d\d)")
JAVANESE_EMOTIONS = {"01": "neutral", "02": "sad", "03": "happy", "04": "surprise", "05": "fear", "06": "angry"}
"""Codes in the file names of the Javanese video emotion recordings (repository of 2black0)."""

COLUMNS = ("path", "split", "label", "subject", "clip_id")
"""Columns that `clips.csv` of a data set may have."""


def javanese(root: Path, params: IngestParams) -> Iterator[Clip]:
    """Read `<actor>-<sentence>-<emotion>_<take>.mp4` in one folder; the actor gives the split (`ingest.subjects`)."""
    if params.subjects is None:
        raise UserError("ingest.subjects: the layout `javanese` needs the actors of each split, got null")
    split_of = _split_by_subject(params.subjects)
    for path in _videos(root):
        name = JAVANESE_NAME.fullmatch(path.stem)
        if name is None or name["emotion"] not in JAVANESE_EMOTIONS:
            raise UserError(
                f"{path.name}: expected <actor>-<sentence>-<emotion>_<take>.mp4 with an emotion of"
                f" {', '.join(JAVANESE_EMOTIONS)}; rename the file, or move it out of {root}"
            )
        if name["actor"] not in split_of:
            raise UserError(f"{path.name}: actor {name['actor']} is in no split; add it to ingest.subjects")
        label, split = JAVANESE_EMOTIONS[name["emotion"]], split_of[name["actor"]]
        yield Clip(path.stem, path.relative_to(root).as_posix(), split, label, name["actor"])


def afew(root: Path, params: IngestParams) -> Iterator[Clip]:
    """Read `Train_AFEW/<Class>/<id>.avi`, `Val_AFEW/<Class>/<id>.avi`, and unlabelled clips in a folder `Test...`.

    A folder of the same name within the folder, which some machines unpack, is accepted. AFEW's own crops
    (`AlignedFaces_LBPTOP_Points`) hold no videos and are not read.
    """
    for folder in sorted(f for f in root.iterdir() if f.is_dir()):
        split = next((split for split in SPLITS if folder.name.lower().startswith(split)), None)
        if split is None:
            raise UserError(
                f"{folder}: expected folders named Train..., Val... or Test...; move this one out of {root}"
            )
        for path in _videos(folder):
            label = "" if split == "test" else _label(path.parent.name, str(path))
            yield Clip(path.stem, path.relative_to(root).as_posix(), split, label, "")


def folder(root: Path, params: IngestParams) -> Iterator[Clip]:
    """Read `<split>/<class>/<file>`; clips directly in `<split>/` have no label. A clip's id is split-class-name."""
    for path in _videos(root):
        parts = path.relative_to(root).parts
        if parts[0] not in SPLITS or len(parts) not in (2, 3):
            raise UserError(
                f"{path.relative_to(root)}: expected <split>/<class>/<file> with a split of {', '.join(SPLITS)}"
            )
        label = _label(parts[1], str(path)) if len(parts) == 3 else ""
        yield Clip("-".join([*parts[:-1], path.stem]), path.relative_to(root).as_posix(), parts[0], label, "")


def table(root: Path, params: IngestParams) -> Iterator[Clip]:
    """Read `clips.csv` in the folder: path and, if known, split, label, subject, clip_id (else the file's name)."""
    file = root / "clips.csv"
    if not file.is_file():
        raise UserError(f"{file}: no such file; it lists the clips, with the columns {', '.join(COLUMNS)}")
    with open(file, newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or ()
        if "path" not in columns or not set(columns) <= set(COLUMNS):
            raise UserError(f"{file}: expected the columns {', '.join(COLUMNS)}, got {reader.fieldnames}")
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            path, split, label, subject, clip_id = (row.get(name) or "" for name in COLUMNS)
            if split not in (*SPLITS, ""):
                raise UserError(f"{where}: split {split!r} is none of {', '.join(SPLITS)}")
            yield Clip(clip_id or PurePosixPath(path).stem, path, split, _label(label, where), subject)


LAYOUTS: dict[str, Callable[[Path, IngestParams], Iterator[Clip]]] = {
    "sample": table,
    "javanese": javanese,
    "afew": afew,
    "folder": folder,
    "csv": table,
}


def _videos(folder: Path) -> list[Path]:
    """Return the videos in a folder by name alone, so that a link to nowhere is a clip that cannot be read."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and not p.is_dir())


def _label(name: str, where: str) -> str:
    if name.lower() not in (*EMOTIONS, ""):
        raise UserError(f"{where}: label {name!r} is none of {', '.join(EMOTIONS)}")
    return name.lower()


def _split_by_subject(subjects: SubjectSplit) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for split, names in subjects.model_dump().items():
        for name in names:
            if name in split_of:
                raise UserError(f"ingest.subjects: subject {name!r} is in {split_of[name]} and in {split}")
            split_of[name] = split
    return split_of
