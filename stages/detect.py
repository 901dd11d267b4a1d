"""Stage `detect`: find the faces in every frame of every clip."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.faces.detect import DETECTORS, detect_clip
from emotion_pipeline.params import DetectParams, RuntimeParams
from emotion_pipeline.perclip import run_per_clip
from emotion_pipeline.stage import run_stage


def main(ingest: Path, videos: Path, detect: Path, params: DetectParams, runtime: RuntimeParams) -> None:
    """Manifest and videos -> boxes."""
    files = DETECTORS[params.detector].files()
    compute = partial(detect_clip, params=params, runtime=runtime)
    run_per_clip(compute, ingest, lambda clip: [videos / clip.path, *files], detect, params, runtime)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.detect)
