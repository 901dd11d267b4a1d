"""Stage `extract_vgg`: fc6 and scores of every face."""

import sys

from emotion_pipeline.features.extract import extract_vgg as main
from emotion_pipeline.stage import run_stage

if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.extract_vgg)
