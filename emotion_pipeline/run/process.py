"""How a process of a stage ends: with its parent, at once on Ctrl-C, and as soon as its work is done.

Standard library only: it runs before whatever takes long to import.
"""

import ctypes
import logging
import os
import signal
import sys
from multiprocessing import active_children, parent_process
from typing import NoReturn

MESSAGE = "interrupted: what was finished is kept, and the next run goes on from there\n"
INTERRUPTED = 130
WORKER = "--multiprocessing-fork" in sys.orig_argv  # parent_process() does not say so before the worker's first call


def begin() -> None:
    """What a stage, and each of its workers, does before it imports what takes seconds."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")  # the system frees what it warns of
    signal.signal(signal.SIGINT, signal.SIG_IGN if WORKER else _interrupted)
    ends_with_parent()


def ends_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, so that a killed `dvc repro` leaves nothing that writes.

    Ends this process if the parent is dead already: an orphan gets a parent of another session.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if _is_orphan():
        os._exit(128 + signal.SIGTERM)


def _is_orphan() -> bool:
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        return True
    return os.getsid(0) not in {os.getpid(), os.getsid(os.getppid())}


def _interrupted(*_: object) -> None:
    """End here and now: an exception could be swallowed, or have to wait for workers. Nothing on disk can be half."""
    for child in active_children():
        child.terminate()
    os.write(1, MESSAGE.encode())
    os._exit(INTERRUPTED)


def done() -> NoReturn:
    """End a process whose work is done, with 0: while Python takes itself apart, Ctrl-C would have no answer."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
