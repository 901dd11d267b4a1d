import pytest

from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.track import read_overrides


def test_tracks_by_clip(tmp_path):
    file = tmp_path / "overrides.csv"
    file.write_text("clip_id,track\nhappy_012,3\nsad_1,0\n")
    assert read_overrides(file, {"happy_012", "sad_1", "other"}) == {
        "happy_012": {"override": 3},
        "sad_1": {"override": 0},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,track\n", "expected the header clip_id,track, found clip,track"),
        ("", "expected the header clip_id,track, found $"),
        ("clip_id,track\nsad_1,0\nsad_2,1\n", "line 3: no clip sad_2 in the manifest"),
        ("clip_id,track\nsad_1,0\nsad_1,1\n", "line 3: clip sad_1 is named twice"),
        ("clip_id,track\nsad_1,-1\n", "line 2: clip sad_1: track is a whole number from 0, got -1"),
        ("clip_id,track\nsad_1\n", "line 2: clip sad_1: track is a whole number from 0, got None"),
        ("clip_id,track\nsad_1,0,5\n", r"line 2: expected two columns"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    file = tmp_path / "overrides.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"overrides\.csv(, |: ){message}"):
        read_overrides(file, {"sad_1"})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"overrides\.csv: cannot be read .* its first line is clip_id,track"):
        read_overrides(tmp_path / "overrides.csv", set())
