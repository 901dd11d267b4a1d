"""Stage `track`: link the faces of each clip into its one smooth face sequence."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.data.manifest import Clip, read_manifest
from emotion_pipeline.faces.track import read_overrides, track_clip
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import ClipWork, run_clip_stage


def work(
    ingest: Path, videos: Path, detect: Path, align: Path, overrides: Path, track: Path, params: Params
) -> ClipWork:
    """Videos, boxes, landmarks and the tracks that a person chose -> aligned faces."""
    chosen = read_overrides(overrides, {clip.clip_id for clip in read_manifest(ingest / "clips.csv")})

    def inputs(clip: Clip) -> list[Path]:
        return [videos / clip.path, *(folder / f"{clip.clip_id}.h5" for folder in (detect, align))]

    compute = partial(track_clip, params=params.track)
    return ClipWork(compute, ingest, inputs, track, params.track, params.runtime, chosen)


if __name__ == "__main__":
    run_clip_stage(work, *sys.argv[1:])
