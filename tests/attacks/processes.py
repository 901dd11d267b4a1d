"""A command in a session of its own, and every process of that session as /proc shows it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.clone import Clone

STEP = 0.02
"""Seconds between two looks."""


@dataclass(frozen=True)
class Process:
    """A living process, no zombie."""

    pid: int
    parent: int
    command: str
    seconds: float
    """For how long it has lived."""


class Run:
    """A command in a clone, its output in a file. Only processes of its own session are ever looked at or killed."""

    def __init__(self, clone: Clone, *command: str):
        self.log = clone.folder.parent / "log"
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(
                command, cwd=clone.folder, env=clone.environment, stdout=file, stderr=file, start_new_session=True
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def ended(self) -> bool:
        return self.process.poll() is not None

    def all(self) -> list[Process]:
        """Every process of the session, also those whose parent is dead."""
        found = []
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue  # it has just ended
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    lived = uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK")
                    found.append(Process(int(folder.name), int(fields[1]), command, lived))
        return found

    def stage(self) -> list[Process]:
        """The stage that runs, as a list of one or none."""
        return [p for p in self.all() if p.parent == self.process.pid and " stages." in p.command]

    def workers(self) -> list[Process]:
        """The worker processes of the stage that runs."""
        everyone = self.all()
        stages = {p.pid for p in everyone if p.parent == self.process.pid and " stages." in p.command}
        return [p for p in everyone if p.parent in stages and "spawn_main" in p.command]

    def end(self) -> None:
        """End every process of this session, whatever it does."""
        while everyone := self.all():
            for process in everyone:
                try:
                    os.kill(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(STEP)
        self.process.wait()


def wait_for(what: Callable[[], object], seconds: float) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(STEP)
    return True
