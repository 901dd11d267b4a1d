import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from emotion_pipeline.api import FeatureDataset, clip_array, feature_frame
from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.manifest import Clip, write_manifest
from emotion_pipeline.data.sequences import padded
from emotion_pipeline.errors import UserError

LABELS = {"a": "happy", "b": "", "c": "sad", "d": "angry"}
CLIPS = [Clip(clip_id, f"{clip_id}.mp4", "train", label, subject="1") for clip_id, label in LABELS.items()]
LENGTHS = {"a": 3, "b": 2, "c": 0}  # and d failed


@pytest.fixture
def folders(tmp_path):
    """A stage's folder with features and scores, and a manifest."""
    for number, (clip_id, length) in enumerate(LENGTHS.items()):
        values = 10 * number + np.arange(4 * length, dtype=np.float32).reshape(length, 4)
        arrays = {"features": values, "overlap_8/scores": values[:, :2]}
        write_artifact(tmp_path / "extract" / f"{clip_id}.h5", clip_id, Artifact(arrays))
    (tmp_path / "extract/failures.csv").write_text("clip_id,reason,detail\nd,unreadable,no video\n")
    write_manifest(tmp_path / "clips.csv", CLIPS)
    return tmp_path / "extract", tmp_path / "clips.csv"


def test_one_clip_as_an_array(folders):
    array = clip_array(str(folders[0]), "b")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [[10, 11, 12, 13], [14, 15, 16, 17]])
    np.testing.assert_array_equal(clip_array(folders[0], "b", "overlap_8/scores"), [[10, 11], [14, 15]])
    assert clip_array(folders[0], "c").shape == (0, 4)


def test_a_clip_that_failed_or_is_not_there_is_named(folders):
    with pytest.raises(UserError, match=r"none of the 1 clips has features; see .*failures\.csv"):
        clip_array(folders[0], "d")
    with pytest.raises(UserError, match=r"e\.h5: no such file, and e is not in"):
        clip_array(folders[0], "e")


def test_all_clips_as_a_frame(folders):
    frame = feature_frame(*folders)
    assert frame.index.names == ["clip_id", "split", "label", "step"]
    assert frame.index.tolist() == [("a", "train", "happy", i) for i in range(3)] + [
        ("b", "train", "", i) for i in range(2)
    ]
    assert frame.loc["b", 2].tolist() == [12, 16]
    assert (frame.dtypes == np.float32).all()


def test_labelled_clips_of_a_split_as_a_dataset_for_torch(folders):
    data = FeatureDataset(*folders, "train")
    assert (data.clip_ids, data.failed, len(data)) == (("a", "c"), ("d",), 2)
    assert [label for _, label in (data[0], data[1])] == [3, 4]
    torch.testing.assert_close(data[0][0][1], torch.tensor([4.0, 5, 6, 7]))
    assert data[1][0].shape == (0, 4)


def test_it_goes_through_a_data_loader(folders):
    (folders[0] / "failures.csv").unlink()
    write_artifact(folders[0] / "d.h5", "d", Artifact({"features": np.ones((1, 4), np.float32)}))
    loader = DataLoader(
        FeatureDataset(*folders, "train"), batch_size=3, collate_fn=lambda items: padded([x.numpy() for x, _ in items])
    )
    [(features, lengths)] = loader
    assert (features.shape, lengths.tolist()) == ((3, 3, 4), [3, 0, 1])


def test_a_split_without_labelled_clips_is_refused(folders):
    with pytest.raises(UserError, match="split: expected one of train, val, test, got 'valid'"):
        FeatureDataset(*folders, "valid")
    with pytest.raises(UserError, match=r"clips\.csv: no labelled clip in split test"):
        FeatureDataset(*folders, "test")
