"""Run a function for every clip in processes that can be ended: one that hangs or dies costs its clip only."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as ClipTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import RLock
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool
from tqdm import tqdm

from emotion_pipeline.data.failures import Failures
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.params import RuntimeParams
from emotion_pipeline.run.process import ends_with_parent

T = TypeVar("T")

TRIES = 2
"""A clip whose worker died (memory, a crash in a decoder) is tried once more."""

POOLS = 3
"""A pool in which a worker dies before it has its first clip is of no use any more: so many may end like that."""

MANY_DEATHS = (
    f"worker processes died {POOLS} times before they had a clip; is there enough memory for runtime.workers of them?"
    " Finished clips are kept"
)


def run_each(
    stage: str, function: Callable[..., T], arguments: Mapping[str, tuple], runtime: RuntimeParams
) -> tuple[dict[str, T], Failures]:
    """What a module-level function gives for the arguments of every clip, in worker processes, and what failed.

    Failures are a ClipError of the function, `timeout` (longer than `runtime.clip_seconds`), `crash` (its process died)
    and `memory`. Any other exception is a mistake in the code and is raised.
    Raises UserError where workers die again and again before they have a clip.
    """
    results: dict[str, T] = {}
    failures: Failures = {}
    todo, died, broken = list(arguments), set[str](), 0
    bar = tqdm(total=len(todo), desc=stage, unit="clip", file=sys.stderr, disable=None)
    while todo and broken < POOLS:
        with _pool(min(runtime.processes, len(todo))) as pool:
            futures: dict[Future[T], str] = {
                pool.schedule(function, arguments[c], timeout=runtime.clip_seconds): c for c in todo
            }
            todo = []
            for future in as_completed(futures):
                clip_id = futures[future]
                if isinstance(future.exception(), BrokenProcessPool):
                    todo.append(clip_id)
                    continue
                error = _error_of(future, clip_id, runtime)
                if error is None:
                    results[clip_id] = future.result()
                elif error.reason == "crash" and clip_id not in died:
                    died.add(clip_id)
                    todo.append(clip_id)
                    continue
                else:
                    failures[clip_id] = error
                bar.update()
                bar.set_postfix(failed=len(failures))
            broken += any(isinstance(future.exception(), BrokenProcessPool) for future in futures)
    bar.close()
    if todo:
        raise UserError(f"{stage}: {MANY_DEATHS}")
    return results, failures


class _Context(SpawnContext):
    """Keeps the pool's locks until its last worker has ended.

    The pool drops them first, and the system forgets their names: a worker that is still starting would end in a
    traceback, because it finds none.
    """

    def __init__(self) -> None:
        self.locks: list[RLock] = []

    def RLock(self) -> RLock:  # noqa: N802 - the standard library's name
        self.locks.append(super().RLock())
        return self.locks[-1]


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPool]:
    for variable in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(variable, "1")  # one core per worker: the same bytes for any number of workers
    pool = ProcessPool(workers, initializer=ends_with_parent, context=_Context())
    try:
        yield pool
        pool.close()
    finally:
        pool.stop()  # does nothing after close; ends the workers at once when interrupted
        pool.join()


def _error_of(future: Future[T], clip_id: str, runtime: RuntimeParams) -> ClipError | None:
    try:
        future.result()
    except ClipError as error:
        return error
    except ClipTimeout:
        return ClipError("timeout", f"{clip_id}: took longer than {runtime.clip_seconds:g} s (runtime.clip_seconds)")
    except ProcessExpired as error:
        return ClipError("crash", f"{clip_id}: its worker process died (exit status {error.exitcode}) {TRIES} times")
    except MemoryError as error:
        return ClipError("memory", f"{clip_id}: its worker ran out of memory ({error})")
    except Exception as error:
        error.add_note(f"while working on clip {clip_id}")
        raise
    return None
