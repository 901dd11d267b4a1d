"""Stage `extract_vgg`: fc6 and scores of every face."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.clips import Clip
from emotion_pipeline.features.vgg_face import vgg_clip
from emotion_pipeline.params import ExtractVggParams, RuntimeParams
from emotion_pipeline.perclip import run_per_clip
from emotion_pipeline.stage import run_stage


def main(
    ingest: Path, track: Path, network: Path, extract_vgg: Path, params: ExtractVggParams, runtime: RuntimeParams
) -> None:
    """Aligned faces and the fine-tuned network -> features per frame."""

    def inputs(clip: Clip) -> list[Path]:
        return [track / f"{clip.clip_id}.h5", network]

    compute = partial(vgg_clip, params=params, runtime=runtime)
    run_per_clip(compute, ingest, inputs, extract_vgg, params, runtime)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.extract_vgg)
