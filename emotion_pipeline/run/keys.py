"""`data/keys/<stage>.json`: the keys of a stage's results, their SHA-256, and the code and libraries that made them.

Files are named by their path in `data`, as `detect/clip_1.h5` or `models/train_temporal/vgg_lstm/seed_1.safetensors`.
No stage depends on the files of keys: they are for reuse, for noticing damage, for `prune`, `status` and `explain`.
"""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_pipeline.errors import UserError
from emotion_pipeline.run.fingerprint import code_fingerprint, file_sha256, library_versions

DATA = "data"
"""The folder of all stages' outputs."""

MODELS = "models"
"""The folder in it for trained models: `data/models/<stage>/...`, beside the small `data/<stage>/...`."""


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
    """Write the file of keys of the stage with the output `out`, whose numbers are made by the code behind `module`.

    `keys` and `sha256`: by path in `data`.
    """
    keys_file = keys_file_of(out)
    keys_file.parent.mkdir(parents=True, exist_ok=True)
    made_by = {"code": code_fingerprint(module), "versions": library_versions(module)}
    whole = {"made_by": made_by, "keys": keys, "sha256": sha256}
    keys_file.write_text(json.dumps(whole, indent=0, sort_keys=True), encoding="utf-8")


def note_outputs(outs: Sequence[Path], module: str, keys: Mapping[Path, str]) -> None:
    """As `note_keys` for a stage that is not per clip, with the hashes of all files of its outputs, `outs[0]` first."""
    note_keys(outs[0], module, {path_in_data(path): key for path, key in keys.items()}, hashes_of(*outs))


def hashes_of(*outs: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of some outputs (files or folders), by path in `data`."""
    files = [path for out in outs for path in (sorted(out.rglob("*")) if out.is_dir() else [out]) if path.is_file()]
    return {path_in_data(path): file_sha256(path) for path in files}


def keys_in(noted: Any) -> dict[str, str]:
    """Return the keys in what `note_keys` wrote; none where it is not that."""
    return dict(noted["keys"]) if isinstance(noted, dict) and "keys" in noted else {}


def read_keys(keys_file: Path) -> dict[str, str]:
    """Return the keys in a file; none where there is no such file. Raises UserError where it is damaged."""
    return keys_in(_read(keys_file))


def read_hashes(keys_file: Path) -> dict[str, str]:
    """Return the SHA-256 of files by path in `data`; none, or UserError, as `read_keys`."""
    noted = _read(keys_file)
    return dict(noted.get("sha256", {})) if isinstance(noted, dict) else {}


def read_made_by(keys_file: Path) -> dict[str, Any]:
    """Return the code and the versions of libraries in a file; nothing, or UserError, as `read_keys`."""
    noted = _read(keys_file)
    return dict(noted.get("made_by", {})) if isinstance(noted, dict) else {}


def _read(keys_file: Path) -> Any:
    if not keys_file.exists():
        return {}
    try:
        return json.loads(keys_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
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


def input_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """Return `input_sha256` by name of file."""
    return {path.name: input_sha256(path) for path in paths}


def _keys_files(path: Path) -> Iterator[Path]:
    """Yield the files of keys that may name a file: those of its folders."""
    folder = data_folder(path)
    if folder is None:
        return
    place = Path(path_in_data(path).removeprefix(f"{MODELS}/"))
    for part in (place.with_suffix(""), *place.parents[:-1]):
        keys_file = Path(f"{folder / 'keys' / part}.json")
        if keys_file.is_file():
            yield keys_file


@functools.lru_cache(maxsize=8)
def _hashes(keys_file: Path, _changed: int) -> dict[str, str]:
    return read_hashes(keys_file)
