import numpy as np

from emotion_pipeline.faces.frames import box_distance, box_iou, box_sides


def test_iou_in_closed_form():
    a = np.array([[0.0, 0, 10, 10], [0, 0, 4, 2]])
    b = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [20, 20, 30, 30], [2, 0, 6, 2]])
    expected = [[1, 50 / 150, 0, 0, 8 / 100], [8 / 100, 0, 0, 0, 4 / 12]]
    np.testing.assert_allclose(box_iou(a, b), expected, atol=1e-12)


def test_distance_counts_position_and_octaves_of_size():
    a = np.array([[0.0, 0, 10, 10]])
    b = np.array([[3.0, 4, 13, 14], [-5, -5, 15, 15]])
    np.testing.assert_allclose(box_distance(a, b), [[5 / 10, 1]])


def test_side_is_that_of_the_square_of_equal_area():
    np.testing.assert_allclose(box_sides(np.array([[1.0, 2, 5, 18]])), [8])


def test_no_boxes_give_empty_tables():
    assert box_iou(np.zeros((0, 4)), np.ones((3, 5))).shape == (0, 3)
    assert box_distance(np.ones((3, 5)), np.zeros((0, 4))).shape == (3, 0)
