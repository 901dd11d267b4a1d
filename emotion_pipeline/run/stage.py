"""How a stage of `dvc.yaml` starts and ends: alone, with room for its results, and with messages, not tracebacks."""

import fcntl
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import load_params
from emotion_pipeline.run.disk import STORE_LOCK, explained, locked, require_room, store_folder
from emotion_pipeline.run.dvclock import keep_lock
from emotion_pipeline.run.keys import input_sha256
from emotion_pipeline.run.process import begin, done


def run_stage(main: Callable[..., None], *arguments: str, outs: int = 1) -> None:
    """Call `main(*paths, params)` and end the process with the right exit status.

    `arguments` are the paths of the command line, the last `outs` of them outputs. Nothing runs where a table in one of
    these folders is damaged. Exit status 1 and the message alone for a UserError, a full disk and a folder that may not
    be written to; 130 for Ctrl-C.
    """
    begin()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    paths = [Path(argument) for argument in arguments]
    out = paths[-1]
    own_lock, store_lock = Path(".cache/locks") / "_".join(out.parts), store_folder() / STORE_LOCK
    busy = f"{out}: another run of this stage is at work here; wait for it, or end it"
    try:
        params = load_params()
        with locked(own_lock, fcntl.LOCK_EX | fcntl.LOCK_NB, busy), locked(store_lock, fcntl.LOCK_SH):
            require_room(out)
            keep_lock()
            for table in [path / name for path in paths for name in ("clips.csv", "failures.csv")]:
                if table.is_file():
                    input_sha256(table)
            main(*paths, params)
            written = [file for folder in paths[-outs:] for file in (folder, *folder.rglob("*"))]
            require_room(out, sum(file.stat().st_size for file in written if file.is_file()))
    except UserError as error:
        sys.exit(f"ERROR: {error}")
    except (OSError, RuntimeError) as error:
        if text := explained(error, out):
            sys.exit(f"ERROR: {text}")
        raise
    done()
