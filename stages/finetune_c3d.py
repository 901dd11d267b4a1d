"""Stage `finetune_c3d@<network>`: C3D on windows of the labelled clips."""

import sys
from pathlib import Path

from emotion_pipeline.features.train import Paths, train_c3d
from emotion_pipeline.params import Params
from emotion_pipeline.run.keys import note_outputs
from emotion_pipeline.run.stage import run_stage


def main(name: Path, ingest: Path, track: Path, published: Path, model: Path, out: Path, params: Params) -> None:
    """Face sequences of the labelled clips -> the network, history.csv."""
    keys = train_c3d(Paths(ingest, track, published, model, out), params.finetune_c3d[name.name], params.runtime)
    note_outputs([out, model], train_c3d.__module__, keys)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], outs=2)
