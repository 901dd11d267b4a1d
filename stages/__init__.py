"""The stages of dvc.yaml, each run as `python -m stages.<name>`: before its own imports it runs this."""

import sys

from emotion_pipeline.run.process import begin

if sys.argv[0] == "-m" or "--multiprocessing-fork" in sys.orig_argv:  # a stage or its worker, but no test
    begin()
