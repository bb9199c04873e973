"""An eye: white, iris with its lights, lashes; open, half closed, closed or laughing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from finetune.drawing.canvas import Canvas, Points, ellipse, lock, smooth
from finetune.drawing.characters import Character
from finetune.drawing.colours import darker, deeper, lighter, mix
from finetune.drawing.features import EYE_HALF_HEIGHT, EYE_HALF_WIDTH, EYE_X, EYE_Y, INK, WHITE, far_width
from finetune.drawing.view import View

UPPER_LID = ((-0.96, 0.08), (-0.76, -0.5), (-0.28, -0.9), (0.32, -0.96), (0.82, -0.52), (1.0, 0.08))
LOWER_LID = ((1.0, 0.08), (0.86, 0.6), (0.36, 0.95), (-0.3, 0.96), (-0.76, 0.62), (-0.96, 0.08))


class Eye:
    """Local coordinates of one eye: u from the nose (-1) outwards (1), v from the upper lid (-1) to the lower (1)."""

    def __init__(self, canvas: Canvas, character: Character, view: View, side: int) -> None:
        self.canvas, self.character, self.view, self.side = canvas, character, view, side
        width, height, self.slant = character.eye
        self.openness = view.open[0 if side < 0 else 1]
        self.half_width = EYE_HALF_WIDTH * width * far_width(side, view.turn)
        self.half_height = EYE_HALF_HEIGHT * height
        self.middle = (side * (EYE_X - 0.05 * max(0.0, side * view.turn) / 0.3), EYE_Y)
        self.depth = 0.86

    def at(self, points: ArrayLike) -> Points:
        u, v = np.asarray(points, float).T
        x = self.middle[0] + self.side * u * self.half_width
        return np.stack([x, self.middle[1] + v * self.half_height - self.slant * u], axis=1)

    def draw(self) -> None:
        if self.openness <= 0:
            self._closed()
        else:
            self._open()

    def _open(self) -> None:
        canvas, openness = self.canvas, self.openness
        upper = [(u, v if v > 0.2 else 0.2 + (v - 0.2) * openness) for u, v in UPPER_LID]
        rim = self.at(np.concatenate([smooth(upper), smooth(LOWER_LID)]))
        canvas.shape(rim, (252, 250, 252), depth=self.depth)
        with canvas.inside(rim, self.depth):
            self._iris()
            shadow = [*upper, *((u, v + 0.3) for u, v in reversed(upper))]
            canvas.wash(self.at(shadow), (60, 40, 90), 0.42, self.depth)
            self._glints()
        self._lashes(upper)

    def _iris_middle(self) -> tuple[float, float]:
        return self.view.gaze[0] * self.side - 0.04, self.view.gaze[1] + 0.02

    def _iris(self) -> None:
        canvas, iris = self.canvas, self.character.iris
        x, y = self._iris_middle()
        across, down = 0.72, 0.94
        whole = self.at(ellipse(x, y, across, down))
        canvas.shape(whole, darker(iris, 0.5), depth=self.depth)
        inner = self.at(ellipse(x, y + 0.02, across * 0.86, down * 0.88))
        with canvas.inside(inner, self.depth):
            for step in range(8):
                top = y - down + step * down / 4
                band = self.at([(x - 1, top), (x + 1, top), (x + 1, top + down), (x - 1, top + down)])
                canvas.shape(band, mix(darker(iris, 0.42), lighter(iris, 0.25), step / 7), depth=self.depth)
            canvas.wash(self.at(ellipse(x, y + 0.72, 0.46, 0.36)), lighter(iris, 0.75), 0.6, self.depth)
        canvas.shape(self.at(ellipse(x, y - 0.02, 0.24, 0.4)), darker(iris, 0.75), depth=self.depth)

    def _glints(self) -> None:
        x, y = self._iris_middle()
        glint = self.side * self.view.light * 0.32
        self.canvas.shape(self.at(ellipse(x + glint, y - 0.4, 0.25, 0.26)), WHITE, depth=self.depth)
        self.canvas.shape(self.at(ellipse(x - glint * 0.9, y + 0.44, 0.12, 0.13)), WHITE, depth=self.depth)

    def _lashes(self, upper: list[tuple[float, float]]) -> None:
        canvas, bold = self.canvas, 1.0 if self.character.lashes else 0.72
        ink = mix(INK, darker(self.character.hair, 0.6), 0.35)
        lid = smooth(upper)
        thick = bold * np.interp(np.linspace(0, 1, len(lid)), [0, 0.35, 0.75, 1], [0.09, 0.2, 0.27, 0.2])
        above = lid - np.stack([np.linspace(0.02, -0.06, len(lid)), thick], axis=1)
        wing = [(1.2, -0.3)] if self.character.lashes else [(1.08, -0.05)]
        canvas.shape(self.at(np.concatenate([lid, wing, above[::-1]])), ink, depth=self.depth)
        if self.character.lashes:
            canvas.shape(self.at([(0.62, -0.75), (1.12, -0.78), (0.86, -0.42)]), ink, depth=self.depth)
            canvas.stroke(self.at(smooth([(0.98, 0.3), (0.84, 0.68), (0.45, 0.96)])), ink, 0.028, self.depth)
        canvas.stroke(self.at(smooth(LOWER_LID[2:5])), mix(ink, self.character.skin, 0.45), 0.018, self.depth)
        crease = [(u * 0.9, v - 0.34) for u, v in upper[1:5]]
        canvas.stroke(self.at(smooth(crease)), deeper(self.character.skin, 0.35), 0.016, self.depth)

    def _closed(self) -> None:
        ink = mix(INK, darker(self.character.hair, 0.6), 0.35)
        bend = -1 if self.view.happy else 1
        middle = 0.25 if self.view.happy else 0.35
        spine = [(-1.0, middle - bend * 0.1), (-0.5, middle + bend * 0.22), (0.1, middle + bend * 0.34)]
        spine += [(0.65, middle + bend * 0.16), (1.05, middle - bend * 0.28)]
        self.canvas.shape(self.at(lock(spine, 0.22, root=0.35, tip=0.4, belly=0.65)), ink, depth=self.depth)
        if self.character.lashes and not self.view.happy:
            for u in (0.4, 0.72):
                hair = [(u, middle + 0.25), (u + 0.22, middle + 0.55 - 0.3 * (u - 0.4))]
                self.canvas.stroke(self.at(hair), ink, 0.026, self.depth)
