"""Stage `detect`: find the faces in every frame of every clip."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.faces.detect import detect_clip
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import ClipWork, run_clip_stage
from emotion_pipeline.weights.fetch import files_of


def work(ingest: Path, videos: Path, detect: Path, params: Params) -> ClipWork:
    """Manifest and videos -> boxes."""
    files = files_of(params.detect.detector)
    compute = partial(detect_clip, params=params.detect, runtime=params.runtime)
    return ClipWork(compute, ingest, lambda clip: [videos / clip.path, *files], detect, params.detect, params.runtime)


if __name__ == "__main__":
    run_clip_stage(work, *sys.argv[1:])
