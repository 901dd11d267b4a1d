"""Full disks, folders that may not be written to, and others at the same work: a message or right work, nothing lost.

Disks are small tmpfs, so this needs the right to mount; without it the rows say that they were not tried.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.attacks.audit import damaged
from tests.attacks.chain import short_chain
from tests.attacks.processes import Run, wait_for
from tests.attacks.stub import CLIPS, MEBIBYTES, SPARE_MEBIBYTES, STAGES, new_project, stage_command
from tests.attacks.tally import Tally
from tests.clone import Clone

Outputs = dict[str, str]

SIZES = {
    "store": (".cache", SPARE_MEBIBYTES + 12),
    "data": ("data", SPARE_MEBIBYTES + 12),
    "dvc's cache": (".dvc/cache", SPARE_MEBIBYTES + 12),
    "dvc's cache, after all but the network": (".dvc/cache", SPARE_MEBIBYTES + CLIPS * MEBIBYTES + 4),
}
"""What is on the small disk: its folder, and the MiB of the disk: less than what is written to it."""

PLACES = {"store": ".cache", "data": "data", "dvc's cache": ".dvc/cache"}

QUICK = {
    *("disk full: store", "disk full: dvc's cache, after all but the network", "read-only: data"),
    *("no right to write: store", "two stages at once: network", "prune while a stage runs"),
    "two clones, one cache and store",
}

LONGEST = 300.0


def attack(folder: Path, quick: bool) -> Iterator[Tally]:
    """A tally per resource and place."""
    pristine = new_project(folder / "pristine")
    reference = _copy(pristine, folder / "reference")
    reference.run("dvc", "repro")
    for k, (name, problem_in) in enumerate(_tests(reference.outputs()).items()):
        if not quick or name in QUICK:
            yield _tried(name, partial(problem_in, _copy(pristine, folder / str(k))))
    if not quick:
        chain = short_chain(folder / "made")
        yield _tried("two clones of all stages, one cache and store", partial(_two_clones, None, chain))


def _tests(outputs: Outputs) -> dict[str, Callable[[Clone], str]]:
    """By name: what says what is wrong in a clone in which nothing has run, where `outputs` must come out."""
    tests: dict[str, Callable[[Clone], str]] = {}
    for name, (place, mebibytes) in SIZES.items():
        tests[f"disk full: {name}"] = partial(_full, outputs, place, mebibytes)
    for name, place in PLACES.items():
        tests[f"read-only: {name}"] = partial(_read_only, outputs, place)
        tests[f"no right to write: {name}"] = partial(_no_right, outputs, place)
    tests["two `dvc repro` in one clone"] = partial(_two_runs, outputs)
    for stage in STAGES:
        tests[f"two stages at once: {stage}"] = partial(_two_stages, outputs, stage)
    tests["prune while a stage runs"] = partial(_prune, outputs)
    tests["two clones, one cache and store"] = partial(_two_clones, outputs)
    return tests


def _tried(name: str, problem: Callable[[], str]) -> Tally:
    tally = Tally(name)
    try:
        tally.count(problem())
    except PermissionError as error:
        tally.count(f"not tried: {error}")
    return tally


def _copy(clone: Clone, folder: Path) -> Clone:
    shutil.copytree(clone.folder, folder / "project", symlinks=True)
    copy = Clone(folder / "project")
    copy.environment |= {k: v for k, v in clone.environment.items() if k == "PYTHONPATH"}
    return copy


def _mount(*arguments: str) -> None:
    run = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        raise PermissionError(f"mounting is not permitted here ({run.stderr.strip()})")


@contextmanager
def _mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """Something else at the place of a folder, with the same content at first."""
    content = folder.with_name(f"{folder.name}_before")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, content)
    _mount(*arguments, str(folder))
    try:
        shutil.copytree(content, folder, dirs_exist_ok=True)
        yield
    finally:
        shutil.rmtree(content)
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _run(clone: Clone, *command: str, log: str = "log") -> tuple[bool, str]:
    """Whether a command ended with 0, and its output."""
    run = Run(clone, *command, log=log)
    if not wait_for(run.ended, LONGEST):
        run.end()
    return run.process.returncode == 0, run.output()


@contextmanager
def _halted(run: Run) -> Iterator[None]:
    """A run that stands still meanwhile, with all its locks: however slow the machine, it does not end before."""
    os.killpg(run.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(run.process.pid, signal.SIGCONT)


def _refused(clone: Clone, *command: str, said: str, log: str = "log") -> str:
    """What is wrong, unless a run ends with a message that says what to do, and leaves nothing half."""
    good, output = _run(clone, *command, log=log)
    if good:
        return f"ended with 0: {output[-500:]}"
    if "Traceback" in output or said not in output:
        return f"no clear message: {output[-900:]}"
    return "; ".join(damaged(clone.folder))


def _goes_on(clone: Clone, outputs: Outputs) -> str:
    """What is wrong, unless a run now ends with the bytes of an undisturbed one."""
    good, output = _run(clone, "dvc", "repro")
    if not good or clone.outputs() != outputs:
        return f"does not go on: {output[-900:]}"
    _, status = _run(clone, "dvc", "status")
    return "; ".join(damaged(clone.folder)) if "up to date" in status else status


def _full(outputs: Outputs, place: str, mebibytes: int, clone: Clone) -> str:
    folder = clone.folder / place
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs"):
        problem = _refused(clone, "dvc", "repro", said="make room")
        _mount("-o", "remount,size=4g", str(folder))
        return problem or _goes_on(clone, outputs)


def _read_only(outputs: Outputs, place: str, clone: Clone) -> str:
    folder = clone.folder / place
    with _mounted(folder, "-t", "tmpfs", "-o", "size=4g", "tmpfs"):
        _mount("-o", "remount,ro", str(folder))
        problem = _refused(clone, "dvc", "repro", said=str(place))
        _mount("-o", "remount,rw", str(folder))
        return problem or _goes_on(clone, outputs)


def _no_right(outputs: Outputs, place: str, clone: Clone) -> str:
    """As a user who may not: root without the capability to ignore rights."""
    folder = clone.folder / place
    folder.mkdir(parents=True, exist_ok=True)
    if not shutil.which("setpriv"):
        raise PermissionError("there is no `setpriv` here")
    everything = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in everything:
        path.chmod(0o555)
    problem = _refused(clone, "setpriv", "--bounding-set=-dac_override", "dvc", "repro", said=str(place))
    for path in everything:
        path.chmod(0o755)
    return problem or _goes_on(clone, outputs)


def _two_runs(outputs: Outputs, clone: Clone) -> str:
    first = Run(clone, "dvc", "repro")
    wait_for(lambda: "> exec" in first.output(), LONGEST)
    with _halted(first):
        second = Run(clone, "dvc", "repro", log="second")
        second.process.wait()
    first.process.wait()
    if second.process.returncode == 0 or "busy" not in second.output():
        return f"the second: {second.output()[-500:]}"
    return _goes_on(clone, outputs) if first.process.returncode == 0 else f"the first: {first.output()[-500:]}"


def _two_stages(outputs: Outputs, stage: str, clone: Clone) -> str:
    """Without DVC, which would keep the second from starting."""
    if stage == "network":
        clone.run("dvc", "repro", "clips")
    first = Run(clone, *stage_command(stage))
    sign = {"clips": "results/*/*.sha256", "network": "checkpoints/*"}[stage]
    wait_for(lambda: first.ended() or list((clone.folder / ".cache").glob(sign)), LONGEST)
    with _halted(first):
        problem = _refused(clone, *stage_command(stage), said="another run of this stage is at work here", log="second")
    first.process.wait()
    return problem or (_goes_on(clone, outputs) if first.process.returncode == 0 else f"first: {first.output()[-500:]}")


def _prune(outputs: Outputs, clone: Clone) -> str:
    first = Run(clone, "dvc", "repro")
    wait_for(lambda: list((clone.folder / ".cache/results").rglob("*.sha256")), LONGEST)
    prune = ("python", "-m", "emotion_pipeline", "prune")
    with _halted(first):
        good, output = _run(clone, *prune, log="prune")
    first.process.wait()
    if good or "at work" not in output or "Traceback" in output:
        return f"prune: {output[-500:]}"
    return _goes_on(clone, outputs) if first.process.returncode == 0 else f"the run: {first.output()[-500:]}"


def _two_clones(outputs: Outputs | None, pristine: Clone) -> str:
    """Both at once, then each again; they end alike."""
    folder = pristine.folder.parent / "shared"
    clones = [_copy(pristine, folder / name) for name in ("one", "other")]
    for clone in clones:
        clone.run("dvc", "cache", "dir", "--local", str(folder / "cache"))
        clone.environment["EMOTION_PIPELINE_STORE"] = str(folder / "store")
    runs = [Run(clone, "dvc", "repro") for clone in clones]
    for run in runs:
        wait_for(run.ended, 5 * LONGEST)
    failed = [run.output()[-700:] for run in runs if run.process.returncode]
    if failed:
        return f"failed: {failed}"
    if clones[0].outputs() != (outputs or clones[1].outputs()) or clones[1].outputs() != clones[0].outputs():
        return "other bytes"
    status = [_run(clone, "dvc", "status")[1] for clone in clones]
    changed = [text for text in status if "up to date" not in text]
    return "; ".join([*changed, *(p for clone in clones for p in damaged(clone.folder, str(folder / "store")))])
