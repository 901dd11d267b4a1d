"""Per-clip work: computed once, reused by key, nothing lost, nothing silent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from emotion_pipeline.data.artifact import Artifact, read_array
from emotion_pipeline.data.manifest import Clip, read_failures, write_failures, write_manifest
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.params import Section
from emotion_pipeline.run import perclip
from emotion_pipeline.run.keys import keys_file_of, read_noted
from emotion_pipeline.run.perclip import ClipWork, run_per_clip
from emotion_pipeline.run.store import result_path
from tests.conftest import REPOSITORY

NAMES = ["a", "b", "c", "d"]
NOTHING: dict[str, float] = {}


class Factor(Section):
    factor: float = Field()


def scaled(files: Sequence[Path], params: Factor, log: Path, plus: float = 0.0) -> Artifact:
    """The number in the file, times a factor, plus another; files say by their text how the clip behaves."""
    text = files[0].read_text()
    with open(log, "a") as lines:
        lines.write(f"{files[0].stem}\n")
    if text == "bad":
        raise ClipError("unreadable", "not a number")
    if text == "none":
        return Artifact({"value": np.zeros(0)}, absent="no_face: in none of 3 frames")
    if text == "die":
        os._exit(9)
    if text == "sleep":
        time.sleep(60)
    if text == "huge":
        np.zeros(2**50)
    if text == "bug":
        raise KeyError("bug")
    return Artifact({"value": np.array([float(text) * params.factor + plus])}, {"factor": params.factor})


@pytest.fixture
def place(tmp_path, monkeypatch, runtime, caplog):
    """A folder with four clips; `run()` runs the stage and returns (clips computed, last line)."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    raw, ingest, log = tmp_path / "raw", tmp_path / "data/ingest", tmp_path / "log"
    raw.mkdir()
    ingest.mkdir(parents=True)
    for k, name in enumerate(NAMES):
        (raw / f"{name}.txt").write_text(str(k + 1))
    write_manifest(ingest / "clips.csv", [Clip(name, f"{name}.txt", "train", "happy", "") for name in NAMES])
    write_failures(ingest, {})

    def run(factor: float = 2.0, plus: dict[str, float] = NOTHING, **changes: float) -> tuple[list[str], str]:
        log.write_text("")
        caplog.clear()
        compute = partial(scaled, params=Factor(factor=factor), log=log)
        settings = runtime.model_copy(update=changes)
        named = {clip_id: {"plus": value} for clip_id, value in plus.items()}
        out, own = Path("data/scaled"), Factor(factor=factor)
        run_per_clip(ClipWork(compute, ingest, lambda c: [raw / c.path], out, own, settings, named))
        return sorted(log.read_text().split()), caplog.messages[-1]

    run.raw, run.out, run.ingest = raw, tmp_path / "data/scaled", ingest
    return run


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def kept_for(out: Path, clip_id: str) -> Path:
    """Return where the store has the result of a clip."""
    return result_path(read_noted(keys_file_of(out), "keys")[f"{out.name}/{clip_id}.h5"])


def test_first_run_computes_and_the_second_reuses_with_equal_bytes(place):
    assert place() == (NAMES, "scaled: 4 clips: 4 computed, 0 reused, 0 failed")
    first = bytes_of(place.out)
    assert place() == ([], "scaled: 4 clips: 0 computed, 4 reused, 0 failed")
    assert bytes_of(place.out) == first
    assert read_array(place.out / "c.h5", "value") == [6.0]


def test_a_changed_parameter_computes_all_and_changing_it_back_none(place):
    place()
    assert place(factor=3.0)[0] == NAMES
    assert read_array(place.out / "a.h5", "value") == [3.0]
    assert place(factor=2.0)[0] == []
    assert read_array(place.out / "a.h5", "value") == [2.0]


def test_changed_code_computes_all(place, monkeypatch):
    place()
    monkeypatch.setattr(perclip, "code_fingerprint", lambda module: "edited")
    assert place()[0] == NAMES


def test_a_replaced_clip_alone_is_computed(place):
    place()
    (place.raw / "b.txt").write_text("7")
    assert place() == (["b"], "scaled: 4 clips: 1 computed, 3 reused, 0 failed")
    assert read_array(place.out / "b.h5", "value") == [14.0]


def test_an_override_of_one_clip_computes_that_clip_and_taking_it_back_none(place):
    place()
    first = bytes_of(place.out)
    assert place(plus={"c": 10.0}) == (["c"], "scaled: 4 clips: 1 computed, 3 reused, 0 failed")
    assert read_array(place.out / "c.h5", "value") == [16.0]
    assert place(plus={"c": 20.0})[0] == ["c"]
    assert place()[0] == []
    assert bytes_of(place.out) == first


def test_a_removed_clip_leaves_the_folder(place):
    place()
    write_manifest(place.ingest / "clips.csv", [Clip(n, f"{n}.txt", "train", "happy", "") for n in "acd"])
    assert place()[1] == "scaled: 3 clips: 0 computed, 3 reused, 0 failed"
    assert sorted(p.name for p in place.out.iterdir()) == ["a.h5", "c.h5", "d.h5", "failures.csv"]


def test_a_failed_clip_is_listed_with_its_reason_and_left_out(place):
    (place.raw / "b.txt").write_text("bad")
    assert place()[1] == "scaled: 4 clips: 3 computed, 0 reused, 1 failed"
    assert (place.out / "failures.csv").read_text() == "clip_id,reason,detail\nb,unreadable,not a number\n"
    assert not (place.out / "b.h5").exists()
    assert sorted(read_noted(keys_file_of(place.out), "keys")) == ["scaled/a.h5", "scaled/c.h5", "scaled/d.h5"]


def test_an_absent_face_is_listed_but_is_no_failure_also_when_reused(place):
    (place.raw / "b.txt").write_text("none")
    for line in ("4 computed, 0 reused, 0 failed", "0 computed, 4 reused, 0 failed"):
        assert place(max_failed=0.0)[1] == f"scaled: 4 clips: {line}"
        assert read_failures(place.out)["b"].args == ("no_face", "in none of 3 frames")
    assert len(read_array(place.out / "b.h5", "value")) == 0


def test_too_many_failures_stop_the_stage_and_name_the_first(place):
    (place.raw / "b.txt").write_text("bad")
    with pytest.raises(UserError, match=r"scaled: 1 of 4 clips failed, limit 20% .*first: b, unreadable: not a number"):
        place(max_failed=0.2)
    assert place(max_failed=0.25)[0] == ["b"]  # the others had been kept


def test_a_clip_that_failed_before_is_carried_on_with_its_reason(place):
    write_failures(place.ingest, {"c": ClipError("truncated", "cut off")})
    assert place()[0] == ["a", "b", "d"]
    assert read_failures(place.out)["c"].args == ("truncated", "cut off")


def test_a_clip_whose_name_is_too_long_for_the_disk_is_carried_on(place):
    clips = [Clip(n, f"{n}.txt", "train", "happy", "") for n in "ab"]
    write_manifest(place.ingest / "clips.csv", [*clips, Clip("c", "c" * 300, "train", "happy", "")])
    write_failures(place.ingest, {"c": ClipError("unreadable", "File name too long")})
    assert place()[0] == ["a", "b"]
    assert read_failures(place.out)["c"].reason == "unreadable"


def test_a_partly_present_input_folder_is_refused(place):
    (place.raw / "d.txt").unlink()
    with pytest.raises(UserError, match=r"d\.txt: no such file, and clip d is in no list of failures.*dvc pull"):
        place()


def test_a_worker_that_dies_costs_its_clip_only(place):
    (place.raw / "b.txt").write_text("die")
    computed, line = place()
    assert line == "scaled: 4 clips: 3 computed, 0 reused, 1 failed"
    assert computed.count("b") == 2  # it was tried again
    assert read_failures(place.out)["b"].reason == "crash"


def test_a_clip_that_takes_too_long_is_ended(place):
    (place.raw / "b.txt").write_text("sleep")
    assert place(clip_seconds=3.0)[1] == "scaled: 4 clips: 3 computed, 0 reused, 1 failed"
    assert read_failures(place.out)["b"].reason == "timeout"


def test_a_clip_that_memory_does_not_suffice_for_is_listed(place):
    (place.raw / "b.txt").write_text("huge")
    assert place()[1] == "scaled: 4 clips: 3 computed, 0 reused, 1 failed"
    assert read_failures(place.out)["b"].reason == "memory"


def test_a_mistake_in_the_code_is_no_failed_clip(place):
    (place.raw / "b.txt").write_text("bug")
    with pytest.raises(KeyError, match="bug") as error:
        place()
    assert any("clip b" in note for note in error.value.__notes__)


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty"])
def test_a_damaged_entry_is_noticed_and_made_again(place, harm):
    place()
    good = bytes_of(place.out)
    kept = kept_for(place.out, "b")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 255
    kept.unlink()
    kept.write_bytes({"flip": bytes(content), "truncate": content[:100], "empty": b""}[harm])
    assert place()[0] == ["b"]
    assert bytes_of(place.out) == good


def test_an_entry_without_its_hash_is_made_again(place):
    place()
    kept = kept_for(place.out, "b")
    kept.with_suffix(".sha256").unlink()
    assert place()[0] == ["b"]


def test_the_number_of_workers_changes_no_byte(place, monkeypatch, tmp_path):
    place(workers=1)
    one = bytes_of(place.out)
    monkeypatch.setenv("EMOTION_PIPELINE_STORE", str(tmp_path / "other"))
    assert place(workers=3)[0] == NAMES
    assert bytes_of(place.out) == one


def test_writing_over_an_output_leaves_the_store_alone(place):
    """Outputs are hard links into the store: whoever replaces one must not change the other."""
    place()
    kept = kept_for(place.out, "a")
    before = kept.read_bytes()
    place(factor=5.0)
    assert kept.read_bytes() == before


KILLED = """
import sys, time
from functools import partial
from pathlib import Path
from tests.run.test_perclip import Factor, slow
from emotion_pipeline.params import load_params
from emotion_pipeline.run.keys import keys_file_of, read_noted
from emotion_pipeline.run.perclip import ClipWork, run_per_clip
root = Path(sys.argv[1])
if __name__ == "__main__":
    runtime = load_params(Path(sys.argv[2])).runtime.model_copy(update={"workers": 1})
    params = Factor(factor=2.0)
    compute = partial(slow, params=params, log=root / "log")
    inputs = lambda c: [root / "raw" / c.path]
    run_per_clip(ClipWork(compute, root / "data/ingest", inputs, Path("data/scaled"), params, runtime))
"""


def slow(files: Sequence[Path], params: Factor, log: Path) -> Artifact:
    time.sleep(0.3)
    return scaled(files, params, log)


def test_a_killed_run_repeats_at_most_the_clip_in_work_and_leaves_no_orphan(place, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(script), str(tmp_path), str(REPOSITORY / "params.yaml")]
    log = tmp_path / "log"
    run = subprocess.Popen(command, cwd=tmp_path, env=environment)
    while not (log.exists() and len(log.read_text().split()) >= 2):
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    time.sleep(0.1)
    before = log.read_text().split()
    time.sleep(0.8)
    assert log.read_text().split() == before  # nobody goes on
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    again = log.read_text().split()[len(before) :]
    assert set(before) | set(again) == set(NAMES)
    assert len(set(before) & set(again)) <= 1
