"""Workers that die, hang or answer with what cannot be sent: the others go on, and the stage ends."""

import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import psutil
import pytest

from emotion_pipeline.errors import UserError
from emotion_pipeline.run import workers
from emotion_pipeline.run.process import INTERRUPTED, MESSAGE
from emotion_pipeline.run.workers import SPARE, THREADS, run_each
from tests.conftest import REPOSITORY


class UnreadableError(Exception):
    """Can be pickled, but not be read back."""

    def __init__(self, first: str, second: str):
        super().__init__(first)


def square(value: int) -> int:
    return value**2


def threads() -> list[str]:
    import cv2

    return [*(os.environ[name] for name in THREADS), str(cv2.getNumThreads())]


def generator() -> Iterator[int]:
    return (number for number in range(3))


def unreadable() -> None:
    raise UnreadableError("told", "lost")


def unpickled() -> None:
    raise ValueError("told", generator())


def test_results_come_back_by_clip_and_processes_are_used_again(runtime):
    values = {str(k): (k,) for k in range(20)}
    assert run_each("detect", square, values, runtime) == ({str(k): k**2 for k in range(20)}, {})
    pids = run_each("detect", os.getpid, dict.fromkeys(values, ()), runtime)[0]
    assert len(set(pids.values())) <= 2
    assert os.getpid() not in pids.values()
    assert run_each("detect", square, {}, runtime) == ({}, {})


def test_a_worker_computes_with_one_thread_whatever_the_user_has_set(runtime, monkeypatch):
    for name in THREADS:
        monkeypatch.setenv(name, "2")
    assert run_each("detect", threads, {"a": ()}, runtime)[0]["a"] == ["1"] * 5


@pytest.mark.parametrize(
    ("function", "error", "told"),
    [(generator, TypeError, "generator"), (unreadable, RuntimeError, "told"), (unpickled, RuntimeError, "told")],
)
def test_what_cannot_be_sent_is_an_error_that_names_the_clip(runtime, function, error, told):
    with pytest.raises(error, match=told) as raised:
        run_each("detect", function, {"a": ()}, runtime)
    assert "while working on clip a" in raised.value.__notes__


def test_an_argument_that_cannot_be_sent_is_an_error_that_names_the_clip_and_leaves_no_worker(runtime):
    with pytest.raises(TypeError, match="generator") as raised:
        run_each("detect", square, {"a": (generator(),)}, runtime)
    assert "while working on clip a" in raised.value.__notes__
    assert workers_of(psutil.Process()) == []


def test_an_error_says_where_in_the_worker_it_was_raised(runtime):
    with pytest.raises(TypeError) as raised:
        run_each("detect", square, {"a": ("text",)}, runtime)
    assert any("return value**2" in note for note in raised.value.__notes__)


def send_a_part_and_die(connection: Connection, message: bytes) -> None:
    os.write(connection.fileno(), struct.pack("!i", len(message)) + message[: len(message) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def large(folder: Path) -> np.ndarray:
    """A result of 800 kB, of which the first process sends a part and is killed."""
    if not (folder / "tried").exists():
        (folder / "tried").touch()
        Connection.send_bytes = send_a_part_and_die
    return np.ones(10**5)


def test_a_worker_that_is_killed_while_it_sends_a_large_result_costs_one_try(runtime, tmp_path):
    (tmp_path / "0").mkdir()
    results, failures = run_each("detect", large, {"a": (tmp_path / "0",), "b": (tmp_path,)}, runtime)
    assert failures == {}
    assert [results[clip_id].sum() for clip_id in "ab"] == [10**5, 10**5]


def dies_as_it_starts(connection: Connection) -> None:
    """`_work`, but the first $DEATHS processes die."""
    folder = Path(os.environ["STARTED"])
    (folder / str(os.getpid())).touch()
    if len(list(folder.iterdir())) <= int(os.environ["DEATHS"]):
        os.kill(os.getpid(), signal.SIGKILL)
    workers._work(connection)


@pytest.fixture
def let_die(tmp_path, monkeypatch) -> Callable[[int], None]:
    def first(deaths: int) -> None:
        monkeypatch.setenv("STARTED", str(tmp_path))
        monkeypatch.setenv("DEATHS", str(deaths))
        monkeypatch.setattr(workers, "_work", dies_as_it_starts)

    return first


@pytest.mark.parametrize("deaths", [1, SPARE, SPARE + 1])
def test_workers_that_die_before_they_have_a_clip_cost_no_clip(let_die, runtime, deaths):
    let_die(deaths)
    assert run_each("detect", divmod, {"a": (7, 2), "b": (9, 4)}, runtime) == ({"a": (3, 1), "b": (2, 1)}, {})


def test_workers_that_always_die_end_the_stage_with_a_message(let_die, runtime):
    let_die(99)
    with pytest.raises(UserError, match=r"detect: 3 worker processes died before they had a clip.* enough memory"):
        run_each("detect", divmod, {"a": (7, 2)}, runtime.model_copy(update={"workers": 1}))


STAGE = """
import sys, time
from emotion_pipeline.run.process import begin
begin()
if "--multiprocessing-fork" in sys.orig_argv:
    import torch  # as in a stage: it takes a second or two
import numpy as np
from emotion_pipeline.params import load_params
from emotion_pipeline.run.workers import run_each

def work(value):
    time.sleep(0.1)
    return np.full(10**5, value)

if __name__ == "__main__":
    count = int(sys.argv[1])
    runtime = load_params().runtime.model_copy(update={"workers": 2})
    results, failures = run_each("detect", work, {str(k): (k,) for k in range(count)}, runtime)
    assert all((array == int(k)).all() for k, array in results.items())
    print(sorted([*map(int, results), *map(int, failures)]) == list(range(count)), failures)
"""
"""A stage that says whether every clip is there or listed, and the list."""

AT_ONCE = 4
"""Stages at one time: they wait for each other's imports, and for the moment."""


@contextmanager
def stage(folder: Path, count: int) -> Iterator[psutil.Popen]:
    script = Path(mkdtemp(dir=folder)) / "stage.py"  # its own: another stage may be reading, while this one writes
    script.write_text(STAGE)
    command = [sys.executable, str(script), str(count)]
    with psutil.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        try:
            yield run
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)


def children(run: psutil.Process, what: str) -> list[psutil.Process]:
    found = []
    for child in run.children():
        with suppress(psutil.NoSuchProcess):
            if any(what in word for word in child.cmdline()):
                found.append(child)
    return found


def workers_of(run: psutil.Process) -> list[psutil.Process]:
    return children(run, "spawn_main")


def waited_for(run: psutil.Popen, what: str, count: int) -> list[psutil.Process]:
    while len(found := children(run, what)) < count:
        assert run.poll() is None
        time.sleep(0.02)
    return found


def end_of(run: psutil.Popen) -> str:
    said, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    return said


def kill_in_turn(folder: Path, kills: Sequence[tuple[float, signal.Signals]]) -> str:
    """End a worker so many seconds after its start, then the one in its place, and so on; the other one works."""
    with stage(folder, 100) as run:
        seen = {*waited_for(run, "spawn_main", 2)[1:]}
        for moment, sign in kills:
            while run.poll() is None and not (new := {*workers_of(run)} - seen):
                time.sleep(0.02)
            time.sleep(moment)
            for worker in new:
                with suppress(psutil.NoSuchProcess):  # the stage has ended
                    worker.send_signal(sign)
            seen |= new
        return end_of(run)


@pytest.mark.slow
def test_a_worker_killed_at_any_moment_of_its_start_costs_no_clip(tmp_path):
    kills = [(moment, sign) for moment in np.linspace(0, 2.85, 20) for sign in (signal.SIGTERM, signal.SIGKILL)]
    runs = [kills[k::14] for k in range(14)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(zip(pool.map(kill_in_turn, [tmp_path] * 14, runs), runs, strict=True))
    assert [end for end in ends if end[0] != "True {}\n"] == []


@pytest.mark.slow
def test_workers_killed_in_the_middle_of_their_work_cost_at_most_their_clip(tmp_path):
    with stage(tmp_path, 60) as run:
        for sign in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
            worker = waited_for(run, "spawn_main", 2)[0]  # the oldest
            time.sleep(max(0, worker.create_time() + 2.45 - time.time()))
            worker.send_signal(sign)
            worker.wait()
        said = end_of(run)
    assert said.startswith("True ")
    assert set(re.findall(r"ClipError\('(\w+)'", said)) <= {"crash"}


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 1.0])
def test_a_stage_outlives_the_helper_process_of_multiprocessing(tmp_path, moment):
    with stage(tmp_path, 20) as run:
        (helper,) = waited_for(run, "resource_tracker", 1)
        time.sleep(moment)
        helper.kill()
        for worker in waited_for(run, "spawn_main", 1):
            worker.kill()  # the next one needs the helper
        assert end_of(run) == "True {}\n"


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1, 1.0])
def test_ctrl_c_while_workers_start_ends_all_without_a_traceback(tmp_path, moment):
    with stage(tmp_path, 6) as run:
        waited_for(run, "spawn_main", 2)
        time.sleep(moment)
        os.killpg(run.pid, signal.SIGINT)
        assert run.communicate(timeout=5) == (MESSAGE, "")  # pipes close with the last worker
        assert run.returncode == INTERRUPTED


def test_a_worker_that_is_still_starting_when_all_is_done_ends_at_once_and_says_nothing(tmp_path):
    (tmp_path / "stage.py").write_text(LATE)
    (tmp_path / "started").mkdir()
    command = [sys.executable, tmp_path / "stage.py", tmp_path / "started"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "({'a': 1, 'b': 2}, {})\n", "")


LATE = """
import os, sys, time
from emotion_pipeline.params import load_params
from emotion_pipeline.run.workers import run_each

if "--multiprocessing-fork" in sys.orig_argv:
    started = sys.argv[1]
    open(os.path.join(started, str(os.getpid())), "w").close()
    while len(os.listdir(started)) < 2:
        time.sleep(0.01)
    if os.getpid() == max(map(int, os.listdir(started))):
        time.sleep(999)
elif __name__ == "__main__":
    runtime = load_params().runtime.model_copy(update={"workers": 2})
    print(run_each("detect", max, {"a": (0, 1), "b": (0, 2)}, runtime))
"""
