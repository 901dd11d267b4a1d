"""One subject left out: which clips are test, val and train."""

import numpy as np
import pytest

from emotion_pipeline.data.manifest import Clip, read_manifest
from emotion_pipeline.datasets.ingest import ingest, leave_out
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import IngestParams
from tests.conftest import write_video

CLIPS = [
    Clip(f"{subject}_{label}_{take}", "", "train", label, subject)
    for subject in ("ann", "bob", "cid")
    for label in ("happy", "sad")
    for take in range(2)
]


def test_the_subject_is_test_the_next_one_val_and_all_others_train():
    more = [*CLIPS, Clip("dot_sad_0", "", "val", "sad", "dot"), Clip("stray", "", "", "", "ann")]
    split = {clip.clip_id: clip.split for clip in leave_out(more, "bob")}
    subjects = ("ann", "bob", "cid", "dot")
    by_subject = {s: {split[c.clip_id] for c in more if c.subject == s and c.split} for s in subjects}
    assert by_subject == {"ann": {"train"}, "bob": {"test"}, "cid": {"val"}, "dot": {"train"}}
    assert split["stray"] == ""
    assert {c.subject for c in leave_out(more, "dot") if c.split == "val"} == {"ann"}


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (CLIPS, "ingest.test_subject: no clip shows 'eve'; the subjects are ann, bob, cid"),
        (
            [*CLIPS, Clip("who", "", "train", "sad", "")],
            "ingest.test_subject: nobody is named as the subject of clip who",
        ),
    ],
)
def test_a_fold_that_cannot_be_made_is_refused(clips, message):
    with pytest.raises(UserError, match=message):
        leave_out(clips, "eve")


def test_two_subjects_are_too_few():
    with pytest.raises(UserError, match="2 subjects; three are needed"):
        leave_out([c for c in CLIPS if c.subject != "cid"], "ann")


def test_the_manifest_has_the_splits_of_the_fold(tmp_path, runtime, grey_steps):
    root = tmp_path / "raw"
    for name in "abc":
        write_video(root / f"{name}.mp4", np.asarray(grey_steps))
    (root / "clips.csv").write_text(
        "path,split,label,subject\n" + "".join(f"{n}.mp4,train,happy,0{k}\n" for k, n in enumerate("abc"))
    )
    params = IngestParams(dataset="csv", root=str(root), min_clips=1, subjects=None, test_subject="02")
    ingest(root, tmp_path / "data/ingest", params, runtime)
    splits = {clip.clip_id: clip.split for clip in read_manifest(tmp_path / "data/ingest/clips.csv")}
    assert splits == {"a": "val", "b": "train", "c": "test"}
