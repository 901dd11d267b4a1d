"""Processes that die as they start, and one that has not started when all is done."""

import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pytest

from emotion_pipeline.errors import UserError
from emotion_pipeline.run import workers
from emotion_pipeline.run.workers import POOLS, run_each
from tests.conftest import REPOSITORY


class Broken:
    """A pool in which the first worker dies before it has a clip."""

    def schedule(self, *_: object, **__: object) -> Future:
        future = Future()
        future.set_exception(BrokenProcessPool("All workers expired"))
        return future


@pytest.fixture
def break_pools(monkeypatch):
    """`break_pools(n)` makes the first n pools useless."""
    whole = workers._pool

    def first(n: int) -> None:
        left = [Broken()] * n

        @contextmanager
        def pool(size: int):
            if left:
                yield left.pop()
            else:
                with whole(size) as good:
                    yield good

        monkeypatch.setattr(workers, "_pool", pool)

    return first


@pytest.mark.parametrize("n", [0, POOLS - 1])
def test_a_worker_that_dies_before_it_has_a_clip_costs_no_clip(break_pools, runtime, n):
    break_pools(n)
    assert run_each("detect", divmod, {"a": (7, 2), "b": (9, 4)}, runtime) == ({"a": (3, 1), "b": (2, 1)}, {})


def test_workers_that_always_die_end_the_stage_with_a_message(break_pools, runtime):
    break_pools(POOLS)
    with pytest.raises(UserError, match="detect: worker processes died 3 times before they had a clip"):
        run_each("detect", divmod, {"a": (7, 2)}, runtime)


def test_a_worker_that_is_still_starting_when_all_is_done_ends_without_a_traceback(tmp_path):
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "started").mkdir()
    command = [sys.executable, tmp_path / "stage.py", tmp_path / "started"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "({'a': 1, 'b': 2}, {})\n", "")


STAGE = """
import os, signal, sys, time
from emotion_pipeline.run.process import WORKER, begin
from emotion_pipeline.params import load_params
from emotion_pipeline.run.workers import run_each

def slow_to_end(value):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the pool waits for it, and then kills it
    return value

begin()
if WORKER:
    started = sys.argv[1]
    open(os.path.join(started, str(os.getpid())), "w").close()
    while len(os.listdir(started)) < 2:
        time.sleep(0.01)
    if os.getpid() == max(map(int, os.listdir(started))):
        time.sleep(2)  # slow to start, and ended after the other one
else:
    runtime = load_params().runtime.model_copy(update={"workers": 2})
    print(run_each("detect", slow_to_end, {"a": (1,), "b": (2,)}, runtime))
"""
