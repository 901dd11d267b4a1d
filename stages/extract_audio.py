"""Stage `extract_audio`: openSMILE's description of every clip's sound."""

import sys
from functools import partial
from pathlib import Path

from emotion_pipeline.features.opensmile import audio_clip
from emotion_pipeline.params import ExtractAudioParams, RuntimeParams
from emotion_pipeline.perclip import run_per_clip
from emotion_pipeline.stage import run_stage


def main(ingest: Path, videos: Path, extract_audio: Path, params: ExtractAudioParams, runtime: RuntimeParams) -> None:
    """Videos -> one vector of functionals per clip."""
    configuration = [path for path in [Path(params.feature_set)] if path.is_file()]  # its bytes are part of the keys
    compute = partial(audio_clip, params=params)
    run_per_clip(compute, ingest, lambda clip: [videos / clip.path, *configuration], extract_audio, params, runtime)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.extract_audio)
