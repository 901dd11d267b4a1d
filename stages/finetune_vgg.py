"""Stage `finetune_vgg`: VGG-Face on still faces."""

import sys

from emotion_pipeline.features.train import train_vgg as main
from emotion_pipeline.run.stage import run_stage

if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.finetune_vgg)
