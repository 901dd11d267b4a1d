"""Run a function for every clip in processes that can be ended: one that hangs or dies costs its clip only."""

import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as ClipTimeout
from multiprocessing import get_context
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool
from tqdm import tqdm

from emotion_pipeline.clips import ClipError
from emotion_pipeline.failures import Failures
from emotion_pipeline.params import RuntimeParams
from emotion_pipeline.stage import ends_with_parent

T = TypeVar("T")

TRIES = 2
"""A clip whose worker died (memory, a crash in a decoder) is tried once more."""


def run_each(
    stage: str, function: Callable[..., T], arguments: Mapping[str, tuple], runtime: RuntimeParams
) -> tuple[dict[str, T], Failures]:
    """What a module-level function gives for the arguments of every clip, in worker processes, and what failed.

    Failures are a ClipError of the function, `timeout` (longer than `runtime.clip_seconds`), `crash` (its process died)
    and `memory`. Any other exception is a mistake in the code and is raised.
    """
    results: dict[str, T] = {}
    failures: Failures = {}
    if not (todo := dict(arguments)):
        return results, failures
    for variable in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(variable, "1")  # one core per worker: the same bytes for any number of workers
    bar = tqdm(total=len(todo), desc=stage, unit="clip", file=sys.stderr, disable=None)
    pool = ProcessPool(min(runtime.processes, len(todo)), initializer=ends_with_parent, context=get_context("spawn"))
    try:
        for attempt in range(TRIES):
            futures: dict[Future[T], str] = {
                pool.schedule(function, given, timeout=runtime.clip_seconds): c for c, given in todo.items()
            }
            todo = {}
            for future in as_completed(futures):
                clip_id = futures[future]
                error = _error_of(future, clip_id, runtime)
                if error is None:
                    results[clip_id] = future.result()
                elif error.reason == "crash" and attempt + 1 < TRIES:
                    todo[clip_id] = arguments[clip_id]
                    continue
                else:
                    failures[clip_id] = error
                bar.update()
                bar.set_postfix(failed=len(failures))
        pool.close()
    finally:
        pool.stop()  # does nothing after close; ends the workers at once when interrupted
        pool.join()
        bar.close()
    return results, failures


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
