"""Folders of several data sets -> the same manifest rows; wrong ones refused by name."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotion_pipeline.data.manifest import Clip, class_table, labels_of, read_failures, read_manifest
from emotion_pipeline.datasets import ingest as module
from emotion_pipeline.datasets.ingest import ingest
from emotion_pipeline.datasets.layouts import LAYOUTS
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import IngestParams, SubjectSplit
from tests.conftest import SHARED, write_clip

SUBJECTS = SubjectSplit(train=("01", "02"), val=("03",), test=("04",))


def settings(dataset: str, **changes) -> IngestParams:
    values = {"dataset": dataset, "root": "unused", "min_clips": 0, "subjects": None, "test_subject": None, **changes}
    return IngestParams.model_validate(values)


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def rows(dataset: str, root: Path, **changes) -> list[tuple[str, str, str, str]]:
    clips = LAYOUTS[dataset](root, settings(dataset, **changes))
    return sorted((c.clip_id, c.path, c.split, c.label) for c in clips)


def test_afew_with_nested_folders_crops_and_an_unlabelled_test_part(tmp_path):
    tree(
        tmp_path,
        "Train_AFEW/Angry/000046280.avi",
        "Train_AFEW/AlignedFaces_LBPTOP_Points/Faces/000046280/0001.jpg",
        "Val_AFEW/Val_AFEW/Surprise/000149120.avi",
        "Test_vid_Distribute/000350024.avi",
    )
    assert rows("afew", tmp_path) == [
        ("000046280", "Train_AFEW/Angry/000046280.avi", "train", "angry"),
        ("000149120", "Val_AFEW/Val_AFEW/Surprise/000149120.avi", "val", "surprise"),
        ("000350024", "Test_vid_Distribute/000350024.avi", "test", ""),
    ]


def test_of_avi_files_as_afew_has_them_the_whole_ones_are_used_and_the_cut_ones_refused(tmp_path, runtime):
    """MPEG-4 and XviD beside mp3 and PCM, with dropped pictures, and with counts in the header that are too high."""
    folder, rng, pictures = tmp_path / "raw/Train_AFEW/Happy", np.random.default_rng(0), {}
    folder.mkdir(parents=True)
    for k in range(70):
        tag, sound = ("FMP4", "XVID")[k % 2], ("libmp3lame", "pcm_s16le")[k // 2 % 2]
        shown = [0, *(n for n in range(1, 24) if k % 3 == 0 or rng.random() < 0.9), 24]
        clip = write_clip(folder / f"{k:03}.avi", "mpeg4", sound, shown, tag=tag)
        content = bytearray(clip.read_bytes())
        if k % 5 == 0:
            for name, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
                at = content.index(name) + offset
                content[at : at + 4] = (int.from_bytes(content[at : at + 4], "little") + 3).to_bytes(4, "little")
        if k >= 60:
            del content[int(len(content) * rng.uniform(0.3, 0.95)) :]
        clip.write_bytes(content)
        pictures[f"{k:03}"] = len(shown)
    ingest(tmp_path / "raw", tmp_path / "out", settings("afew"), runtime)
    failures = read_failures(tmp_path / "out")
    assert sorted(failures) == [f"{k:03}" for k in range(60, 70)]
    assert {error.reason for error in failures.values()} <= {"truncated", "unreadable"}
    found = {clip.clip_id: clip.frames for clip in read_manifest(tmp_path / "out/clips.csv")}
    assert all(found[name] == count for name, count in pictures.items() if name not in failures)


def test_javanese_names_give_label_and_split_by_actor(tmp_path):
    tree(tmp_path, "01-02-03_01.mp4", "03-01-06_02.mp4", "labels.csv")
    assert rows("javanese", tmp_path, subjects=SUBJECTS) == [
        ("01-02-03_01", "01-02-03_01.mp4", "train", "happy"),
        ("03-01-06_02", "03-01-06_02.mp4", "val", "angry"),
    ]


def test_folder_names_are_part_of_the_clip_id(tmp_path):
    tree(tmp_path, "train/Happy/1.mp4", "train/sad/1.mp4", "test/1.mov", "test/notes.txt")
    assert rows("folder", tmp_path) == [
        ("test-1", "test/1.mov", "test", ""),
        ("train-Happy-1", "train/Happy/1.mp4", "train", "happy"),
        ("train-sad-1", "train/sad/1.mp4", "train", "sad"),
    ]


def test_csv_columns_may_be_left_out(tmp_path):
    (tmp_path / "clips.csv").write_text("path,label\nin/a.mp4,Fear\nb.mkv,\n")
    assert rows("csv", tmp_path) == [("a", "in/a.mp4", "", "fear"), ("b", "b.mkv", "", "")]


@pytest.mark.parametrize(
    ("dataset", "names", "message"),
    [
        ("javanese", ["1-2-3.mp4"], r"1-2-3\.mp4: expected <actor>-<sentence>-<emotion>_<take>"),
        ("javanese", ["01-01-07_01.mp4"], r"emotion of 01, 02, 03, 04, 05, 06"),
        ("javanese", ["09-01-01_01.mp4"], r"actor 09 is in no split; add it to ingest\.subjects"),
        ("afew", ["Train_AFEW/Joy/1.avi"], r"label 'Joy' is none of angry, disgust"),
        ("afew", ["Bonus/Happy/1.avi"], r"Bonus: expected folders named Train"),
        ("folder", ["training/happy/1.mp4"], r"training/happy/1\.mp4: expected <split>/<class>/<file>"),
    ],
)
def test_names_outside_the_layout_are_refused(tmp_path, dataset, names, message):
    with pytest.raises(UserError, match=message):
        rows(dataset, tree(tmp_path, *names), subjects=SUBJECTS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,label\na.mp4,joy\n", r"clips\.csv, line 2: label 'joy' is none of"),
        ("path,split\na.mp4,dev\n", r"line 2: split 'dev' is none of train, val, test"),
        ("file,label\na.mp4,sad\n", r"expected the columns path, split, label"),
        ("path\n../secret.mp4\n", r"clip secret: path '\.\./secret\.mp4' leaves the data set's folder"),
        ("path\n/etc/a.mp4\n", r"path '/etc/a\.mp4' leaves the data set's folder"),
        ("path\na.mp4\nb/A.avi\n", r"clip id '[aA]' is also that of"),
        ("path,clip_id\na.mp4,../x\n", r"clip id '\.\./x' is no plain name"),
        ("path\n", r"no clip in this folder in the layout 'csv'"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(tmp_path, runtime, table, message):
    (tmp_path / "clips.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        ingest(tmp_path, tmp_path / "out", settings("csv"), runtime)


def test_an_actor_in_two_splits_is_refused(tmp_path):
    twice = SubjectSplit(train=("01",), val=("01",), test=())
    with pytest.raises(UserError, match="subject '01' is in train and in val"):
        rows("javanese", tree(tmp_path, "01-01-01_01.mp4"), subjects=twice)


def test_a_partly_present_folder_is_refused(tmp_path, runtime):
    tree(tmp_path, "train/happy/1.mp4")
    with pytest.raises(UserError, match=r"1 clips, ingest\.min_clips is 2: the data set is only partly here"):
        ingest(tmp_path, tmp_path / "out", settings("folder", min_clips=2), runtime)


def test_a_missing_folder_is_named(tmp_path, runtime):
    with pytest.raises(UserError, match=r"nowhere: no such folder \(ingest\.root\)"):
        ingest(tmp_path / "nowhere", tmp_path / "out", settings("folder"), runtime)


def test_unreadable_files_stay_in_the_manifest_and_are_listed(tmp_path, runtime, make_video, grey_steps):
    make_video(tmp_path / "raw/train/happy/good.mp4", grey_steps)
    tree(tmp_path / "raw", "val/sad/broken.mp4")
    (tmp_path / "raw/val/sad/nothing.mp4").write_bytes(b"")
    out = tmp_path / "ingest"
    ingest(tmp_path / "raw", out, settings("folder"), runtime)
    clips = {c.clip_id: c for c in read_manifest(out / "clips.csv")}
    assert clips["train-happy-good"].frames == 12
    assert len(clips["train-happy-good"].sha256) == 64
    assert clips["val-sad-broken"].frames == 0
    reasons = {clip_id: error.reason for clip_id, error in read_failures(out).items()}
    assert reasons == {"val-sad-broken": "unreadable", "val-sad-nothing": "empty"}
    with pytest.raises(UserError, match=r"ingest: 2 of 3 clips failed, limit 50%"):
        ingest(tmp_path / "raw", out, settings("folder"), runtime.model_copy(update={"max_failed": 0.5}))


def test_a_link_to_nowhere_and_a_pipe_are_listed_and_a_folder_is_no_clip(tmp_path, runtime):
    (tmp_path / "raw/train/happy/folder.mp4").mkdir(parents=True)
    (tmp_path / "raw/train/happy/link.mp4").symlink_to("nowhere")
    os.mkfifo(tmp_path / "raw/train/happy/pipe.mp4")
    ingest(tmp_path / "raw", tmp_path / "out", settings("folder"), runtime)
    assert {clip_id: str(error) for clip_id, error in read_failures(tmp_path / "out").items()} == {
        "train-happy-link": "unreadable: link.mp4: no such file",
        "train-happy-pipe": "unreadable: pipe.mp4: is not an ordinary file",
    }


def bad_decoder(row: Clip, root: Path) -> Clip:
    if "dies" in row.path:
        os.kill(os.getpid(), 11)
    if "hangs" in row.path:
        time.sleep(60)
    return replace(row, frames=3)


def test_a_decoder_that_dies_or_hangs_at_ingest_costs_its_clip_only(tmp_path, runtime, monkeypatch):
    monkeypatch.setattr(module, "_measured", bad_decoder)
    tree(tmp_path / "raw", "test/dies.mp4", "test/good.mp4", "test/hangs.mp4")
    ingest(tmp_path / "raw", tmp_path / "out", settings("folder"), runtime.model_copy(update={"clip_seconds": 5.0}))
    assert [clip.frames for clip in read_manifest(tmp_path / "out/clips.csv")] == [0, 3, 0]
    failures = read_failures(tmp_path / "out")
    assert {clip_id: error.reason for clip_id, error in failures.items()} == {
        "test-dies": "crash",
        "test-hangs": "timeout",
    }
    assert all(clip_id in error.detail for clip_id, error in failures.items())


def test_class_table_counts_every_clip_once(tmp_path):
    tree(tmp_path, "train/happy/1.mp4", "train/happy/2.mp4", "val/sad/1.mp4", "test/1.mp4")
    clips = list(LAYOUTS["folder"](tmp_path, settings("folder")))
    lost = replace(next(clip for clip in clips if clip.label == "happy"), split="")
    rows = class_table([*clips, lost])
    assert [row["class"] for row in rows][: len(EMOTIONS)] == [*EMOTIONS]  # dvc.yaml relies on it
    table = {row["class"]: row for row in rows}
    assert table["happy"] == {"class": "happy", "train": 2, "val": 0, "test": 0, "none": 1, "total": 3}
    assert table["unlabelled"] == {"class": "unlabelled", "train": 0, "val": 0, "test": 1, "none": 0, "total": 1}
    assert table["total"] == {"class": "total", "train": 2, "val": 1, "test": 1, "none": 1, "total": 5}


def test_labels_that_may_choose_leave_the_test_split_out(tmp_path):
    tree(tmp_path, "train/happy/1.mp4", "val/sad/1.mp4", "test/fear/1.mp4")
    clips = list(LAYOUTS["folder"](tmp_path, settings("folder")))
    assert labels_of(clips) == {"train-happy-1": 3, "val-sad-1": 4}
    assert labels_of(clips, ["test"]) == {"test-fear-1": 2}


@pytest.mark.shared
def test_the_javanese_file_names_agree_with_their_list():
    folder = SHARED / "clips/javanese"
    subjects = SubjectSplit(train=("01", "02", "03", "04"), val=("05",), test=("06",))
    labels = {c.path: c.label for c in LAYOUTS["javanese"](folder, settings("javanese", subjects=subjects))}
    listed = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()[1:]]
    assert labels == {line[0]: line[3] for line in listed}
    assert len(labels) == 144
