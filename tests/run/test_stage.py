"""A stage ends with a message where the machine has no room, no right to write, or is at the same work already."""

import errno
import fcntl
from pathlib import Path

import pytest

from emotion_pipeline.run import disk
from emotion_pipeline.run.stage import run_stage
from tests.conftest import REPOSITORY


@pytest.fixture
def stage(tmp_path, monkeypatch, capsys):
    """`stage(main)` runs it in an empty folder and returns the message that it ends with (none: empty)."""
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("begin", "done"):  # they would change, and end, this process
        monkeypatch.setattr(f"emotion_pipeline.run.stage.{name}", lambda: None)

    def run(main) -> str:
        try:
            run_stage(main, "data/raw", "data/made")
        except SystemExit as end:
            return str(end.code)
        return ""

    return run


def nothing(*_: object) -> None:
    """A stage that does nothing."""


def writes(*_: object) -> None:
    """A stage with an output of 1 MiB."""
    Path("data/made").mkdir(parents=True)
    Path("data/made/file").write_bytes(bytes(2**20))


def test_a_full_disk_is_said_before_the_work(stage, monkeypatch):
    monkeypatch.setattr(disk, "SPARE_BYTES", 2**60)
    assert "MiB free on this disk" in stage(writes)
    assert not Path("data/made").exists()


def test_a_cache_of_dvc_that_has_no_room_for_the_output_is_said_before_dvc_commits(stage, monkeypatch):
    """DVC would end with 0."""
    free = disk.shutil.disk_usage(".")._replace(free=disk.SPARE_BYTES + 2**19)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: free)
    assert stage(nothing) == ""
    assert stage(writes).startswith(f"ERROR: {Path.cwd()}/.dvc/cache: 256 MiB free on this disk, 257 MiB needed")


@pytest.mark.parametrize("name", ["data", "store", "cache"])
def test_a_folder_that_may_not_be_written_to_is_named_before_the_work(stage, monkeypatch, tmp_path, name):
    Path(".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path}/cache\n")
    for folder in ("data", "store", "cache"):
        Path(folder).mkdir()
    monkeypatch.setattr(disk.os, "access", lambda folder, how: folder != tmp_path / name)  # root may everything
    assert f"{name}: cannot be written to; give this user the right" in stage(nothing)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "no", "a/b"), "ERROR: a/b: Permission denied; give"),
        (OSError(errno.EROFS, "no", "a/b"), "ERROR: a/b: Read-only file system; give"),
        (OSError(errno.ENOSPC, "no"), "ERROR: data/made or "),
        (
            RuntimeError("unable to close file (errno = 28, error message = 'no space')"),
            "No space left on device; make",
        ),
    ],
    ids=["right", "read-only", "full", "full, as HDF5 says it"],
)
def test_what_goes_wrong_with_a_disk_during_the_work_is_one_sentence(stage, error, message):
    def fails(*_: object) -> None:
        raise error

    assert message in stage(fails)


def test_other_errors_keep_their_traceback(stage):
    def fails(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        stage(fails)


def test_a_stage_at_work_here_already_is_said(stage):
    def again(*_: object) -> None:
        assert "data/made: another run of this stage is at work here" in stage(nothing)
        with open(".cache/locks/data_made") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert stage(again) == ""
    assert stage(nothing) == ""
