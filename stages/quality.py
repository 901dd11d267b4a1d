"""Stage `quality`: figures and a contact sheet of every clip's face sequence."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.clips import Clip
from emotion_pipeline.faces.quality import quality_clip
from emotion_pipeline.params import QualityParams, RuntimeParams
from emotion_pipeline.perclip import run_per_clip
from emotion_pipeline.stage import run_stage


def main(
    ingest: Path,
    videos: Path,
    detect: Path,
    align: Path,
    track: Path,
    quality: Path,
    params: QualityParams,
    runtime: RuntimeParams,
) -> None:
    """Videos and what the stages found in them -> figures, contact sheets."""

    def inputs(clip: Clip) -> list[Path]:
        return [videos / clip.path, *(folder / f"{clip.clip_id}.h5" for folder in (detect, align, track))]

    run_per_clip(partial(quality_clip, params=params), ingest, inputs, quality, params, runtime)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.quality)
