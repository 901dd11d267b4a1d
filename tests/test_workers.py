"""Processes that die as they start."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pytest

from emotion_pipeline import workers
from emotion_pipeline.clips import UserError
from emotion_pipeline.workers import POOLS, run_each


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
