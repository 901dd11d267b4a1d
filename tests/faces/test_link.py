import numpy as np
import pytest

from emotion_pipeline.faces.link import assign, choose_track, link_boxes
from emotion_pipeline.params import Params, TrackParams

ONE_SHOT = np.zeros(1000, np.int64)


@pytest.fixture
def settings(params: Params) -> TrackParams:
    update = {"min_overlap": 0.3, "max_distance": 0.5, "max_gap_frames": 3}
    return params.track.model_copy(update=update)


def square(x: float, y: float, side: float = 60) -> tuple[float, ...]:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2, 1.0)


def scene(*people: dict[int, tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, frames and person of each, a person being boxes by frame; within a frame by falling x."""
    rows = [(frame, -box[0], who, box) for who, person in enumerate(people) for frame, box in person.items()]
    rows.sort(key=lambda row: row[:3])
    boxes = np.array([row[3] for row in rows], np.float32)
    return boxes, np.array([row[0] for row in rows], np.int32), np.array([row[2] for row in rows])


def assert_same_people(track: np.ndarray, who: np.ndarray) -> None:
    """Each track holds one person, each person has one track."""
    assert len(set(zip(track, who, strict=True))) == len(set(track)) == len(set(who))


@pytest.mark.parametrize("speed", [2, 6, 12])
def test_crossing_faces_that_overlap_by_less_than_half_keep_their_tracks(settings, speed):
    frames = range(480 // speed)
    left = {f: square(60 + speed * f, 100) for f in frames}
    right = {f: square(540 - speed * f, 125 + 5) for f in frames}  # half a side below: they share a third at most
    boxes, frame, who = scene(left, right)
    assert_same_people(link_boxes(boxes, frame, ONE_SHOT, settings), who)


def test_three_crossing_faces_keep_their_tracks(settings):
    people = [
        {f: square(40 + 8 * f, 60) for f in range(50)},
        {f: square(440 - 8 * f, 95) for f in range(50)},
        {f: square(240, 300 - 6 * f, 50) for f in range(10)},
    ]
    boxes, frame, who = scene(*people)
    assert_same_people(link_boxes(boxes, frame, ONE_SHOT, settings), who)


def disturbed(person: dict[int, tuple[float, ...]], rng: np.random.Generator) -> dict[int, tuple[float, ...]]:
    """As a detector would see it: centre and size off by 3 % of the side, one box in twenty missing."""
    found = {}
    for frame, (x1, y1, x2, y2, _) in person.items():
        side = x2 - x1
        x, y = np.array([x1 + x2, y1 + y2]) / 2 + 0.03 * side * rng.normal(size=2)
        if rng.uniform() >= 0.05:
            found[frame] = square(x, y, side * np.exp(0.03 * rng.normal()))
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("speed", [1.5, 3, 6, 12])
def test_disturbed_boxes_of_two_and_three_who_cross_hold_one_person_each(settings, speed, seed):
    """Each passes the next half a side lower: a third of overlap. A track never goes on with somebody else."""
    rng, frames = np.random.default_rng(seed), range(int(480 // speed))
    people = [
        {f: square(60 + speed * f, 60) for f in frames},
        {f: square(540 - speed * f, 90) for f in frames},
        {f: square(180 + speed / 2 * f, 120) for f in frames},
    ]
    for cast in (people[:2], people):
        boxes, frame, who = scene(*(disturbed(person, rng) for person in cast))
        track = link_boxes(boxes, frame, ONE_SHOT, settings)
        assert len(set(zip(track, who, strict=True))) == len(set(track))
        assert len(set(track)) <= 2 * len(cast)


def test_two_who_meet_and_turn_back_at_once_are_not_taken_for_each_other(settings):
    """A fifth of a side a frame, overlap of a third at the nearest: had they walked on, each would be in the other."""
    mixed, settings = 0, settings.model_copy(update={"max_gap_frames": 5})
    for seed in range(300):
        rng, frames = np.random.default_rng(seed), range(31)
        people = [{f: square(300 + way * (15 + 12 * abs(f - 15)), 100) for f in frames} for way in (-1, 1)]
        boxes, frame, who = scene(*(disturbed(person, rng) for person in people))
        track = link_boxes(boxes, frame, ONE_SHOT, settings)
        mixed += len(set(zip(track, who, strict=True))) != len(set(track))
    assert mixed == 0


def test_of_two_at_one_place_the_box_belongs_to_the_one_just_seen(settings):
    """The one in front, at 106, is found at 102 when the other, at 100, has been hidden for two frames."""
    behind = {f: square(100, 100) for f in range(10)}
    front = {f: square(102 if f == 12 else 106, 100) for f in range(14)}
    boxes, frame, who = scene(behind, front)
    assert_same_people(link_boxes(boxes, frame, ONE_SHOT, settings), who)


def test_moving_face_hidden_while_it_passes_another_is_found_again_where_its_motion_leads(settings):
    passing = {f: square(40 + 15 * f, 100) for f in range(30) if f not in (12, 13, 14)}
    standing = {f: square(235, 145) for f in range(30)}
    boxes, frame, who = scene(passing, standing)
    assert_same_people(link_boxes(boxes, frame, ONE_SHOT, settings), who)


@pytest.mark.parametrize(("missing", "tracks"), [(0, 1), (1, 1), (3, 1), (4, 2), (20, 2)])
def test_gap_is_bridged_up_to_its_limit_and_not_beyond(settings, missing, tracks):
    person = {f: square(100, 100) for f in range(40) if not 10 <= f < 10 + missing}
    boxes, frame, _ = scene(person)
    assert len(set(link_boxes(boxes, frame, ONE_SHOT, settings))) == tracks


def test_a_cut_ends_the_track_even_where_the_next_face_is_at_the_same_place(settings):
    boxes, frame, _ = scene({f: square(100, 100) for f in range(20)})
    shot = (np.arange(20) >= 8).astype(np.int64)
    np.testing.assert_array_equal(link_boxes(boxes, frame, shot, settings), shot)


def test_a_jump_ends_the_track(settings):
    boxes, frame, _ = scene({f: square(100 if f < 8 else 200, 100) for f in range(20)})
    np.testing.assert_array_equal(link_boxes(boxes, frame, ONE_SHOT, settings), np.arange(20) >= 8)


def test_a_small_false_face_inside_a_face_does_not_take_over_its_track(settings):
    face = {f: square(200, 200, 120) for f in range(10)}
    nose = {f: square(200, 210, 40) for f in range(8, 20)}
    boxes, frame, who = scene(face, nose)
    assert_same_people(link_boxes(boxes, frame, ONE_SHOT, settings), who)


def test_assignment_is_for_all_at_once_and_not_greedy(settings):
    """The best single pair is (1, 0); taking it first would leave (0, 1), which is too far apart."""
    known = np.array([square(100, 100), square(120, 100)])
    new = np.array([square(118, 100), square(140, 100)])
    assert assign(known, new, settings) == [(0, 0), (1, 1)]


def test_a_face_without_a_partner_does_not_force_another_into_a_bad_pair(settings):
    """Known 0 is still there as new 0; known 1 has left, new 1 has come. Two pairs would be possible, one is right."""
    known = np.array([square(100, 100), square(72, 100)])
    new = np.array([square(100, 100), square(128, 100)])
    assert assign(known, new, settings) == [(0, 0)]


def test_no_boxes_give_no_tracks(settings):
    assert link_boxes(np.zeros((0, 5), np.float32), np.zeros(0, np.int32), ONE_SHOT, settings).shape == (0,)


@pytest.mark.parametrize(
    ("track", "sides", "expected"),
    [
        ([0, 0], [10, 10], (0, "only")),
        ([0, 1, 1, 0, 1], [50, 10, 10, 50, 10], (1, "longest")),
        ([0, 1, 1, 0], [10, 12, 12, 10], (1, "larger_face")),
        ([0, 1, 2, 1, 0], [20, 10, 90, 10, 20], (0, "larger_face")),
        ([0, 1], [10, 10], (0, "larger_face")),
    ],
)
def test_longest_track_is_chosen_and_a_tie_goes_to_the_larger_face(track, sides, expected):
    boxes = np.array([square(50, 50, side) for side in sides], np.float32)
    assert choose_track(boxes, np.array(track)) == expected
