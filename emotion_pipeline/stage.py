"""How a stage of `dvc.yaml` starts and ends: messages instead of tracebacks."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from emotion_pipeline.clips import UserError
from emotion_pipeline.ending import begin
from emotion_pipeline.keysfile import input_sha256
from emotion_pipeline.params import Params, load_params


def run_stage(main: Callable[..., None], *arguments: str, section: Callable[[Params], object]) -> None:
    """Call `main(*paths, params section, runtime)` and end the process with the right exit status.

    `arguments` are the paths of the command line; where one is a folder whose tables were damaged, nothing runs.
    Exit status 1 and the message alone for a UserError, 130 for Ctrl-C.
    """
    begin()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        params, paths = load_params(), [Path(argument) for argument in arguments]
        for table in [path / name for path in paths for name in ("clips.csv", "failures.csv")]:
            if table.is_file():
                input_sha256(table)
        main(*paths, section(params), params.runtime)
    except UserError as error:
        sys.exit(f"ERROR: {error}")
