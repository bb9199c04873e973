"""Labels of an overlay: as large as their faces ask, off other faces and off one another where that can be."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.detection.geometry import intersections
from finetune.detection.labels import letter_size, place_labels

NAME = 10.0  # times its height a text is long


def test_letters_follow_the_boxes() -> None:
    collage = (3000, 2000)
    assert letter_size((0, 0, 160, 160), collage, 2) == 32
    assert letter_size((0, 0, 400, 400), collage, 2) == 80
    assert letter_size((0, 0, 900, 900), (1000, 1000), 2) == 36  # no larger than a picture can do with
    assert letter_size((0, 0, 30, 30), collage, 2) == 21  # no smaller than can be seen in it
    assert letter_size((0, 0, 40, 40), (60, 60), 2) == 9
    assert letter_size((0, 0, 160, 160), collage, NAME) == 26  # a long name has smaller letters


def test_labels_of_a_wall_of_faces_cover_few() -> None:
    """Faces of 80 pixels side by side, with 20 between the rows: only there is room."""
    boxes = np.array([(x, y, x + 80, y + 80) for y in range(20, 420, 100) for x in range(0, 400, 80)], np.float32)
    size = np.array([70, 18])
    places = np.array(place_labels(boxes, [(70, 18)] * len(boxes), (400, 420)), np.float64)
    labels = np.concatenate([places, places + size], axis=1)
    assert (intersections(labels, boxes) == 0).all()
    apart = intersections(labels, labels) - np.diag([70.0 * 18] * len(labels))
    assert (apart == 0).all()


def test_a_label_goes_where_no_face_is() -> None:
    face, above = (100, 100, 150, 150), (90, 60, 200, 99)
    (place, _) = place_labels(np.array([face, above], np.float32), [(60, 15), (60, 15)], (300, 300))
    assert place == (100, 150)  # below, as another face is above
    (place,) = place_labels(np.array([(0, 0, 300, 300)], np.float32), [(60, 15)], (300, 300))
    assert place == (0, 0)


@pytest.mark.parametrize("picture", [(60, 60), (20, 10), (1, 1)])
def test_labels_begin_in_the_picture(picture: tuple[int, int]) -> None:
    boxes = np.array([(0, 0, picture[0], picture[1])] * 3, np.float32)
    for x, y in place_labels(boxes, [(45, 12)] * 3, picture):
        assert 0 <= x <= max(0, picture[0] - 45) and 0 <= y <= max(0, picture[1] - 12)
