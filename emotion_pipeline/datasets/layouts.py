"""How the files of a data set lie in its folder: one function per layout, folder -> manifest rows.

Rows have no pictures' figures yet (`ingest` reads the files), and paths relative to the folder.
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

AFEW_SPLITS = {"train": "train", "val": "val", "test": "test"}
"""First letters of a folder's name (Train_AFEW, Val_AFEW, Test_vid_Distribute ...) and the split it holds."""


def javanese(root: Path, params: IngestParams) -> Iterator[Clip]:
    """`<actor>-<sentence>-<emotion>_<take>.mp4` in one folder; the split goes by actor (`ingest.subjects`)."""
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
        label = JAVANESE_EMOTIONS[name["emotion"]]
        yield Clip(path.stem, _below(root, path), split_of[name["actor"]], label, name["actor"])


def afew(root: Path, params: IngestParams) -> Iterator[Clip]:
    """`Train_AFEW/<Class>/<id>.avi`, `Val_AFEW/<Class>/<id>.avi`, unlabelled below a folder `Test...`.

    The archives unpack to a folder of the same name within the folder on some machines; that is accepted. AFEW's own
    crops (`AlignedFaces_LBPTOP_Points`) hold no videos and are not read.
    """
    for folder in sorted(f for f in root.iterdir() if f.is_dir()):
        split = next((s for start, s in AFEW_SPLITS.items() if folder.name.lower().startswith(start)), None)
        if split is None:
            raise UserError(
                f"{folder}: expected folders named Train..., Val... or Test...; move this one out of {root}"
            )
        for path in _videos(folder):
            label = "" if split == "test" else _label(path.parent.name, path)
            yield Clip(path.stem, _below(root, path), split, label, "")


def folder(root: Path, params: IngestParams) -> Iterator[Clip]:
    """`<split>/<class>/<file>`; clips directly in `<split>/` have no label. The clip id is split-class-name."""
    for path in _videos(root):
        parts = path.relative_to(root).parts
        if parts[0] not in SPLITS or len(parts) not in (2, 3):
            raise UserError(
                f"{_below(root, path)}: expected <split>/<class>/<file> with a split of {', '.join(SPLITS)}"
            )
        label = _label(parts[1], path) if len(parts) == 3 else ""
        yield Clip("-".join([*parts[:-1], path.stem]), _below(root, path), parts[0], label, "")


def table(root: Path, params: IngestParams) -> Iterator[Clip]:
    """`clips.csv` in the folder: path, and as far as known split, label, subject, clip_id (else the file's name)."""
    file = root / "clips.csv"
    if not file.is_file():
        raise UserError(
            f"{file}: no such file; it lists the clips, with the columns path, split, label, subject, clip_id"
        )
    with open(file, newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        unknown = set(reader.fieldnames or ()) - {"path", "split", "label", "subject", "clip_id"}
        if "path" not in (reader.fieldnames or ()) or unknown:
            raise UserError(
                f"{file}: expected the columns path, split, label, subject, clip_id, got {reader.fieldnames}"
            )
        for row in reader:
            path = row["path"] or ""
            split, label = row.get("split") or "", row.get("label") or ""
            clip_id = row.get("clip_id") or PurePosixPath(path).stem
            if split not in (*SPLITS, ""):
                raise UserError(f"{file}, line {reader.line_num}: split {split!r} is none of {', '.join(SPLITS)}")
            yield Clip(
                clip_id, path, split, _label(label, file, reader.line_num) if label else "", row.get("subject") or ""
            )


LAYOUTS: dict[str, Callable[[Path, IngestParams], Iterator[Clip]]] = {
    "sample": table,
    "javanese": javanese,
    "afew": afew,
    "folder": folder,
    "csv": table,
}


def _videos(folder: Path) -> list[Path]:
    """By name alone: a link to nowhere is a clip that cannot be read, not one that is not there."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and not p.is_dir())


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _label(name: str, file: Path, line: int | None = None) -> str:
    label = name.lower()
    if label not in EMOTIONS:
        where = f"{file}, line {line}" if line else f"{file}"
        raise UserError(f"{where}: label {name!r} is none of {', '.join(EMOTIONS)}")
    return label


def _split_by_subject(subjects: SubjectSplit) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for split, names in subjects.model_dump().items():
        for name in names:
            if name in split_of:
                raise UserError(f"ingest.subjects: subject {name!r} is in {split_of[name]} and in {split}")
            split_of[name] = split
    return split_of
