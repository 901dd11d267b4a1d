"""Stage `extract_c3d@<network>`: the second fully connected layer and scores of every window of 16 faces."""

import sys
from pathlib import Path

from emotion_pipeline.features.c3d import c3d_clip
from emotion_pipeline.features.extract import per_clip
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import ClipWork, run_clip_stage


def work(name: Path, ingest: Path, track: Path, network: Path, out: Path, params: Params) -> ClipWork:
    """Aligned faces and the fine-tuned network -> features per window."""
    return per_clip(c3d_clip, ingest, track, network, out, params.extract_c3d[name.name], params.runtime)


if __name__ == "__main__":
    run_clip_stage(work, *sys.argv[1:])
