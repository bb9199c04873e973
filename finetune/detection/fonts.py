"""Fonts for names in any script: Pillow's own, the system's where its glyphs do not do, or one that is given."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2torch.errors import DataError
from caffe2torch.terminal import note

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Files with Japanese, Chinese and Korean glyphs as Linux, macOS and Windows have them; Pillow looks in the system's
# folders of fonts.
WIDE = (
    "NotoSansCJK-Regular.ttc", "NotoSansJP-Regular.ttf", "NotoSansJP-Regular.otf", "ipaexg.ttf", "ipag.ttf",
    "fonts-japanese-gothic.ttf", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "ヒラギノ角ゴシック W3.ttc",
    "Hiragino Sans GB.ttc", "AppleGothic.ttf", "YuGothM.ttc", "meiryo.ttc", "msgothic.ttc", "msyh.ttc", "malgun.ttf",
    "DejaVuSans.ttf", "arial.ttf", "Arial Unicode.ttf",
)  # fmt: skip
ABSENT = "\U0010fffe"  # no font has a glyph for it: what is drawn is the box that stands for any missing glyph


class Fonts:
    """Finds for each text a font that has its glyphs; what no font has is drawn as ``?`` and noted once."""

    def __init__(self, given: Path | None = None) -> None:
        """Raises DataError if ``given`` is no font that FreeType reads."""
        self._given = given
        self._noted: set[str] = set()
        self._lock = threading.Lock()
        if given is not None and _truetype(str(given), 12) is None:
            raise DataError(f"{given}: not a font that can be read (TrueType, OpenType, or a collection of them)")

    def of(self, text: str, size: int) -> tuple[str, Any]:
        """(the text as it can be drawn on one line, a font of ``size`` pixels for it)."""
        text = " ".join(text.split())
        best: tuple[int, Any] | None = None
        for name in self._names():
            font = _truetype(name, size) if name else _own(size)
            if font is None:
                continue
            missing = sum(not _has(name, letter) for letter in text)
            if not missing:
                return text, font
            if best is None or missing < best[0]:
                best = missing, name
        name = best[1] if best else ""
        self._note("".join(letter for letter in text if not _has(name, letter)))
        drawn = "".join(letter if _has(name, letter) else "?" for letter in text)
        return drawn, _truetype(name, size) if name else _own(size)

    def _names(self) -> tuple[str, ...]:
        """What is tried, in order; "" is Pillow's own."""
        return (*((str(self._given),) if self._given else ()), "", *WIDE)

    def _note(self, missing: str) -> None:
        with self._lock:
            new = [letter for letter in dict.fromkeys(missing) if letter not in self._noted]
            self._noted.update(new)
        if new:
            note(f"no font here has {''.join(new)}: drawn as ?; --font FILE takes another font")


@functools.cache
def _truetype(name: str, size: int) -> FreeTypeFont | None:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, size)
    except (OSError, ValueError):
        return None


@functools.cache
def _own(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


@functools.cache
def _has(name: str, letter: str) -> bool:
    """Whether the font draws something else than its box for what it lacks."""
    if letter == " ":
        return True
    font = _truetype(name, 24) if name else _own(24)
    return font is not None and _drawn(font, letter) != _drawn(font, ABSENT)


def _drawn(font: Any, letter: str) -> bytes:
    mask = font.getmask(letter)
    return bytes(mask) + repr(mask.size).encode()
