"""Stage `align`: find the landmarks of every detected face."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.clips import Clip
from emotion_pipeline.faces.landmarks import PREDICTORS, align_clip
from emotion_pipeline.params import AlignParams, RuntimeParams
from emotion_pipeline.perclip import run_per_clip
from emotion_pipeline.stage import run_stage


def main(ingest: Path, videos: Path, detect: Path, align: Path, params: AlignParams, runtime: RuntimeParams) -> None:
    """Videos and boxes -> landmarks."""
    files = PREDICTORS[params.predictor].files()

    def inputs(clip: Clip) -> list[Path]:
        return [videos / clip.path, detect / f"{clip.clip_id}.h5", *files]

    run_per_clip(partial(align_clip, params=params, runtime=runtime), ingest, inputs, align, params, runtime)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.align)
