"""Stage `finetune_vgg`: VGG-Face on still faces."""

import sys
from pathlib import Path

from emotion_pipeline.features.train import Paths, train_vgg
from emotion_pipeline.params import Params
from emotion_pipeline.run.keys import note_outputs
from emotion_pipeline.run.stage import run_stage


def main(ingest: Path, track: Path, published: Path, model: Path, out: Path, params: Params) -> None:
    """Still faces, or faces of the labelled clips -> the network, history.csv, accuracy.csv."""
    keys = train_vgg(Paths(ingest, track, published, model, out), params.finetune_vgg, params.runtime)
    note_outputs([out, model], train_vgg.__module__, keys)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], outs=2)
