"""Stage `sample`: generate the sample data set and still faces in the FER2013 layout."""

import sys
from pathlib import Path

from emotion_pipeline.params import Params
from emotion_pipeline.run.stage import run_stage
from emotion_pipeline.sample.generate import make_clips, make_stills


def main(clips: Path, stills: Path, params: Params) -> None:
    """`sample` section -> a folder of clips with their truth, and a folder of still faces."""
    make_clips(clips, params.sample, params.runtime)
    make_stills(stills, params.sample, params.runtime)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
