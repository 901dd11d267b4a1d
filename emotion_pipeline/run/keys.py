"""`data/keys/<stage>.json`: the keys of a stage's results, their SHA-256, and the code and libraries that made them.

Files are named by their path in `data`, as `detect/clip_1.h5` or `models/train_temporal/vgg_lstm/seed_1.safetensors`.
No stage depends on the files of keys: they are for reuse, for noticing damage, for `prune`, `status` and `explain`.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from emotion_pipeline.errors import UserError
from emotion_pipeline.run.fingerprint import code_fingerprint, file_sha256, library_versions

DATA = "data"  # the folder of all stages' outputs
MODELS = "models"  # in it, for trained models: `data/models/<stage>/...`, beside the small `data/<stage>/...`


def data_folder(path: Path) -> Path | None:
    """Return the folder `data` that a path lies in, None where it lies in none."""
    return next((place for place in path.absolute().parents if place.name == DATA), None)


def path_in_data(path: Path) -> str:
    """Return a file's path below the folder `data`; UserError where it lies in none."""
    folder = data_folder(path)
    if folder is None:
        raise UserError(f"{path}: outputs of stages lie in a folder called {DATA}")
    return path.absolute().relative_to(folder).as_posix()


def keys_file_of(out: Path) -> Path:
    """Return the file of keys of the stage that writes the folder `out`."""
    name = path_in_data(out)
    return Path(f"{data_folder(out)}/keys/{name}.json")


def note_keys(out: Path, module: str, keys: Mapping[str, str], sha256: Mapping[str, str]) -> None:
    """Write the file of keys of the stage that writes `out` by the code behind `module`; both by path in `data`."""
    keys_file = keys_file_of(out)
    keys_file.parent.mkdir(parents=True, exist_ok=True)
    made_by = {"code": code_fingerprint(module), "versions": library_versions(module)}
    noted = {"made_by": made_by, "keys": keys, "sha256": sha256}
    keys_file.write_text(json.dumps(noted, indent=0, sort_keys=True), encoding="utf-8")


def note_outputs(outs: Sequence[Path], module: str, keys: Mapping[Path, str]) -> None:
    """As `note_keys` for a stage that is not per clip, with the hashes of all files of its outputs, `outs[0]` first."""
    files = [file for out in outs for file in (out, *sorted(out.rglob("*"))) if file.is_file()]
    sha256 = {path_in_data(file): file_sha256(file) for file in files}
    note_keys(outs[0], module, {path_in_data(path): key for path, key in keys.items()}, sha256)


def read_noted(keys_file: Path, part: Literal["keys", "sha256", "made_by"]) -> dict[str, Any]:
    """Return a part of what `note_keys` wrote; empty where there is no file. Raises UserError for a damaged one."""
    if not keys_file.exists():
        return {}
    try:
        return dict(json.loads(keys_file.read_text(encoding="utf-8")).get(part, {}))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{keys_file}: damaged ({error}); `dvc checkout --force {keys_file}`") from error


def input_sha256(path: Path) -> str:
    """Return the SHA-256 of a file that a stage reads.

    Raises UserError where an earlier stage wrote it with other bytes: so no damaged file is ever taken for data.
    """
    found = file_sha256(path)
    for keys_file in _keys_files(path):
        if _hashes(keys_file, keys_file.stat().st_mtime_ns).get(path_in_data(path), found) != found:
            raise UserError(
                f"{path}: damaged, or changed by hand (its bytes are not those that {keys_file} names);"
                " `python -m emotion_pipeline verify --remove`, then `dvc repro`"
            )
    return found


def _keys_files(path: Path) -> list[Path]:
    """Return the files of keys that may name a file: those of its folders."""
    folder = data_folder(path)
    if folder is None:
        return []
    place = Path(path_in_data(path).removeprefix(f"{MODELS}/"))
    keys_files = (Path(f"{folder / 'keys' / part}.json") for part in (place.with_suffix(""), *place.parents[:-1]))
    return [file for file in keys_files if file.is_file()]


@functools.lru_cache(maxsize=8)
def _hashes(keys_file: Path, _changed: int) -> dict[str, str]:
    return read_noted(keys_file, "sha256")
