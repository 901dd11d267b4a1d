"""Stage `extract_audio`: openSMILE's description of every clip's sound."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.features.opensmile import audio_clip, configuration_files
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import ClipWork, run_clip_stage


def work(ingest: Path, videos: Path, out: Path, params: Params) -> ClipWork:
    """Videos -> one vector of functionals per clip."""
    own = params.extract_audio
    configuration = configuration_files(own.feature_set)  # their bytes are part of the keys
    compute = partial(audio_clip, params=own)
    return ClipWork(compute, ingest, lambda clip: [videos / clip.path, *configuration], out, own, params.runtime)


if __name__ == "__main__":
    run_clip_stage(work, *sys.argv[1:])
