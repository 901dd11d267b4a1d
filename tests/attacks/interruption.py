"""`dvc repro` ended at random moments, in every per-clip and training stage and by every signal that ends a run.

A kill's moment is random within the time that its stage takes undisturbed. What a problem names (pass, kill, stage,
seconds after the stage's first line) is drawn from $ATTACK_SEED (default 1): the same seed kills at the same moments,
as far as the machine is equally fast.

DVC 3.67 writes its own `.dvc/tmp/rwlock` in place: a kill in that moment leaves it empty, and no command of DVC starts
any more. `make repro` removes it then, and so does this. It also mends a dvc.lock that was cut off in the same way, as
`make repro` does. The last row says how often.
"""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from tests.attacks.audit import States, damaged, files_of, finished, started_epochs, trained_again
from tests.attacks.chain import STAGES, short_chain
from tests.attacks.processes import Process, Run, wait_for
from tests.attacks.tally import Tally
from tests.clone import Clone

SEED = int(os.environ.get("ATTACK_SEED", "1"))

INTERRUPTED_SECONDS = 5.0
"""In which a run must have ended after SIGINT."""

GONE_SECONDS = 2.0
"""In which no process of a killed run may be left."""

STARTED_SECONDS = 0.5
"""So old a stage is when SIGINT reaches it: before, Python itself is still starting, and cannot answer."""

LONGEST_SECONDS = 600.0

PASSES, AT_ONCE = 2, 2
"""Of the full attack: a pass starts from nothing and ends with everything done."""

QUICK_PASSES = 4
"""At most: a kill that came after its stage's end is tried again in the next."""

KINDS = {
    "SIGINT to the stage": (signal.SIGINT, "stage"),
    "SIGINT to the process group (Ctrl-C)": (signal.SIGINT, "group"),
    "SIGTERM to the stage": (signal.SIGTERM, "stage"),
    "SIGTERM to dvc": (signal.SIGTERM, "dvc"),
    "SIGKILL of the stage": (signal.SIGKILL, "stage"),
    "SIGKILL of dvc": (signal.SIGKILL, "dvc"),
    "SIGKILL of one worker": (signal.SIGKILL, "worker"),
}
END = "after all kills: equal bytes, clean `dvc status`"
WITHOUT_WORKERS = ("finetune_c3d", "train_")

QUICK_KILLS = {
    "detect": ("SIGKILL of one worker", "SIGTERM to the stage"),
    "align": ("SIGKILL of the stage", "SIGINT to the stage"),
    "extract_audio": ("SIGINT to the process group (Ctrl-C)", "SIGKILL of dvc"),
    "train_temporal@audio_mlp": ("SIGTERM to dvc",),
}
"""Of the quick attack, which runs these stages alone."""


def attack(folder: Path, quick: bool) -> Iterator[Tally]:
    """One tally per kind of kill, and one for what is there in the end."""
    pristine = short_chain(folder / "made")
    targets = sorted(QUICK_KILLS) if quick else []
    reference, seconds = _undisturbed(_copy(pristine, folder / "reference"), targets)
    tallies = {name: Tally(name) for name in (*KINDS, END)}
    emptied: list[int] = []
    cut: list[int] = []

    def one(number: int, kills: dict[str, list[str]]) -> None:
        disturbed = Disturbed(_copy(pristine, folder / f"pass_{number}"), targets, f"seed {SEED}, pass {number}")
        last = disturbed.kill_all(kills, seconds, tallies)
        tallies[END].count(disturbed.finish(last, reference))
        emptied.append(disturbed.emptied)
        cut.append(disturbed.cut)

    if quick:
        kills = {stage: list(kinds) for stage, kinds in QUICK_KILLS.items()}
        for number in range(QUICK_PASSES):
            if any(kills.values()):
                one(number, kills)
    else:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, range(PASSES), map(_kills, range(PASSES))))
    tallies[END].test += f" ({sum(emptied)} times DVC's rwlock was empty, {sum(cut)} times dvc.lock cut off)"
    yield from tallies.values()


def _kills(number: int) -> dict[str, list[str]]:
    """By stage: the kinds that it can be hit by, in random order: it will be done before it has been hit by all."""
    kills = {}
    for stage in STAGES:
        kills[stage] = [kind for kind in KINDS if "worker" not in kind or not stage.startswith(WITHOUT_WORKERS)]
        random.Random(f"{SEED} {number} {stage}").shuffle(kills[stage])
    return kills


def _copy(clone: Clone, folder: Path) -> Clone:
    shutil.copytree(clone.folder, folder / "chain", symlinks=True)
    return Clone(folder / "chain")


def _undisturbed(clone: Clone, targets: Sequence[str]) -> tuple[dict[str, str], dict[str, float]]:
    """What comes out, and how many seconds each stage takes."""
    run, begun = Run(clone, "dvc", "repro", *targets), {}
    while not run.ended():
        for stage in STAGES:
            if stage not in begun and f"'{stage}'" in run.output():
                begun[stage] = time.monotonic()
        time.sleep(0.1)
    assert run.process.returncode == 0, run.output()[-2000:]
    order = sorted(begun, key=lambda stage: begun[stage])
    ends = [*(begun[stage] for stage in order[1:]), time.monotonic()]
    return clone.outputs(), {stage: end - begun[stage] for stage, end in zip(order, ends, strict=True)}


class Disturbed:
    """A clone in which `dvc repro` is killed again and again."""

    def __init__(self, clone: Clone, targets: Sequence[str], name: str):
        self.clone, self.targets, self.name = clone, targets, name
        self.finished: States = {}
        self.epochs: dict[str, int] = {}
        self.emptied, self.cut = 0, 0

    def kill_all(self, kills: dict[str, list[str]], seconds: dict[str, float], tallies: dict[str, Tally]) -> Run:
        """Kill each stage by each of its kinds, until they are used up or the stage is done: then some are left.

        Returns the run that ended by itself.
        """
        for k in count():
            run = self.start()
            try:
                stage = _first_running(run, {stage for stage, kinds in kills.items() if kinds})
                if not stage:
                    return run
                kind = kills[stage].pop(0)
                delay = random.Random(f"{self.name} {k}").uniform(0, 0.9 * seconds[stage])
                wait_for(run.ended, delay)
                hit = _hit(run, *KINDS[kind])
                problems = _answer(run, kind, hit) + _left(run, self.clone)
            finally:
                run.end()
            problems += self.look(run)
            where = f"{self.name}, kill {k}: {stage} after {delay:.1f} s: "
            if hit or problems:
                tallies[kind].count(where + "; ".join(problems) + _tail(run) if problems else "")
            else:
                kills[stage].append(kind)

    def start(self) -> Run:
        """`make repro`, with DVC as the process that is started."""
        lock = self.clone.folder / ".dvc/tmp/rwlock"
        if lock.exists() and not lock.stat().st_size:
            lock.unlink()
            self.emptied += 1
        self.cut += "was cut off" in self.clone.run("python", "-m", "emotion_pipeline.run.dvclock")
        return Run(self.clone, "dvc", "repro", *self.targets)

    def look(self, run: Run) -> list[str]:
        """What the run that has just ended has damaged or done a second time."""
        before, self.finished = self.finished, finished(self.clone.folder)
        problems = [f"{name}: made twice" for name, state in before.items() if self.finished.get(name) != state]
        problems += trained_again(self.clone.folder, self.epochs, run.output()) + damaged(self.clone.folder)
        self.epochs = started_epochs(self.clone.folder)
        return problems

    def finish(self, run: Run, reference: dict[str, str]) -> str:
        """What is wrong with the result of the run that nobody killed."""
        problems = self.look(run)
        if run.process.returncode:
            problems.append("the last run failed" + _tail(run))
        elif self.clone.outputs() != reference:
            problems.append("other bytes than undisturbed")
        elif "up to date" not in (status := self.clone.run("dvc", "status", *self.targets)):
            problems.append(status)
        return f"{self.name}: " + "; ".join(problems) if problems else ""


def _tail(run: Run) -> str:
    return f" | log: {run.output()[-600:]}"


def _first_running(run: Run, stages: Collection[str]) -> str:
    """Wait until one of the stages runs; empty where the run ended without."""
    running: list[str] = []

    def begun() -> bool:
        running[:] = [s for s in re.findall(r"Running stage '(\S+)'", run.output()) if s in stages]
        return bool(running) or run.ended()

    wait_for(begun, LONGEST_SECONDS)
    return running[0] if running else ""


def _hit(run: Run, sign: signal.Signals, whom: str) -> list[Process]:
    """Kill; what was alive of those meant (none: the run had ended before)."""
    hit: list[Process] = []

    def found() -> bool:
        hit[:] = {"stage": run.stage, "worker": run.workers}.get(whom, run.all)()
        young = sign == signal.SIGINT and any(p.seconds < STARTED_SECONDS for p in hit if " stages." in p.command)
        return (bool(hit) and not young) or run.ended()

    wait_for(found, LONGEST_SECONDS)
    if hit and whom == "group":
        os.killpg(run.process.pid, sign)
    elif hit:
        os.kill(run.process.pid if whom == "dvc" else hit[0].pid, sign)
    return hit


def _answer(run: Run, kind: str, hit: Sequence[Process]) -> list[str]:
    """Whether the run ends as it must; one whose worker was killed must go on."""
    sign, whom = KINDS[kind]
    if not hit:
        return []
    if whom == "worker":
        wait_for(lambda: hit[0].parent not in {p.pid for p in run.stage()}, LONGEST_SECONDS)
        failed = wait_for(run.ended, 1.0) and run.process.returncode != 0
        return ["the stage failed"] if failed else []
    within = INTERRUPTED_SECONDS if sign == signal.SIGINT else LONGEST_SECONDS
    if not wait_for(run.ended, within):
        return [f"not ended after {within:g} s"]
    if sign == signal.SIGINT and any(" stages." in p.command for p in hit) and "interrupted" not in run.output():
        return ["no message"]
    return ["a traceback"] if sign == signal.SIGINT and "Traceback" in run.output() else []


def _left(run: Run, clone: Clone) -> list[str]:
    """Whether anybody is left or anything still written; ends a run that goes on after a killed worker."""
    if not run.ended():
        run.process.kill()
    run.process.wait()
    wait_for(lambda: not run.all(), GONE_SECONDS)
    left = [f"left running: {process.command}" for process in run.all()]
    before = files_of(clone.folder)
    time.sleep(0.5)
    return left + [f"{path[0]}: still written" for path in files_of(clone.folder) ^ before]
