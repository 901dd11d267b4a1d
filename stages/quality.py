"""Stage `quality`: figures and a contact sheet of every clip's face sequence."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.faces.quality import quality_clip
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import ClipWork, run_clip_stage


def work(ingest: Path, videos: Path, detect: Path, align: Path, track: Path, out: Path, params: Params) -> ClipWork:
    """Videos and what the stages found in them -> figures, contact sheets."""

    def inputs(clip: Clip) -> list[Path]:
        return [videos / clip.path, *(folder / f"{clip.clip_id}.h5" for folder in (detect, align, track))]

    return ClipWork(partial(quality_clip, params=params.quality), ingest, inputs, out, params.quality, params.runtime)


if __name__ == "__main__":
    run_clip_stage(work, *sys.argv[1:])
