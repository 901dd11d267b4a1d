"""Stage `extract_c3d@<network>`: the second fully connected layer and scores of every window of 16 faces."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.features.c3d import c3d_clip
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import ClipWork, run_clip_stage


def work(name: Path, ingest: Path, track: Path, network: Path, out: Path, params: Params) -> ClipWork:
    """Aligned faces and the fine-tuned network -> features per window."""
    own = params.extract_c3d[name.name]
    compute = partial(c3d_clip, params=own, runtime=params.runtime)
    return ClipWork(compute, ingest, lambda clip: [track / f"{clip.clip_id}.h5", network], out, own, params.runtime)


if __name__ == "__main__":
    run_clip_stage(work, *sys.argv[1:])
