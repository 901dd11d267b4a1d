"""The part of the report that shows faces, read from the few small files that stage gallery writes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Gallery:
    """What is shown: the summary, the worst clips, and for each class a clip with its faces; images are JPEG."""

    summary: Mapping[str, Any]
    sheets: tuple[tuple[Mapping[str, Any], bytes | None], ...]  # None where an earlier stage failed on the clip
    strips: tuple[Mapping[str, Any], ...]  # emotion; clip_id, split, frames, picture where a clip shows a face


def read_gallery(folder: Path) -> Gallery:
    """Return what `faces.gallery.write_gallery` wrote."""
    whole = json.loads((folder / "gallery.json").read_text(encoding="utf-8"))
    files = [(row, folder / f"sheet_{row['clip_id']}.jpg") for row in whole["worst"]]
    sheets = tuple((row, file.read_bytes() if file.is_file() else None) for row, file in files)
    strips = tuple(
        strip | ({"picture": (folder / f"strip_{strip['emotion']}.jpg").read_bytes()} if "clip_id" in strip else {})
        for strip in whole["strips"]
    )
    return Gallery(whole["summary"], sheets, strips)
