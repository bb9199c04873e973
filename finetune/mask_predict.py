"""Where faces are, by a model of the facemask recipe: their share of a picture, and the probability drawn over it.

Such a model's metadata: {"format": 1, "kind": "mask", "size": [height, width], "resize": "bicubic"}; its graph takes
"picture" uint8 (N, H, W, 3) RGB, best resized to that size, and gives "mask" float32 (N, H, W), 0..1. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from caffe2torch.errors import DataError, ModelError, OutputError
from caffe2torch.files import same
from caffe2torch.pictures import load_picture
from finetune.detection.overlay import write_overlay
from finetune.detection.sources import shown_name
from finetune.overlays import overlaid
from finetune.predict import Prediction
from finetune.runtime import INPUT, Opened, open_session, positive, read_said, reading_metadata

MASK = "mask"
LARGEST = 4096  # pixels of a side that is fed


@dataclass(frozen=True)
class MaskModel:
    """An open model of the facemask recipe."""

    opened: Opened
    size: tuple[int, int]  # (height, width) that pictures are resized to, bicubic

    def mask(self, picture: np.ndarray) -> np.ndarray:
        """How probable it is at every pixel of a picture, uint8 (H, W, 3), that it is of a face: float32 (H, W), 0..1.

        Raises ModelError if the model fails or gives what is no probability.
        """
        height, width = self.size
        fed = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
        (masks,) = self.opened.run([MASK], {INPUT: fed[None]})
        if masks.shape != (1, height, width) or not (masks.min() >= -0.001 and masks.max() <= 1.001):
            raise ModelError(f"{self.opened.path}: gives no mask of probabilities; it is damaged or of another kind")
        shown = Image.fromarray(masks[0]).resize((picture.shape[1], picture.shape[0]), Image.Resampling.BILINEAR)
        return np.asarray(shown)

    def __str__(self) -> str:
        return f"{self.opened.path}: a mask of faces, {self.size[1]} x {self.size[0]}, {self.opened.place()}"


def open_mask(path: Path, provider: str = "auto", threads: int | None = None) -> MaskModel:
    """Open a model of the facemask recipe; arguments and errors as in finetune.runtime.open_session."""
    path = Path(path)
    said = read_said(path, "mask")
    with reading_metadata(path):
        height, width = (positive(number) for number in said["size"])
        if max(height, width) > LARGEST:
            raise ValueError(f"size {said['size']!r}")
        if said["resize"] != "bicubic":
            raise ModelError(f"{path}: wants pictures resized by {said['resize']!r}, which is not known here")
    return MaskModel(open_session(path, provider, threads), (height, width))


def predict_masks(
    model: MaskModel, pictures: Iterable[Path | Prediction], roots: Sequence[Path], overlay: Path | None
) -> Iterator[Prediction]:
    """For each picture the class "face", with the share of the picture's pixels that are more probably face than not.

    With ``overlay`` the pictures are written there, tinted by the probability, each as it is called below that of
    ``roots`` that it lies in. A picture that cannot be read gives a Prediction with ``error``. Raises OutputError
    where two pictures would have one name there, or one would take the place of itself.
    """
    written: set[Path] = set()
    for picture in pictures:
        if isinstance(picture, Prediction):
            yield picture
            continue
        try:
            pixels = load_picture(picture)
        except DataError as error:
            yield Prediction(picture, error=str(error).removeprefix(f"{picture}: "))
            continue
        mask = model.mask(pixels)
        if overlay is not None:
            target = overlay / shown_name(_place(picture, roots))
            if target in written or same(target, picture):
                what = "another picture was written there" if target in written else "is what is read"
                raise OutputError(f"{target}: {what}; --overlay names another folder")
            written.add(target)
            write_overlay(target, Image.fromarray(overlaid(pixels, mask)))
        yield Prediction(picture, (("face", float((mask >= 0.5).mean())),))


def _place(picture: Path, roots: Sequence[Path]) -> PurePath:
    below = [picture.relative_to(root) for root in roots if root.is_dir() and picture.is_relative_to(root)]
    return below[0] if below else PurePath(picture.name)
