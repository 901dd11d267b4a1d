"""Ctrl-C has an answer from the first moment on, and nothing outlives its parent."""

import signal
import subprocess
import sys
import time

from emotion_pipeline.run.process import INTERRUPTED, MESSAGE
from tests.conftest import REPOSITORY


def test_ctrl_c_during_the_imports_gives_the_message_and_no_traceback():
    command = [sys.executable, "-X", "importtime", "-m", "stages.finetune_vgg"]  # imports torch, which takes seconds
    run = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "torch" not in run.stderr.readline():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    said, imports = run.communicate(timeout=5)
    assert (run.returncode, said) == (INTERRUPTED, MESSAGE)
    assert all(line.startswith("import time:") for line in imports.splitlines())


def test_ctrl_c_ends_the_workers_too_and_waits_for_none(tmp_path):
    (tmp_path / "stage.py").write_text(STAGE)
    command = [sys.executable, str(tmp_path / "stage.py")]
    run = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "working\n"
    run.send_signal(signal.SIGINT)
    assert run.communicate(timeout=5) == (MESSAGE, "")  # pipes close with the last worker


STAGE = """
import time
from emotion_pipeline.run.process import begin
from emotion_pipeline.params import load_params
from emotion_pipeline.run.workers import run_each
def work(seconds):
    print("working", flush=True)
    time.sleep(seconds)
if __name__ == "__main__":
    begin()
    runtime = load_params().runtime.model_copy(update={"workers": 1})
    run_each("detect", work, {"a": (30,), "b": (30,)}, runtime)
"""


def test_a_stage_that_is_done_ends_at_once_and_nothing_that_it_said_is_lost():
    script = "import atexit, time; atexit.register(time.sleep, 30); print('the last line'); process.done()"
    command = [sys.executable, "-c", f"from emotion_pipeline.run import process; {script}"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=10, check=False)
    assert (run.returncode, run.stdout) == (0, "the last line\n")


def test_a_process_whose_parent_died_before_it_could_ask_for_the_signal_ends(tmp_path):
    late = "import time; time.sleep(0.5); from emotion_pipeline.run.process import ends_with_parent; ends_with_parent()"
    late += f"; open({str(tmp_path / 'lived')!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {late!r}])"
    subprocess.run([sys.executable, "-c", parent], cwd=REPOSITORY, start_new_session=True, check=True)
    time.sleep(2)
    assert not (tmp_path / "lived").exists()
