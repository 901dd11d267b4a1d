"""Trained networks are kept as clips are; pruning leaves what is in use."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from emotion_pipeline.errors import UserError
from emotion_pipeline.run import store as reuse
from emotion_pipeline.run.disk import in_use, store_folder
from emotion_pipeline.run.prune import prune
from emotion_pipeline.run.store import entry, kept_once, made_once, seal


@pytest.fixture
def train(tmp_path, monkeypatch):
    """`train(key)` gives data/net its files and returns how often they have been made so far."""
    monkeypatch.chdir(tmp_path)
    made = []

    def make(folder: Path, checkpoint: Path) -> None:
        made.append(folder)
        (folder / "network.safetensors").write_bytes(b"weights %d" % len(made))
        (folder / "history.csv").write_text("epoch\n1\n")

    def run(key: str) -> int:
        made_once(key, Path("data/net"), {}, "emotion_pipeline.metrics", make)
        return len(made)

    return run


def test_the_same_key_is_trained_once_and_another_again(train):
    assert [train("k1"), train("k1"), train("k2"), train("k1")] == [1, 1, 2, 2]
    assert Path("data/net/network.safetensors").read_bytes() == b"weights 1"
    assert sorted(p.name for p in Path("data/net").iterdir()) == ["history.csv", "network.safetensors"]


def test_a_damaged_network_is_trained_again(train):
    train("k1")
    kept = store_folder() / "trained/k1/network.safetensors"
    kept.unlink()
    kept.write_bytes(b"weights X")
    assert train("k1") == 2
    assert Path("data/net/network.safetensors").read_bytes() == b"weights 2"


def test_a_training_that_stops_halfway_leaves_nothing_that_counts(train, tmp_path, monkeypatch):
    def stops(folder: Path, checkpoint: Path) -> None:
        (folder / "network.safetensors").write_bytes(b"half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        made_once("k1", Path("data/net"), {}, "emotion_pipeline.metrics", stops)
    assert train("k1") == 1


def test_a_stopped_training_finds_its_own_checkpoint_again_and_a_finished_one_leaves_none(train):
    seen = []

    def make(folder: Path, checkpoint: Path) -> None:
        seen.append(checkpoint.read_text() if checkpoint.exists() else "")
        checkpoint.write_text("epoch 1")
        if len(seen) < 3:
            raise RuntimeError("stopped")
        (folder / "network.safetensors").write_bytes(b"weights")

    for key in ("k1", "k2"):
        with pytest.raises(RuntimeError, match="stopped"):
            made_once(key, Path("data/net"), {}, "emotion_pipeline.metrics", make)
    made_once("k1", Path("data/net"), {}, "emotion_pipeline.metrics", make)
    assert seen == ["", "", "epoch 1"]
    assert [p.name for p in (store_folder() / "trained").glob("*k1*")] == ["k1"]


def test_prune_keeps_what_the_keys_files_name(train):
    train("k1")
    train("k2")
    for key in ("aa1", "bb2"):
        entry(key).parent.mkdir(parents=True)
        entry(key).write_bytes(b"result")
        seal(entry(key))
    (entry("aa1").parent / ".cc3.h5.77.tmp").write_bytes(b"left by a killed run")
    Path("data/keys/detect.json").write_text(json.dumps({"keys": {"clip": "aa1"}}))
    files, size = prune(shared=True)
    assert entry("aa1").is_file()
    assert not entry("bb2").parent.exists()
    assert train("k2") == 2  # in use, so kept
    assert files == 2 + 4 + 1
    assert size > 0


def test_prune_refuses_while_a_stage_uses_the_store():
    with in_use(), pytest.raises(UserError, match="a stage is at work with these results"):
        prune(shared=True)
    assert prune(shared=True) == (0, 0)


def test_prune_leaves_a_store_alone_that_others_may_use(monkeypatch, tmp_path):
    entry("aa1").parent.mkdir(parents=True)
    entry("aa1").write_bytes(b"a colleague's")
    with pytest.raises(UserError, match=r"set by EMOTION_PIPELINE_STORE.*`prune --shared` if that is meant"):
        prune()
    assert entry("aa1").exists()
    monkeypatch.delenv("EMOTION_PIPELINE_STORE")
    monkeypatch.chdir(tmp_path)
    assert prune() == (0, 0)


def test_two_that_want_the_same_network_at_once_train_it_once(tmp_path):
    """Two clones with one store."""
    made, begin = [], Barrier(2)

    def make(folder: Path, checkpoint: Path) -> None:
        made.append(folder)
        time.sleep(0.3)
        (folder / "network.safetensors").write_bytes(b"weights")

    def one(clone: str) -> bytes:
        begin.wait()
        kept_once("k1", tmp_path / clone / "net", make)
        return (tmp_path / clone / "net/network.safetensors").read_bytes()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, ["a", "b"])) == [b"weights"] * 2
    assert len(made) == 1


def test_a_network_that_is_only_partly_in_dvcs_cache_is_trained(train, tmp_path, monkeypatch):
    """Nor may a run that is killed between two of its files leave an entry with one."""
    history = tmp_path / "history"
    history.write_bytes(b"epoch")
    md5 = hashlib.md5(b"epoch", usedforsecurity=False).hexdigest()
    files = {"history.csv": (history, md5), "network.safetensors": (tmp_path / "gone", "0" * 32)}
    monkeypatch.setattr(reuse, "previous_outputs", lambda *_: reuse.Previous({}, files))
    assert train("k1") == 1
    assert sorted(p.name for p in Path("data/net").iterdir()) == ["history.csv", "network.safetensors"]
    assert Path("data/net/history.csv").read_text() == "epoch\n1\n"
