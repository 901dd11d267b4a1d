"""The clips for which a person chose the track: `data/overrides.csv` (clip_id, track)."""

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any

from emotion_pipeline.errors import UserError

OVERRIDES = Path("data/overrides.csv")

COLUMNS = ["clip_id", "track"]


def read_overrides(file: Path, clip_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Return by clip id the argument `override` of `track_clip`: the number of the track on the contact sheet.

    Raises UserError naming file and line: another header, an unknown clip, a clip twice, a track that is no number.
    """
    chosen: dict[str, dict[str, int]] = {}
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            table = csv.DictReader(stream)
            if table.fieldnames != COLUMNS:
                raise UserError(f"{file}: expected the header clip_id,track, found {','.join(table.fieldnames or [])}")
            for row in table:
                _add(chosen, row, f"{file}, line {table.line_num}", clip_ids)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); its first line is clip_id,track") from error
    return chosen


def _add(
    chosen: dict[str, dict[str, int]], row: dict[str | Any, str | Any], where: str, clip_ids: Collection[str]
) -> None:
    clip_id, track = row["clip_id"], row["track"]
    if None in row:
        raise UserError(f"{where}: expected two columns, found {2 + len(row[None])}")
    if clip_id not in clip_ids:
        raise UserError(f"{where}: no clip {clip_id} in the manifest (data/ingest/clips.csv); correct or remove it")
    if clip_id in chosen:
        raise UserError(f"{where}: clip {clip_id} is named twice; keep one line")
    if track is None or not track.isdecimal():
        raise UserError(f"{where}: clip {clip_id}: track is a whole number from 0, got {track}")
    chosen[clip_id] = {"override": int(track)}
