"""The stages as dvc.yaml has them and as dvc.lock recorded them, by way of DVC."""

import importlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import Params
from emotion_pipeline.run.clipwork import ClipWork
from emotion_pipeline.run.dvclock import mend_lock


@dataclass(frozen=True)
class Stage:
    """One stage: its command's words, the paths that it writes, and why DVC would run it (nothing: it would not).

    `before` are the stages whose outputs it reads.
    """

    name: str
    words: tuple[str, ...]
    outs: tuple[Path, ...]
    before: tuple[str, ...]
    changed: tuple[str, ...]

    def work(self, params: Params) -> ClipWork | None:
        """What it is to do for every clip; None where it is no per-clip stage, or the manifest is not there."""
        module, *arguments = self.words
        script = importlib.import_module(module)
        if not hasattr(script, "work"):
            return None
        paths = [Path(argument) for argument in arguments]
        if any(path.name == "ingest" and not (path / "clips.csv").is_file() for path in paths):
            return None
        return script.work(*paths, params, params.runtime)


def read_stages() -> list[Stage]:
    """All stages, each after those that it reads from. Raises UserError where DVC cannot read the pipeline."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    mend_lock()
    try:
        with Repo() as repository:
            changed, graph = repository.status(), repository.index.graph
            order = TopologicalSorter({stage: list(graph.successors(stage)) for stage in graph}).static_order()
            return [
                Stage(
                    name=stage.addressing,
                    words=tuple(shlex.split(stage.cmd)[3:]),
                    outs=tuple(Path(os.path.relpath(out.fs_path)) for out in stage.outs),
                    before=tuple(sorted(other.addressing for other in graph.successors(stage) if other.cmd)),
                    changed=tuple(_reasons(changed.get(stage.addressing, []))),
                )
                for stage in order
                if stage.cmd
            ]
    except DvcException as error:
        raise UserError(f"dvc.yaml: DVC cannot read the pipeline ({error}); `dvc status` says more") from error


def _reasons(entries: list[Any]) -> list[str]:
    """One line per change, as `params.yaml train_fusion.moddrop: modified`."""
    lines = []
    for entry in entries:
        if not isinstance(entry, Mapping):
            lines.append(str(entry))
            continue
        for paths in entry.values():
            for path, state in paths.items():
                inner = state if isinstance(state, Mapping) else {"": state}
                lines += [f"{path} {key}: {what}".replace(" :", ":") for key, what in inner.items()]
    return lines


def read_lock() -> dict[str, dict[str, Any]]:
    """The record of every stage in dvc.lock. Raises UserError where there is none."""
    mend_lock()
    try:
        return yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError:
        raise UserError("dvc.lock: no such file; nothing has run here yet: `dvc repro`") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"dvc.lock: cannot be read ({error}); `git checkout dvc.lock`") from error
