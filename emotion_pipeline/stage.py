"""How a stage of `dvc.yaml` starts and ends: messages instead of tracebacks, and nothing left running."""

import ctypes
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from emotion_pipeline.clips import UserError
from emotion_pipeline.keysfile import input_sha256
from emotion_pipeline.params import Params, load_params

log = logging.getLogger(__name__)


def run_stage(main: Callable[..., None], *arguments: str, section: Callable[[Params], object]) -> None:
    """Call `main(*paths, params section, runtime)` and end the process with the right exit status.

    `arguments` are the paths of the command line; where one is a folder whose tables were damaged, nothing runs.
    Exit status 1 and the message alone for a UserError, 130 for Ctrl-C.
    """
    ends_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        params, paths = load_params(), [Path(argument) for argument in arguments]
        for table in [path / name for path in paths for name in ("clips.csv", "failures.csv")]:
            if table.is_file():
                input_sha256(table)
        main(*paths, section(params), params.runtime)
    except UserError as error:
        sys.exit(f"ERROR: {error}")
    except KeyboardInterrupt:
        log.info("interrupted: what was finished is kept, and the next run goes on from there")
        sys.exit(130)


def ends_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, so that a killed `dvc repro` leaves nothing that writes."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
