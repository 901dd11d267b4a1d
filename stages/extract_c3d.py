"""Stage `extract_c3d`: the second fully connected layer and scores of every window of 16 faces."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.clips import Clip
from emotion_pipeline.features.c3d import c3d_clip
from emotion_pipeline.params import ExtractC3dParams, RuntimeParams
from emotion_pipeline.perclip import run_per_clip
from emotion_pipeline.stage import run_stage


def main(
    ingest: Path, track: Path, network: Path, extract_c3d: Path, params: ExtractC3dParams, runtime: RuntimeParams
) -> None:
    """Aligned faces and the fine-tuned network -> features per window."""

    def inputs(clip: Clip) -> list[Path]:
        return [track / f"{clip.clip_id}.h5", network]

    compute = partial(c3d_clip, params=params, runtime=runtime)
    run_per_clip(compute, ingest, inputs, extract_c3d, params, runtime)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.extract_c3d)
