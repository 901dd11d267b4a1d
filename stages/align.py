"""Stage `align`: find the landmarks of every detected face."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.faces.landmarks import align_clip
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import ClipWork, run_clip_stage
from emotion_pipeline.weights.fetch import files_of


def work(ingest: Path, videos: Path, detect: Path, align: Path, params: Params) -> ClipWork:
    """Videos and boxes -> landmarks."""
    files = files_of(params.align.predictor)

    def inputs(clip: Clip) -> list[Path]:
        return [videos / clip.path, detect / f"{clip.clip_id}.h5", *files]

    compute = partial(align_clip, params=params.align, runtime=params.runtime)
    return ClipWork(compute, ingest, inputs, align, params.align, params.runtime)


if __name__ == "__main__":
    run_clip_stage(work, *sys.argv[1:])
