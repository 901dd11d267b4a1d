"""The stages of dvc.yaml, each run as `python -m stages.<name>`: before its own imports it runs this."""

import sys

from emotion_pipeline.run.process import WORKER, begin

if WORKER or sys.argv[0] == "-m":  # no test that imports a stage
    begin()
