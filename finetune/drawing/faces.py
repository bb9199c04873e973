"""One person: the layers in their order, from the hair behind to the brows on top."""

from __future__ import annotations

from PIL import Image

from finetune.drawing import accessories, clothes, features, hair, hair_behind
from finetune.drawing.canvas import Canvas, Frame, Points, ellipse
from finetune.drawing.characters import Character
from finetune.drawing.colours import deeper
from finetune.drawing.eyes import Eye
from finetune.drawing.view import View

BOX_TOP = -0.42
"""Where the box of a face begins: at the hairline; it ends at the chin and at the cheeks."""


def draw_person(
    character: Character, view: View, size: tuple[int, int], middle: tuple[float, float], scale: float
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """A character on a transparent sheet of ``size`` (width, height), and the box of the face.

    ``middle`` is the middle of the head in pixels and ``scale`` the pixels of one unit, half the width of the head.
    The box (x0, y0, x1, y1) runs from the hairline to the chin and from cheek to cheek; it may leave the sheet.
    """
    head = Frame(middle, scale, view.tilt, view.turn, view.nod)
    neck = head([(0.0, 0.86)], 0.1)[0]
    trunk = Frame((float(neck[0]), float(neck[1])), scale, view.tilt * 0.3, view.turn * 0.4)
    canvas = Canvas(size, head, view.weight)

    accessories.behind(canvas, character, view)
    hair_behind.back(canvas, character, view)
    canvas.frame = trunk
    clothes.body(canvas, character, view)
    accessories.around_neck(canvas, character, view)
    canvas.frame = head
    outline = features.face_outline(view.turn)
    _face(canvas, character, view, outline)
    hair.shadow(canvas, character, view)
    for side in (-1, 1):
        Eye(canvas, character, view, side).draw()
    accessories.on_face(canvas, character, view)
    if character.fringe == "blunt":
        features.brows(canvas, character, view)
        hair.front(canvas, character, view)
    else:
        hair.front(canvas, character, view)
        features.brows(canvas, character, view)
    accessories.on_head(canvas, character, view)

    x, y = head(outline[outline[:, 1] >= BOX_TOP], features.face_depth).T
    return canvas.finished(), (float(x.min()), float(y.min()), float(x.max()), float(y.max()))


def _face(canvas: Canvas, character: Character, view: View, outline: Points) -> None:
    skin, line = character.skin, deeper(character.skin, 0.55)
    if character.ears:
        for side in (-1, 1):
            if side * view.turn < 0.14:
                canvas.shape(ellipse(side * 0.88, 0.28, 0.12, 0.2), skin, line, 0.2)
                canvas.stroke(ellipse(side * 0.89, 0.27, 0.055, 0.11, 120, 330), deeper(skin, 0.3), 0.02, 0.2)
    canvas.shape(outline, skin, line, features.face_depth)
    features.blush(canvas, character, view)
    features.nose(canvas, character, view)
    features.mouth(canvas, character, view)
