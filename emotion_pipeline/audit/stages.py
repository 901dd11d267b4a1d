"""The stages of dvc.yaml, and their records in dvc.lock."""

import importlib
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import Params
from emotion_pipeline.run.dvclock import mend_lock
from emotion_pipeline.run.perclip import ClipWork


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml."""

    name: str
    words: tuple[str, ...]  # its module and arguments
    outs: tuple[Path, ...]
    before: tuple[str, ...]  # the stages that it reads from
    changed: tuple[str, ...]  # why DVC would run it; none where it would not

    def work(self, params: Params) -> ClipWork | None:
        """Return the work for every clip; None where it does not work clip by clip, or the manifest is missing."""
        script, paths = importlib.import_module(self.words[0]), [Path(word) for word in self.words[1:]]
        no_manifest = any(path.name == "ingest" and not (path / "clips.csv").is_file() for path in paths)
        return script.work(*paths, params) if hasattr(script, "work") and not no_manifest else None


def read_stages() -> list[Stage]:
    """Return all stages, each after those that it reads from. Raises UserError where DVC cannot read the pipeline."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    mend_lock()
    try:
        with Repo() as repository:
            changed, graph = repository.status(), repository.index.graph
            order = TopologicalSorter(graph.adj).static_order()
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


def _reasons(entries: list[Any]) -> Iterator[str]:
    """Yield a line for each change, as `params.yaml fusion.submission_3: modified`."""
    for entry in entries:
        if not isinstance(entry, Mapping):
            yield str(entry)
            continue
        for path, state in chain.from_iterable(paths.items() for paths in entry.values()):
            inner = state if isinstance(state, Mapping) else {"": state}
            yield from (f"{path} {key}: {what}".replace(" :", ":") for key, what in inner.items())


def read_lock() -> dict[str, dict[str, Any]]:
    """Return the record of every stage in dvc.lock. Raises UserError where there is none."""
    mend_lock()
    try:
        return yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError:
        raise UserError("dvc.lock: no such file; nothing has run here yet: `dvc repro`") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"dvc.lock: cannot be read ({error}); `git checkout dvc.lock`") from error
