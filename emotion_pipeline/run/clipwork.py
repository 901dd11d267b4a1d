"""The work of a per-clip stage: its function, inputs and parameters, and from them the key of every clip."""

import os
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from emotion_pipeline.data.artifact import Artifact, Value
from emotion_pipeline.data.manifest import Clip, Failures, read_failures, read_manifest
from emotion_pipeline.params import RuntimeParams, Section
from emotion_pipeline.run.fingerprint import code_fingerprint, digest
from emotion_pipeline.run.keys import input_sha256, path_in_data


@dataclass(frozen=True)
class ClipWork:
    """`compute` for every clip of the manifest in `ingest`, from `inputs` of the clip, into `out`/<clip_id>.h5.

    `compute` is a partial of a module-level function; it gets the clip's input files and is run in worker
    processes. `overrides` are further arguments of it for single clips.
    """

    compute: partial[Artifact]
    ingest: Path
    inputs: Callable[[Clip], Sequence[Path]]
    out: Path
    params: Section
    runtime: RuntimeParams
    overrides: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """Return the stage's name: that of its folder in `data`."""
        return path_in_data(self.out)

    @property
    def module(self) -> str:
        """Return the module in which the numbers are made."""
        return self.compute.func.__module__

    def noted(self, clip_id: str) -> str:
        """Return the name of a clip's result in the file of keys."""
        return f"{self.stage}/{clip_id}.h5"

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """Return the input files by clip id."""
        return {clip.clip_id: list(self.inputs(clip)) for clip in read_manifest(self.ingest / "clips.csv")}

    @cached_property
    def _base(self) -> dict[str, Any]:
        params = self.params.model_dump(mode="json")
        return {"stage": self.stage, "code": code_fingerprint(self.module), "params": params}

    @cached_property
    def _sha256(self) -> Callable[[Path], str]:
        return cache(input_sha256)  # a network file is an input of every clip: hashed once

    def keys(self, clip_ids: Sequence[str]) -> dict[str, str]:
        """Return the `key` of clips; their input files are read on all cores."""
        with ThreadPoolExecutor(self.runtime.processes) as threads:
            list(threads.map(self._sha256, {file for clip_id in clip_ids for file in self.files[clip_id]}))
        return {clip_id: self.key(clip_id, self.files[clip_id]) for clip_id in clip_ids}

    def key(self, clip_id: str, files: Sequence[Path]) -> str:
        """Return a clip's key: a hash over stage, code, parameters and input bytes. UserError for a damaged input."""
        own = {"override": self.overrides[clip_id]} if clip_id in self.overrides else {}
        return digest(self._base | own | {"inputs": [self._sha256(file) for file in files]})

    def without_input(self) -> tuple[Failures, dict[str, Path]]:
        """Return the clips that failed at ingest or in a stage before; and the first missing file of the others."""
        folders = sorted({path.parent for paths in self.files.values() for path in paths})
        at_ingest = read_failures(self.ingest)
        listed = ChainMap(at_ingest, *map(read_failures, folders))
        failures: Failures = {}
        lost: dict[str, Path] = {}
        for clip_id, paths in self.files.items():
            gone = [path for path in paths if not os.path.isfile(path)]  # no error for a name that is too long
            if clip_id in at_ingest or (gone and clip_id in listed):
                failures[clip_id] = listed[clip_id]
            elif gone:
                lost[clip_id] = gone[0]
        return failures, lost
