"""Stage `extract_vgg`: fc6 and scores of every face."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.features.vgg_face import vgg_clip
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import ClipWork, run_clip_stage


def work(ingest: Path, track: Path, network: Path, out: Path, params: Params) -> ClipWork:
    """Aligned faces and the fine-tuned network -> features per frame."""
    own = params.extract_vgg
    compute = partial(vgg_clip, params=own, runtime=params.runtime)
    return ClipWork(compute, ingest, lambda clip: [track / f"{clip.clip_id}.h5", network], out, own, params.runtime)


if __name__ == "__main__":
    run_clip_stage(work, *sys.argv[1:])
