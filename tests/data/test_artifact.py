import numpy as np
import pytest

from emotion_pipeline.data.artifact import Artifact, atomic, read_array, read_attributes, write_artifact
from emotion_pipeline.errors import ClipError


def pieces(*lengths: int):
    """Rows of 0, 1, 2 ... in two datasets, in pieces of these lengths."""
    first = 0
    for length in lengths:
        rows = np.arange(first, first + length, dtype=np.int32)
        yield {"group/wide": np.repeat(rows[:, None], 3, axis=1), "long": rows.astype(np.float64)}
        first += length


def test_pieces_come_back_as_one_array(tmp_path):
    write_artifact(tmp_path / "a.h5", "a", Artifact({"whole": np.ones(2)}, {"x": 1}, pieces=pieces(0, 2, 70_000, 1)))
    wide = read_array(tmp_path / "a.h5", "group/wide")
    assert (wide.dtype, wide.shape) == (np.int32, (70_003, 3))
    np.testing.assert_array_equal(wide[:, 2], np.arange(70_003))
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "long"), np.arange(70_003.0))
    assert read_attributes(tmp_path / "a.h5") == {"clip_id": "a", "x": 1}


def test_a_piece_without_rows_makes_the_dataset(tmp_path):
    write_artifact(tmp_path / "a.h5", "a", Artifact({}, pieces=pieces(0)))
    assert read_array(tmp_path / "a.h5", "group/wide").shape == (0, 3)


def test_the_same_pieces_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_artifact(tmp_path / name / "a.h5", "a", Artifact({}, pieces=pieces(3, 5000, 40)))
    assert (tmp_path / "one/a.h5").read_bytes() == (tmp_path / "two/a.h5").read_bytes()


def test_an_error_on_the_way_leaves_no_file(tmp_path):
    def broken():
        yield from pieces(4)
        raise ClipError("truncated", "ends here")

    with pytest.raises(ClipError, match="ends here"):
        write_artifact(tmp_path / "a.h5", "a", Artifact({}, pieces=broken()))
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_have_each_their_own_temporary_one(tmp_path):
    """Also where two containers with one store have the same process ids."""
    with atomic(tmp_path / "a") as one, atomic(tmp_path / "a") as other:
        one.write_text("1")
        other.write_text("2")
        assert one.read_text() == "1"
