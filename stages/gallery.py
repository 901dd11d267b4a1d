"""Stage `gallery`: what the report shows of the faces, in a few small files."""

import sys
from pathlib import Path

from emotion_pipeline.data.manifest import read_manifest
from emotion_pipeline.faces.gallery import write_gallery
from emotion_pipeline.params import Params
from emotion_pipeline.run.keys import note_outputs
from emotion_pipeline.run.stage import run_stage


def main(ingest: Path, track: Path, quality: Path, reports: Path, gallery: Path, params: Params) -> None:
    """Faces, figures, contact sheets -> the summary, the worst clips, faces of each class."""
    write_gallery(read_manifest(ingest / "clips.csv"), track, quality, gallery, reports, params.gallery)
    note_outputs([gallery], write_gallery.__module__, {})


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
