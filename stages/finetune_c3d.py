"""Stage `finetune_c3d`: C3D on windows of the labelled clips."""

import sys

from emotion_pipeline.features.train import train_c3d as main
from emotion_pipeline.stage import run_stage

if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.finetune_c3d)
