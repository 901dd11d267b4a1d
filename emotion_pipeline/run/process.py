"""How a process of a stage ends: with its parent, at once on Ctrl-C, and as soon as its work is done.

Imports the standard library only: it runs before the imports that take seconds.
"""

import ctypes
import logging
import os
import signal
import sys
from multiprocessing import active_children, parent_process
from pathlib import Path
from typing import NoReturn

MESSAGE = "interrupted: what was finished is kept, and the next run goes on from there\n"
INTERRUPTED = 130


def begin() -> None:
    """Prepare a stage, and each of its workers, before the imports: it answers Ctrl-C and ends with its parent."""
    signal.signal(signal.SIGINT, _interrupted)  # a worker's SIGINT is blocked: its parent answers
    ends_with_parent()


def ends_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, so that a killed `dvc repro` leaves nothing that writes.

    Ends this process if the parent is dead already. An orphan is known by its new parent, which is of another session.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    parent = parent_process()
    is_orphan = os.getsid(0) not in {os.getpid(), os.getsid(os.getppid())}
    if is_orphan or (parent is not None and not parent.is_alive()):
        os._exit(128 + signal.SIGTERM)


def _interrupted(*_: object) -> None:
    """End this process and its workers at once: an exception could be caught somewhere, or wait for a worker.

    The kernel also lists a worker whose start was interrupted, which multiprocessing does not know yet.
    """
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    for child in listed.read_text().split() if listed.exists() else [str(child.pid) for child in active_children()]:
        os.kill(int(child), signal.SIGKILL)
    os.write(1, MESSAGE.encode())
    os._exit(INTERRUPTED)


def done() -> NoReturn:
    """End a process whose work is done, with 0. Python's own way takes long, and Ctrl-C then ends in a traceback."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
