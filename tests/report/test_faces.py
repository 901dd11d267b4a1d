"""The order of the clips, the summary, the files, the section of the page."""

import csv
from pathlib import Path

import pytest

from emotion_pipeline.data.manifest import Clip, write_failures
from emotion_pipeline.errors import ClipError
from emotion_pipeline.faces.gallery import COLUMNS, Row, face_rows, face_summary
from emotion_pipeline.report.evaluate import evaluate
from emotion_pipeline.run.fingerprint import source_files
from tests.report.conftest import CLIPS, HOSTILE, PARAMS, clip, with_gallery, write_quality


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Seven clips, one of which failed and one of which shows no face."""
    clips: list[Clip] = [clip(f"{name}_test", "test", "angry") for name in "abcdefg"]
    quality = tmp_path / "quality"
    write_quality(tmp_path, "a_test", 1.0)
    write_quality(tmp_path, "b_test", 0.5, gap=1, chosen_because="override", tracks=3, faces_at_once=2)
    write_quality(tmp_path, "c_test", 1.0, jitter_after=0.01)
    write_quality(tmp_path, "d_test", 0.5, gap=3)
    write_quality(tmp_path, "e_test", 1.0, gap=2)
    failed = {"f_test": ClipError("unreadable", "no video"), "g_test": ClipError("no_face", "in none of 10 frames")}
    write_failures(quality, failed)
    return face_rows(clips, quality)


def test_the_worst_come_first(rows):
    """Failures; then short sequences, long gaps, much jitter, in this order of weight."""
    assert [str(row["clip_id"])[0] for row in rows] == ["f", "g", "d", "b", "e", "c", "a"]
    assert [row["reason"] for row in rows[:3]] == ["unreadable", "no_face", ""]
    assert rows[0]["share_in_sequence"] is None


def test_the_summary_is_over_the_clips_that_show_a_face(rows):
    summary = face_summary(rows)
    assert summary["share_in_sequence"] == 1.0
    assert summary["jitter_after"] == 0.004
    counts = {name: summary[name] for name in ("clips", "with_face", "whole", "tracks", "several", "because")}
    assert counts == {
        "clips": 7,
        "with_face": 5,
        "whole": 3,
        "tracks": 7,
        "several": 1,
        "because": {"only": 4, "override": 1},
    }


def test_a_summary_of_no_face_at_all_has_no_medians():
    row: Row = dict.fromkeys(COLUMNS)
    summary = face_summary([row | {"clip_id": "a", "reason": "no_face"}])
    assert (summary["with_face"], summary["share_in_sequence"], summary["jitter_before"]) == (0, None, None)


def test_every_clip_is_in_the_table_and_has_its_sheet(data):
    evaluate(with_gallery(data), data / "reports", PARAMS)
    with open(data / "reports/faces.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["clip_id"] for row in table] == [c.clip_id for c in reversed(CLIPS)]
    assert float(table[0]["share_in_sequence"]) == pytest.approx(0.3)
    assert {path.stem for path in (data / "reports/faces").iterdir()} == {c.clip_id for c in CLIPS}
    page = (data / "reports/report.html").read_text()
    assert "8 of 8 clips show a face" in page
    shown = [c.clip_id for c in CLIPS if f"Contact sheet of clip {c.clip_id}" in page]
    assert shown == [c.clip_id for c in CLIPS[-2:]]


def test_a_clip_that_failed_before_has_no_sheet_and_is_shown_first(data):
    (data / "quality/d_test.h5").unlink()
    write_failures(data / "quality", {"d_test": ClipError("unreadable", HOSTILE)})
    write_quality(data, "g_test", 0.5, chosen_because="<b>")
    evaluate(with_gallery(data), data / "reports", PARAMS)
    assert not (data / "reports/faces/d_test.jpg").exists()
    page = (data / "reports/report.html").read_text()
    assert "<code>d_test</code>, unreadable</figcaption>" in page
    assert "<b>)" not in page


def test_the_report_needs_no_code_of_the_faces():
    """So an edit in `faces/` makes the faces again, not the report's code."""
    assert not [
        module for module in source_files("emotion_pipeline.report") if module.startswith("emotion_pipeline.fac")
    ]
