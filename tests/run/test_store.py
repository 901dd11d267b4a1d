"""Results are kept by key, made once, and taken from what `dvc.lock` records; pruning leaves what is in use."""

import fcntl
import hashlib
import json
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import yaml

from emotion_pipeline.errors import UserError
from emotion_pipeline.run import store
from emotion_pipeline.run.disk import STORE_LOCK, locked, store_folder
from emotion_pipeline.run.store import fill_from_previous_outputs, made_once, prune, result_path, seal

MODEL = Path("data/models/net.safetensors")
OUT = Path("data/net")


def kept(key: str) -> Path:
    return result_path(key, MODEL.suffix)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def train():
    """`train(key)` gives the model its file and returns how often one has been made so far."""
    made = []

    def make(file: Path, checkpoint: Path) -> None:
        made.append(file)
        file.write_bytes(b"weights %d" % len(made))

    def run(key: str, out: Path | None = None) -> int:
        before = len(made)
        assert made_once(key, MODEL, make, out) == (len(made) > before)
        return len(made)

    return run


def test_the_same_key_is_made_once_and_another_again(train):
    assert [train("k1"), train("k1"), train("k2"), train("k1")] == [1, 1, 2, 2]
    assert MODEL.read_bytes() == b"weights 1"
    assert [path.name for path in MODEL.parent.iterdir()] == [MODEL.name]


@pytest.mark.parametrize("harm", [b"weights X", b"weight", b""], ids=["changed", "cut", "empty"])
def test_a_damaged_result_is_made_again(train, harm):
    train("k1")
    kept("k1").unlink()  # the output is the same file
    kept("k1").write_bytes(harm)
    assert train("k1") == 2
    assert MODEL.read_bytes() == kept("k1").read_bytes() == b"weights 2"


def test_a_result_without_its_hash_is_made_again(train):
    train("k1")
    kept("k1").with_suffix(".sha256").unlink()
    assert train("k1") == 2


def test_what_stops_halfway_leaves_nothing_that_counts(train):
    def stops(file: Path, checkpoint: Path) -> None:
        file.write_bytes(b"half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        made_once("k1", MODEL, stops)
    assert not MODEL.exists()
    assert not any(kept("k1").parent.iterdir())
    assert train("k1") == 1


def test_a_stopped_training_finds_its_own_checkpoint_again_and_a_finished_one_leaves_none():
    seen = []

    def make(file: Path, checkpoint: Path) -> None:
        seen.append(checkpoint.read_text() if checkpoint.exists() else "")
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text("epoch 1")
        if len(seen) < 3:
            raise RuntimeError("stopped")
        file.write_bytes(b"weights")

    for key in ("k1", "k2"):
        with pytest.raises(RuntimeError, match="stopped"):
            made_once(key, MODEL, make)
    made_once("k1", MODEL, make)
    assert seen == ["", "", "epoch 1"]
    assert [path.name for path in (store_folder() / "checkpoints").iterdir()] == ["k2"]


def test_a_run_that_is_killed_before_it_removes_the_checkpoint_leaves_it_to_the_next(train):
    train("k1")
    checkpoint = store_folder() / "checkpoints/k1"
    checkpoint.parent.mkdir()
    checkpoint.write_text("last epoch")
    assert train("k1") == 1
    assert not checkpoint.exists()


def want_result(folder: Path, name: str) -> bytes:
    """Want the result of `k1` when two processes do, and say in `folder`/made who makes it."""
    (folder / name).touch()

    def make(file: Path, checkpoint: Path) -> None:
        with open(folder / "made", "a") as made:
            made.write(f"{name}\n")
        while not ((folder / "one").exists() and (folder / "other").exists()):
            time.sleep(0.01)
        time.sleep(0.3)
        file.write_bytes(b"weights")

    made_once("k1", folder / f"{name}.safetensors", make)
    return (folder / f"{name}.safetensors").read_bytes()


def test_two_processes_that_want_the_same_at_once_make_it_once(tmp_path):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert list(pool.map(want_result, [tmp_path] * 2, ["one", "other"])) == [b"weights"] * 2
    assert len((tmp_path / "made").read_text().split()) == 1


class Recorded:
    """`dvc.lock` and DVC's cache as the stage `net` has left them; `fetched` names what was asked of the remote."""

    def __init__(self, folder: Path):
        self.cache, self.outs, self.fetched = folder / ".dvc/cache/files/md5", [], []
        self.config = folder / ".dvc/config"
        self.cache.mkdir(parents=True)
        self.config.write_text("[core]\n    remote = team\n")

    def add(self, path: str, content: bytes | dict[str, bytes]) -> Path:
        """Record an output, a file or a folder of files; return where DVC's cache has it, or the folder's list."""
        if isinstance(content, dict):
            listed = [{"md5": _md5(self.cached(data)), "relpath": name} for name, data in content.items()]
            kept = self.cached(json.dumps(listed).encode(), ".dir")
        else:
            kept = self.cached(content)
        self.outs.append({"path": path, "md5": _md5(kept)})
        Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"net": {"outs": self.outs}}}))
        return kept

    def cached(self, data: bytes, suffix: str = "") -> Path:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        path = self.cache / md5[:2] / f"{md5[2:]}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def keys(self, **keys: str) -> Path:
        """Record the keys of models by name, `net__seed_1` for one in a folder."""
        noted = {f"models/{name.replace('__', '/')}.safetensors": key for name, key in keys.items()}
        return self.add("data/keys/net.json", json.dumps({"keys": noted}).encode())


def _md5(cached: Path) -> str:
    return cached.parent.name + cached.name


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "net")
    own = Recorded(tmp_path)

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        own.fetched.append(command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(store.subprocess, "run", run)
    return own


def test_a_single_file_that_dvc_lock_records_is_adopted(train, recorded):
    recorded.add("data/models/net.safetensors", b"a colleague's")
    recorded.keys(net="k1")
    assert train("k1", OUT) == 0
    assert MODEL.read_bytes() == kept("k1").read_bytes() == b"a colleague's"
    assert recorded.fetched == []
    assert train("k2", OUT) == 1  # of another key


def test_a_file_of_a_folder_that_dvc_lock_records_is_adopted(train, recorded):
    recorded.add("data/models/net", {"seed_1.safetensors": b"first", "seed_2.safetensors": b"second"})
    recorded.keys(net__seed_1="k1", net__seed_2="k2")
    assert train("k2", OUT) == 0
    assert MODEL.read_bytes() == b"second"
    assert not kept("k1").exists()
    assert fill_from_previous_outputs(OUT, {"k1", "k2", "k3"}) == 2
    assert kept("k1").read_bytes() == b"first"


def test_only_the_output_that_holds_the_result_is_fetched(train, recorded, monkeypatch):
    recorded.add("data/net", {"history.csv": b"epoch"}).unlink()
    recorded.add("data/models/other.safetensors", b"not wanted").unlink()
    cached = recorded.add("data/models/net.safetensors", b"a colleague's")
    cached.unlink()
    recorded.keys(net="k1", other="k2")

    def fetch(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        recorded.fetched.append(command[3:])
        cached.write_bytes(b"a colleague's")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(store.subprocess, "run", fetch)
    assert train("k1", OUT) == 0
    assert MODEL.read_bytes() == b"a colleague's"
    assert recorded.fetched == [["fetch", "--quiet", "data/models/net.safetensors"]]


def test_nothing_is_fetched_for_a_key_that_nobody_had(train, recorded):
    recorded.add("data/models/net.safetensors", b"of other parameters").unlink()
    recorded.keys(net="k1")
    assert train("k2", OUT) == 1
    assert recorded.fetched == []


def test_the_keys_are_fetched_where_dvcs_cache_lacks_them(train, recorded):
    recorded.keys(net="k1").unlink()
    assert train("k1", OUT) == 1
    assert recorded.fetched == [["fetch", "--quiet", "data/keys/net.json"]]


def test_without_a_remote_nothing_is_fetched(train, recorded):
    recorded.config.unlink()
    recorded.keys(net="k1").unlink()
    assert train("k1", OUT) == 1
    assert recorded.fetched == []


@pytest.mark.parametrize("harm", [None, b"a colleague'", b"A colleague's"], ids=["gone", "cut", "changed"])
def test_what_is_damaged_or_nowhere_in_dvcs_cache_is_made(train, recorded, harm):
    cached = recorded.add("data/models/net.safetensors", b"a colleague's")
    recorded.keys(net="k1")
    cached.unlink()
    if harm:
        cached.write_bytes(harm)
    assert train("k1", OUT) == 1
    assert MODEL.read_bytes() == b"weights 1"


def test_the_outputs_of_another_stage_or_outside_of_dvc_are_not_adopted(train, recorded, monkeypatch):
    recorded.add("data/models/net.safetensors", b"a colleague's")
    recorded.keys(net="k1")
    monkeypatch.setenv("DVC_STAGE", "other")
    assert fill_from_previous_outputs(OUT, {"k1"}) == 0
    monkeypatch.delenv("DVC_STAGE")
    assert train("k1", OUT) == 1


def keep(key: str) -> Path:
    """Keep a result of a clip."""
    path = result_path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"result")
    seal(path)
    return path


def test_prune_keeps_what_the_keys_files_name(train):
    train("k1")
    train("k2")
    used, unused = keep("aa1"), keep("bb2")
    (used.parent / ".cc3.h5.77.tmp").write_bytes(b"left by a killed run")
    (store_folder() / "checkpoints").mkdir()
    (store_folder() / "checkpoints/dd4").write_bytes(b"of a training that nobody goes on with")
    for name, keys in {
        "detect": {"detect/clip.h5": "aa1"},
        "train/net": {"models/train/net.safetensors": "k2"},
    }.items():
        Path(f"data/keys/{name}.json").parent.mkdir(parents=True, exist_ok=True)
        Path(f"data/keys/{name}.json").write_text(json.dumps({"keys": keys}))
    files, size = prune(shared=True)
    assert used.is_file()
    assert not unused.parent.exists()
    assert train("k2") == 2  # in use, so kept
    assert files == 2 + 2 + 1 + 1
    assert size > 0
    assert train("k1") == 3


def test_prune_refuses_while_a_stage_uses_the_store():
    with (
        locked(store_folder() / STORE_LOCK, fcntl.LOCK_SH),
        pytest.raises(UserError, match="a stage is at work with these results"),
    ):
        prune(shared=True)
    assert prune(shared=True) == (0, 0)


def test_prune_leaves_a_store_alone_that_others_may_use(monkeypatch):
    a_colleagues = keep("aa1")
    with pytest.raises(UserError, match=r"set by EMOTION_PIPELINE_STORE.*`prune --shared` if that is meant"):
        prune()
    assert a_colleagues.exists()
    monkeypatch.delenv("EMOTION_PIPELINE_STORE")
    assert prune() == (0, 0)
