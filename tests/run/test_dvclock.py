"""A dvc.lock that was cut off is noticed, and the last whole one put back; a whole one is left alone."""

import fcntl
import subprocess
import time
from pathlib import Path
from threading import Thread

import pytest

from emotion_pipeline.run.disk import locked
from emotion_pipeline.run.dvclock import AT_WORK, BROKEN, COPY, LOCK, keep_lock, mend_lock, read_lock
from emotion_pipeline.run.stage import run_stage
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in what DVC imports

WHOLE = """schema: '2.0'
stages:
  detect:
    cmd: exec python -m stages.detect data/ingest data/detect
    deps:
    - path: data/ingest
      hash: md5
      md5: 3ba58be4084b5c426ae30f3f7ab7a676.dir
      size: 4
      nfiles: 2
    params:
      params.yaml:
        detect:
          detector: yunet
    outs:
    - path: data/detect
      hash: md5
      md5: f4463fce9fb43a29114393ccd514b379.dir
      size: 2
      nfiles: 1
"""
OLDER = WHOLE.replace("yunet", "centerface")

CUTS = {
    "empty": 0,
    "in a key": WHOLE.index("ema"),
    "after the first line": WHOLE.index("stages:"),
    "before the first record": WHOLE.index("  detect:"),
    "before a record's command": WHOLE.index("    cmd:"),
    "in the command": WHOLE.index(" data/detect"),
    "after `deps:`": WHOLE.index("    - path: data/ingest"),
    "in a hash": WHOLE.index("7ab7a676.dir"),
    "in a number that could be whole": WHOLE.index("\n      nfiles: 2"),
    "after `params.yaml:`": WHOLE.index("        detect:"),
    "in a parameter's name": WHOLE.index("ctor: yunet"),
    "before the last line's end": len(WHOLE) - 1,
}


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    """A folder with the newer lock, whole."""
    monkeypatch.chdir(tmp_path)
    LOCK.write_text(WHOLE)


def commit() -> None:
    for command in (["init", "-q"], ["add", "-f", str(LOCK)]):
        subprocess.run(["git", *command], check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Lock"], check=True)


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_off_lock_becomes_the_one_of_the_last_stages_start(cut, caplog):
    LOCK.write_text(OLDER)
    commit()
    LOCK.write_text(WHOLE)
    keep_lock()
    LOCK.write_text(WHOLE[: CUTS[cut]])
    mend_lock()
    assert LOCK.read_text() == WHOLE
    assert BROKEN.read_text() == WHOLE[: CUTS[cut]]
    (line,) = caplog.messages
    assert "put back the copy of the last stage's start. Finished work is found again" in line


def test_without_a_copy_or_with_a_damaged_one_the_committed_lock_is_put_back(caplog):
    commit()
    for copy in (None, WHOLE[:-1]):
        if copy:
            COPY.write_text(copy)
        LOCK.write_text(WHOLE[:50])
        mend_lock()
        assert LOCK.read_text() == WHOLE
        assert "put back the committed one" in caplog.messages[-1]


@pytest.mark.parametrize("git", [True, False])
def test_without_copy_and_commit_the_lock_is_set_aside(git, caplog, monkeypatch):
    if not git:
        monkeypatch.setenv("PATH", "")
    LOCK.write_text(WHOLE[:50])
    mend_lock()
    assert not LOCK.exists()
    assert BROKEN.read_text() == WHOLE[:50]
    assert "no whole one is there" in caplog.text


def test_a_whole_lock_or_none_is_left_alone(caplog):
    COPY.parent.mkdir(parents=True)
    COPY.write_text(OLDER)
    mend_lock()
    assert LOCK.read_text() == WHOLE
    LOCK.unlink()
    mend_lock()
    assert not LOCK.exists()
    assert caplog.messages == []


def test_a_lock_that_dvc_is_just_writing_is_neither_replaced_nor_kept(caplog):
    COPY.parent.mkdir(parents=True)
    COPY.write_text(OLDER)
    mending = Thread(target=mend_lock)
    with locked(AT_WORK, fcntl.LOCK_EX):
        LOCK.write_text(WHOLE[:100])
        keep_lock()
        mending.start()
        time.sleep(0.5)
        LOCK.write_text(WHOLE)
    mending.join()
    assert (LOCK.read_text(), COPY.read_text(), caplog.messages) == (WHOLE, OLDER, [])


def test_every_cut_that_is_not_noticed_holds_whole_lines_and_can_be_read(caplog):
    keep_lock()
    for end in [k + 1 for k, sign in enumerate(WHOLE) if sign == "\n"]:
        LOCK.write_text(WHOLE[:end])
        assert set(read_lock()["detect"]) <= {"cmd", "deps", "params", "outs"}
        assert LOCK.read_text() in {WHOLE[:end], WHOLE}
    assert 5 < len(caplog.messages) < 12  # of 19 lines


def test_a_stage_keeps_the_lock_that_it_starts_with(monkeypatch):
    for name in ("begin", "done", "require_room"):
        monkeypatch.setattr(f"emotion_pipeline.run.stage.{name}", lambda *_: None)
    Path("params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    run_stage(lambda *_: LOCK.write_text(WHOLE[:50]), "data/made")
    assert COPY.read_text() == WHOLE
    assert "detect" in read_lock()


def test_make_repro_mends_the_lock_before_dvc_reads_it():
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "repro"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    line = next(line for line in recipe.splitlines() if "dvclock" in line)
    assert recipe.index(line) < recipe.index("dvc repro")
    LOCK.write_text(WHOLE[:50])
    mended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert "dvc.lock: was cut off" in mended.stderr
    assert not LOCK.exists()
