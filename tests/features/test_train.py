"""From folders to a fine-tuned network in a folder: `train_vgg` as the stage calls it."""

import csv
import logging
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.features import train
from emotion_pipeline.features.train import Paths, train_vgg
from emotion_pipeline.features.vgg_face import VGGFace
from emotion_pipeline.features.weights import load_network, save_network

pytestmark = pytest.mark.slow

HEADER = "clip_id,path,split,label,subject,frames,fps,width,height,seconds,has_audio,sha256\n"


@pytest.fixture
def folders(make_track, noise, tmp_path, monkeypatch):
    """Paths for `train_vgg`: a manifest of two labelled clips, their faces, no weights, the model, the tables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ingest").mkdir()
    rows = [f"{c},{c}.mp4,{split},happy,1,9,25,8,8,1,True,{'0' * 64}\n" for c, split in [("a", "train"), ("b", "val")]]
    (tmp_path / "ingest/clips.csv").write_text(HEADER + "".join(rows))
    (tmp_path / "track").mkdir()
    make_track(tmp_path / "track/a.h5", noise(9))
    make_track(tmp_path / "track/b.h5", noise(5))
    model = tmp_path / "data/models/finetune_vgg.safetensors"
    return Paths(tmp_path / "ingest", tmp_path / "track", tmp_path / "weights", model, tmp_path / "data/finetune_vgg")


def accuracies(out):
    with open(out / "accuracy.csv", newline="") as file:
        return {row["part"]: row for row in csv.DictReader(file)}


@pytest.fixture
def short(vgg_params):
    changes = {"epochs": 1, "train_parts": ("Training",), "test_part": "PublicTest", "film_frames": "film"}
    return vgg_params.model_copy(update=changes)


def test_accuracy_is_measured_on_the_held_out_the_test_and_the_film_pictures(
    folders, short, runtime, stills_folder, tmp_path
):
    shutil.copytree(stills_folder / "Training/Happy", tmp_path / "film/Happy")
    train_vgg(folders, short, runtime)
    table = accuracies(folders.out)
    assert {name: row["n"] for name, row in table.items()} == {"val": "7", "PublicTest": "7", "film_frames": "7"}
    film = table["film_frames"]
    assert film["accuracy"] == film["happy"]
    assert table["PublicTest"]["accuracy"] == table["PublicTest"]["uar"]  # one picture of each class
    assert list(film)[4:] == list(EMOTIONS)


def test_the_test_part_is_never_learnt_from(folders, short, runtime, stills_folder, tmp_path):
    trained = []
    for nonsense in (False, True):
        copy = tmp_path / f"stills{nonsense}"
        shutil.copytree(stills_folder, copy)
        if nonsense:
            (copy / "PublicTest/Happy").rename(copy / "PublicTest/x")
            (copy / "PublicTest/Sad").rename(copy / "PublicTest/Happy")
            (copy / "PublicTest/x").rename(copy / "PublicTest/Sad")
        train_vgg(folders, short.model_copy(update={"stills": str(copy)}), runtime)
        trained.append(folders.model.read_bytes())
    assert trained[0] == trained[1]


def test_stills_are_aligned_once_for_any_number_of_trainings(folders, short, runtime, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    train_vgg(folders, short, runtime)
    first = folders.model.read_bytes()
    monkeypatch.setattr(train, "_align_part", lambda *part: 1 / 0)  # a second alignment would need it
    train_vgg(folders, short.model_copy(update={"seed": 9}), runtime)
    assert folders.model.read_bytes() != first
    assert caplog.text.count("a face found and aligned in 0 of 49 stills") == 2


@pytest.mark.parametrize("at_once", [3, 200])
def test_aligned_stills_keep_their_order_and_labels(at_once, vgg_params, runtime, stills_folder, monkeypatch):
    monkeypatch.setattr(train, "AT_ONCE", at_once)
    stills = train.read_stills(stills_folder, ["Training"])
    got = train._aligned_once(stills, 0.15, runtime)
    expected, _ = train.aligned(stills, 0.15)
    assert got == expected
    assert [still.label for still in got] == [still.label for still in stills]


def test_frames_of_the_clips_are_learnt_from_and_those_of_val_held_out(folders, short, runtime):
    changes = {"images": "clips", "frames_per_clip": 4, "stills": "nowhere", "test_part": None}
    train_vgg(folders, short.model_copy(update=changes), runtime)
    assert accuracies(folders.out)["val"]["n"] == "4"


def test_ready_weights_are_taken_as_they_are(folders, short, runtime, tmp_path):
    torch.manual_seed(0)
    network = VGGFace(7, 0.03).eval()
    torch.nn.init.normal_(network.fc8.weight)
    (tmp_path / "weights").mkdir()
    save_network(tmp_path / "weights/ours.safetensors", network)
    train_vgg(folders, short.model_copy(update={"images": "none", "weights": "ours.safetensors"}), runtime)
    again = load_network(folders.model, VGGFace)
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (folders.out / "history.csv").read_text() == "epoch,train_loss,val_loss,val_accuracy\n"
    assert list(accuracies(folders.out)) == ["PublicTest"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"test_part": "PrivateTest"},
            r"no picture for 'PrivateTest'; correct finetune_vgg\.train_parts or \.test_part",
        ),
        ({"train_parts": ("Trainin",)}, "no picture for 'train'"),
        ({"weights": "vgg_face_dag.pth"}, r"weights/vgg_face_dag\.pth: no such file; put the published weights there"),
    ],
)
def test_what_is_not_there_is_named(changes, message, folders, short, runtime):
    with pytest.raises(UserError, match=message):
        train_vgg(folders, short.model_copy(update=changes), runtime)


def die_once(key: str, stills: list[train.Still], margin: float, mark: Path) -> None:
    """`train._align_part` in a worker that the first part kills."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    train._align_part(key, stills, margin)


def test_a_worker_that_dies_while_stills_are_aligned_costs_no_run(
    vgg_params, runtime, stills_folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(train, "_align_part", partial(die_once, mark=tmp_path / "died"))
    stills = train.read_stills(stills_folder, ["Training"])
    assert len(train._aligned_once(stills, 0.15, runtime)) == len(stills)
    assert (tmp_path / "died").exists()


def test_stills_whose_alignment_takes_too_long_are_named(vgg_params, runtime, stills_folder):
    stills = train.read_stills(stills_folder, ["Training"])
    hasty = runtime.model_copy(update={"clip_seconds": 0.01})
    with pytest.raises(UserError, match=rf"part 0, {stills[0].name} to {stills[-1].name}: took longer than 0.01 s"):
        train._aligned_once(stills, 0.15, hasty)
