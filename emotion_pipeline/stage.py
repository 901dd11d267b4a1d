"""How a stage of `dvc.yaml` starts and ends: messages instead of tracebacks."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from emotion_pipeline.clips import UserError
from emotion_pipeline.ending import begin
from emotion_pipeline.params import Params, load_params


def run_stage(main: Callable[..., None], *arguments: str, section: Callable[[Params], object]) -> None:
    """Call `main(*paths, params section, runtime)` and end the process with the right exit status.

    `arguments` are the paths of the command line. Exit status 1 and the message alone for a UserError, 130 for Ctrl-C.
    """
    begin()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        params = load_params()
        main(*map(Path, arguments), section(params), params.runtime)
    except UserError as error:
        sys.exit(f"ERROR: {error}")
