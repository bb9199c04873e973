"""Pictures with boxes as pictures with masks: Dataset -> Rescale -> ConvertGroundTruth -> ToTensor -> DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from caffe2torch.errors import DataError
from caffe2torch.pictures import load_picture
from finetune.augmentation import chances, chosen_to_mirror
from finetune.data.batches import Batch
from finetune.data.boxes import BoxedPicture
from finetune.data.folders import LabelledPictures
from finetune.inputs import Plan


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture on its way: uint8 (H, W, 3), its boxes float32 (K, 4), and once it is made the mask uint8 (H, W)."""

    picture: np.ndarray
    boxes: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Rescale:
    """The whole picture resized to ``size`` (height, width), bicubic, and the boxes with it."""

    size: tuple[int, int]

    def __call__(self, sample: Sample) -> Sample:
        height, width = sample.picture.shape[:2]
        to_height, to_width = self.size
        resized = Image.fromarray(sample.picture).resize((to_width, to_height), Image.Resampling.BICUBIC)
        factors = np.array([to_width / width, to_height / height] * 2, np.float32)
        return replace(sample, picture=np.array(resized), boxes=sample.boxes * factors)


@dataclass(frozen=True)
class ConvertGroundTruth:
    """Boxes into a mask: 1 at every pixel whose middle lies in a box, else 0."""

    def __call__(self, sample: Sample) -> Sample:
        mask = np.zeros(sample.picture.shape[:2], np.uint8)
        for x0, y0, x1, y1 in np.rint(sample.boxes).clip(min=0).astype(int).tolist():
            mask[y0:y1, x0:x1] = 1
        return replace(sample, mask=mask)


@dataclass(frozen=True)
class ToTensor:
    """The picture as uint8 [H, W, 3], the mask as int64 [H, W]."""

    def __call__(self, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        assert sample.mask is not None
        return torch.from_numpy(sample.picture), torch.from_numpy(sample.mask).long()


class BoxDataset(Dataset[Any]):
    """Pictures read from their paths when they are asked for, with their boxes; a reason in words where that fails."""

    def __init__(self, pictures: Sequence[BoxedPicture], steps: Sequence[Callable[[Any], Any]]) -> None:
        self.pictures = pictures
        self.steps = steps

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> Any:
        boxed = self.pictures[place]
        try:
            found: Any = Sample(load_picture(boxed.path), boxed.boxes)
        except DataError as error:
            return str(error)
        for step in self.steps:
            found = step(found)
        return found


@dataclass
class Masks:
    """Batches of pictures uint8 [N, H, W, 3] and masks int64 [N, H, W]; finetune.inputs.Inputs."""

    boxed: dict[Path, BoxedPicture]
    size: tuple[int, int]
    workers: int
    mirror: bool
    part: tuple[int, int] = (0, 1)
    passes: int = 0  # through a trunk: there is none

    def batches(self, pictures: LabelledPictures, plan: Plan, random: torch.Generator | None = None) -> Iterator[Batch]:
        """As Inputs says; a picture is mirrored with its mask."""
        place, of = self.part
        for indices, samples in zip(
            plan, self._loaded(pictures, [list(each[place::of]) for each in plan]), strict=True
        ):
            for reason in (sample for sample in samples if isinstance(sample, str)):
                raise DataError(f"{reason} (it could be read when the run began)")
            images, masks = (torch.stack(parts) for parts in zip(*samples, strict=True))
            if random is not None and self.mirror:
                flip = chosen_to_mirror(chances(len(indices), random)[:, place::of])
                images = torch.where(flip[:, None, None, None], images.flip(2), images)
                masks = torch.where(flip[:, None, None], masks.flip(2), masks)
            yield Batch(images, masks)

    def _loaded(self, pictures: LabelledPictures, plan: Plan) -> Iterator[list[Any]]:
        boxed = [self.boxed[path] for path in pictures.paths if isinstance(path, Path)]
        steps = (Rescale(self.size), ConvertGroundTruth(), ToTensor())
        yield from _loader(BoxDataset(boxed, steps), plan, self.workers)


def streamed(pictures: Sequence[BoxedPicture], steps: Sequence[Callable[[Any], Any]], workers: int) -> Iterator[Any]:
    """Each picture after its ``steps``, in order, or the reason in words why it cannot be read."""
    for (sample,) in _loader(BoxDataset(pictures, steps), [[place] for place in range(len(pictures))], workers):
        yield sample


def _loader(dataset: BoxDataset, plan: Plan, workers: int) -> DataLoader[Any]:
    own = torch.Generator().manual_seed(0)  # the number of workers must not move the global one
    return DataLoader(dataset, batch_sampler=plan, num_workers=workers, collate_fn=list, generator=own)  # type: ignore[arg-type]
