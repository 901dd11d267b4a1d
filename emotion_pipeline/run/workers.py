"""Run a function for every clip in worker processes: one that hangs or dies costs its own clip only.

Each worker has its own pipe to the main process and shares nothing with the others: when one dies, also while it
starts or sends a result, its pipe ends. The pools of libraries (pebble, loky, concurrent.futures) have one queue for
all workers: when one is killed, the whole pool breaks, or hangs.
"""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import inf
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, TypeVar

from tqdm import tqdm

from emotion_pipeline.data.manifest import Failures
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.params import RuntimeParams
from emotion_pipeline.run.process import ends_with_parent

T = TypeVar("T")

TRIES = 2  # a clip whose worker died (memory, a crash in a decoder) is tried once more
SPARE = 2  # workers that die before their first clip and are replaced; each further death costs the stage a worker
START_SECONDS = 600.0  # in which a worker must have imported what it needs
END_SECONDS = 5.0  # in which a worker that is no longer needed may end by itself
LOOK_SECONDS = 60.0  # longest time between two looks at the deadlines

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""Variables that are 1 in a worker: a sum's last bits depend on the number of threads."""


@dataclass(frozen=True)
class _Worker:
    """A worker process: it works on `clip_id`, or starts or waits (None), and must answer before `deadline`."""

    process: BaseProcess
    clip_id: str | None
    deadline: float


_Workers = dict[Connection, _Worker]  # by the main process's end of the pipe


def run_each(
    stage: str, function: Callable[..., T], arguments: Mapping[str, tuple], runtime: RuntimeParams
) -> tuple[dict[str, T], Failures]:
    """Return the results of a module-level function for the arguments of every clip, and what failed, by clip id.

    Failures are a ClipError of the function, `timeout` (longer than `runtime.clip_seconds`), `crash` (its process died
    `TRIES` times) and `memory`. Any other exception is a mistake in the code and is raised with the clip's name.
    Raises UserError where workers die again and again before they have a clip.
    """
    results: dict[str, T] = {}
    failures: Failures = {}
    workers: _Workers = {}
    todo, died, lost = list(arguments)[::-1], set[str](), 0
    bar = tqdm(total=len(todo), desc=stage, unit="clip", file=sys.stderr, disable=None)
    with bar, ExitStack() as at_end:
        at_end.callback(_end, workers)
        while left := len(arguments) - len(results) - len(failures):
            while len(workers) < min(runtime.processes, runtime.processes + SPARE - lost, left):
                workers |= _started(function)
            if not workers:
                raise UserError(
                    f"{stage}: {lost} worker processes died before they had a clip; what they said is above. If they"
                    " said nothing: is there enough memory for runtime.workers of them? Finished clips are kept"
                )
            _hand_out(todo, arguments, workers, runtime.clip_seconds)
            for connection in _heard_of(workers):
                clip_id = workers[connection].clip_id
                result, error = _answer(connection, workers, runtime.clip_seconds)
                if clip_id is None:
                    lost += error is not None
                elif error is None:
                    results[clip_id] = result
                elif error.reason == "crash" and clip_id not in died:
                    died.add(clip_id)
                    todo.append(clip_id)
                else:
                    failures[clip_id] = error
            bar.update(len(results) + len(failures) - bar.n)
            bar.set_postfix(failed=len(failures))
    return results, failures


def _started(function: Callable) -> _Workers:
    """Return a new worker that imports what `function` needs. Ctrl-C does not reach it; it ends with its parent."""
    os.environ |= dict.fromkeys(THREADS, "1")
    imports = pickle.dumps(function)
    ours, theirs = Pipe()
    process = get_context("spawn").Process(target=_work, args=(theirs,), daemon=True)
    resource_tracker.ensure_running()  # its start lets Ctrl-C through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the process inherits it
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    with suppress(OSError):  # it is dead already; its pipe will say so
        ours.send_bytes(imports)
    return {ours: _Worker(process, None, monotonic() + START_SECONDS)}


def _work(connection: Connection) -> None:
    """Answer, in a worker, each message of the pipe until the main process closes it: the function, then arguments."""
    ends_with_parent()
    with suppress(EOFError):
        function = pickle.loads(connection.recv_bytes())
        connection.send_bytes(pickle.dumps((None, None)))
        while True:
            connection.send_bytes(_outcome(function, connection.recv_bytes()))


def _outcome(function: Callable, arguments: bytes) -> bytes:
    """Return (result, None) or (None, exception), pickled. What cannot be pickled becomes a RuntimeError."""
    try:
        return pickle.dumps((function(*pickle.loads(arguments)), None))
    except Exception as error:
        error.add_note(traceback.format_exc())
        with suppress(Exception):
            outcome = pickle.dumps((None, error))
            pickle.loads(outcome)
            return outcome
        return pickle.dumps((None, RuntimeError(traceback.format_exc())))


def _hand_out(todo: list[str], arguments: Mapping[str, tuple], workers: _Workers, seconds: float) -> None:
    """Give the next clip to each worker that waits."""
    for connection, worker in workers.items():
        if todo and worker.deadline == inf:
            clip_id = todo.pop()
            with _naming(clip_id), suppress(OSError):  # it is dead: its pipe will say so
                connection.send_bytes(pickle.dumps(arguments[clip_id]))
            workers[connection] = _Worker(worker.process, clip_id, monotonic() + seconds)


def _heard_of(workers: _Workers) -> list[Connection]:
    """Wait; return the pipes of workers that answered, died, or are over their time."""
    first = min(worker.deadline for worker in workers.values())
    ready = wait(list(workers), min(max(first - monotonic(), 0), LOOK_SECONDS))
    return [pipe for pipe, worker in workers.items() if pipe in ready or worker.deadline <= monotonic()]


def _answer(connection: Connection, workers: _Workers, seconds: float) -> tuple[Any, ClipError | None]:
    """Return the result or the failure of a worker that `_heard_of` named; it waits then, or is gone from `workers`.

    Raises what the function raised, other than ClipError and MemoryError.
    """
    worker = workers.pop(connection)
    if not connection.poll():
        _end({connection: worker})
        return None, ClipError("timeout", f"{worker.clip_id}: took longer than {seconds:g} s (runtime.clip_seconds)")
    try:
        message = connection.recv_bytes()
    except (EOFError, OSError):  # nothing, or the first part of an answer
        _end({connection: worker})
        status = f"exit status {worker.process.exitcode}"
        return None, ClipError("crash", f"{worker.clip_id}: its worker process died ({status}) {TRIES} times")
    workers[connection] = _Worker(worker.process, None, inf)
    with _naming(worker.clip_id):
        result, error = pickle.loads(message)
        if isinstance(error, MemoryError):
            return None, ClipError("memory", f"{worker.clip_id}: its worker ran out of memory ({error})")
        if error is None or isinstance(error, ClipError):
            return result, error
        raise error


def _end(workers: _Workers) -> None:
    """End those that start or work at once, and let those that wait end by themselves."""
    for connection, worker in workers.items():
        if worker.deadline < inf:
            worker.process.kill()
        connection.close()
    for worker in workers.values():
        worker.process.join(END_SECONDS)
        worker.process.kill()
        worker.process.join(END_SECONDS)  # a killed process that waits for a disk ends late


@contextmanager
def _naming(clip_id: str | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"while working on clip {clip_id}")
        raise
