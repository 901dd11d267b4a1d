from pathlib import Path

import numpy as np
import pytest

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.data.sequences import (
    bucketed,
    labelled_rows,
    load_sequences,
    overlaps_of,
    padded,
    standardisation_of,
    standardise,
)
from emotion_pipeline.errors import UserError


def write(folder: Path, clip_id: str, array: np.ndarray, name: str = "features") -> None:
    write_artifact(folder / f"{clip_id}.h5", clip_id, Artifact({name: array.astype(np.float32)}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "extract_vgg"
    for number, clip_id in enumerate("cab"):
        write(folder, clip_id, np.full((number + 1, 4), number))
    return folder


def test_joined_by_clip_id_in_sorted_order(folder):
    sequences = load_sequences(folder, ["c", "b", "a"])
    assert [(clip_id, len(a), int(a[0, 0])) for clip_id, a in sequences.items()] == [
        ("a", 2, 1),
        ("b", 3, 2),
        ("c", 1, 0),
    ]


def test_absent_and_failed_clips_have_length_0(folder):
    write(folder, "d", np.zeros((0, 4)))
    (folder / "failures.csv").write_text("clip_id,reason,detail\ne,unreadable,no video\n")
    sequences = load_sequences(folder, ["d", "e", "a"])
    assert {clip_id: array.shape for clip_id, array in sequences.items()} == {"a": (2, 4), "d": (0, 4), "e": (0, 4)}


def test_missing_file_is_named_with_the_stage_to_run(folder):
    with pytest.raises(UserError, match=r"z\.h5: no such file.*dvc repro extract_vgg"):
        load_sequences(folder, ["a", "z"])


def test_nothing_at_all_is_an_error(tmp_path):
    (tmp_path / "failures.csv").write_text("clip_id,reason,detail\na,unreadable,no video\n")
    with pytest.raises(UserError, match="none of the 1 clips has features"):
        load_sequences(tmp_path, ["a"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_name_the_clip(folder, bad):
    array = np.zeros((3, 4))
    array[1, 2] = bad
    write(folder, "bad", array)
    with pytest.raises(UserError, match=r"clip bad has values that are not finite"):
        load_sequences(folder, ["a", "bad"])


def test_another_width_names_the_clip(folder):
    write(folder, "wide", np.zeros((2, 5)))
    with pytest.raises(UserError, match=r"wide\.h5: 5 values a step, but a has 4"):
        load_sequences(folder, ["a", "wide"])


def test_long_sequences_keep_their_central_part(folder):
    write(folder, "long", np.arange(10)[:, None] * np.ones(4))
    sequences = load_sequences(folder, ["a", "long"], max_length=4)
    np.testing.assert_array_equal(sequences["long"][:, 0], [3, 4, 5, 6])
    assert len(sequences["a"]) == 2


def test_overlaps(tmp_path):
    arrays = {f"overlap_{k}/features": np.zeros((1, 2), np.float32) for k in (8, 0, 15)}
    write_artifact(tmp_path / "a.h5", "a", Artifact(arrays))
    assert overlaps_of(tmp_path) == (0, 8, 15)


def test_standardisation_over_all_rows_of_the_given_arrays():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(5, 3, (t, 3)).astype(np.float32) for t in (2, 50, 7)]
    arrays = [np.concatenate([a, np.full((len(a), 1), 1e6 / 3, np.float32)], axis=1) for a in arrays]
    by = standardisation_of(arrays, 4)
    scaled = standardise(np.concatenate(arrays), by)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled[:, :3].std(axis=0), 1, atol=1e-4)
    assert by.scale[3] == 1  # constant: neither divided by 0 nor by rounding


def test_buckets_hold_every_clip_once_with_little_padding():
    rng = np.random.default_rng(1)
    lengths = rng.integers(20, 273, 773)
    batches = bucketed(lengths, 16, rng)
    assert sorted(np.concatenate(batches)) == list(range(773))
    assert max(map(len, batches)) <= 16
    frames = sum(len(b) * lengths[b].max() for b in batches)
    assert frames < 1.10 * lengths.sum()
    assert [list(b) for b in batches] != [list(b) for b in bucketed(lengths, 16, rng)]


@pytest.mark.parametrize(("clips", "batch"), [(17, 16), (3, 2), (5, 4), (2, 2), (33, 16)])
def test_no_batch_of_one(clips, batch):
    assert min(len(b) for b in bucketed(np.ones(clips, int), batch)) >= 2


def test_padded():
    features, lengths = padded([np.ones((1, 2), np.float32), np.full((3, 2), 2, np.float32)])
    assert features[:, :, 0].tolist() == [[1, 0, 0], [2, 2, 2]]
    assert lengths.tolist() == [1, 3]


def test_labelled_rows():
    clips = [
        Clip("a", "", "train", "sad", ""),
        Clip("b", "", "train", "happy", ""),
        Clip("c", "", "train", "", ""),
        Clip("d", "", "val", "fear", ""),
        Clip("e", "", "train", "fear", ""),
    ]
    present = np.array([True, True, True, True, False])
    rows, labels = labelled_rows(clips, "train", "abcde", present)
    assert (rows.tolist(), labels.tolist()) == ([0, 1], [4, 3])
    with pytest.raises(UserError, match="of the 1 labelled clips of split val, 0 have the modality"):
        labelled_rows(clips, "val", "abcde", np.zeros(5, bool))
    with pytest.raises(UserError, match="of 1 classes; at least 2"):
        labelled_rows(clips, "train", "abcde", np.array([True, False, True, True, False]))
