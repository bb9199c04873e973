"""How large the inputs are: as asked for, as the net says, as a known net has it, or as its layers imply."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING

from caffe2torch import known, limits
from caffe2torch.checks import check_size
from caffe2torch.errors import ShapeError
from caffe2torch.net import Net, Shape
from caffe2torch.registry import LayerError
from caffe2torch.wiring import Wire

if TYPE_CHECKING:
    from caffe2torch.resolver import Resolver


@dataclass
class InputShapes:
    """Finds the shape of every input; what had to be assumed is told in ``notes``.

    ``resolver`` says whether the layers up to the first InnerProduct, whose weights tell how much they must give it,
    take an input of a shape.
    """

    net: Net
    readers: Mapping[str, Sequence[Wire]]  # input blob -> the layers that read it
    resolver: Resolver
    notes: list[str] = field(default_factory=list)

    def find(self, blobs: Sequence[str], override: Shape | Mapping[str, Shape] | None = None) -> dict[str, Shape]:
        """Shapes of these inputs. ``override`` is the first one's shape, or shapes by blob.

        Raises ShapeError for an input whose size nothing tells, and for an override of a blob that is no input.
        """
        given = self._given(override, blobs)
        declared = {entry.blob: entry.shape for entry in self.net.inputs}
        found = {blob: given[blob] if blob in given else self._known(blob, declared[blob]) for blob in blobs}
        for blob, shape in found.items():
            try:
                check_size(f"input {blob!r}", shape)
            except LayerError as error:
                raise ShapeError(f"{self.net.path}: {error}") from error
        return found

    def _given(self, override: Shape | Mapping[str, Shape] | None, blobs: Sequence[str]) -> dict[str, Shape]:
        if override is None:
            return {}
        if not isinstance(override, Mapping):
            if not blobs:
                raise ShapeError(f"{self.net.path}: input_shape is given, but what is asked for needs no input")
            override = {blobs[0]: override}
        names = [entry.blob for entry in self.net.inputs]
        unknown = [blob for blob in override if blob not in names]
        if unknown:
            raise ShapeError(
                f"{self.net.path}: input_shape names {unknown[0]!r}, but the inputs are {', '.join(names)}"
            )
        shapes = {blob: tuple(int(size) for size in shape) for blob, shape in override.items()}
        for blob, shape in shapes.items():
            if any(size < 1 for size in shape):
                raise ShapeError(f"{self.net.path}: input_shape {shape} of {blob!r}: sizes must be at least 1")
        return shapes

    def _known(self, blob: str, declared: Shape | None) -> Shape:
        if declared is not None and all(size > 0 for size in declared):
            return declared
        shape = self._published(blob) or self._cropped(blob) or self._implied(blob)
        if shape is None:
            fault = "is not in the file" if declared is None else f"is {declared} in the file, and a size cannot be 0"
            raise ShapeError(
                f"{self.net.path}: the size of input {blob!r} {fault}; give it: "
                "--input-shape N,C,H,W (input_shape=(1, 3, 224, 224) in Python)"
            )
        return shape

    def _published(self, blob: str) -> Shape | None:
        recognised = known.recognise(self.net)
        channels = self._channels(blob)
        if recognised is None or recognised.preprocessing.size is None or channels is None:
            return None
        shape = (1, channels, *recognised.preprocessing.size)
        if self.resolver.fits(blob, shape) is False:
            return None
        self.notes.append(f"input {blob}: {recognised.size_text()}, as {recognised.title} has it")
        return shape

    def _cropped(self, blob: str) -> Shape | None:
        crop = next((entry.crop for entry in self.net.inputs if entry.blob == blob), 0)
        channels = self._channels(blob)
        return (1, channels, crop, crop) if crop and channels else None

    def _implied(self, blob: str) -> Shape | None:
        for entry in self.readers[blob]:
            if entry.layer.type == "InnerProduct" and entry.layer.blobs:
                outputs = max(entry.layer.param("inner_product_param").num_output, 1)
                return (1, entry.layer.blobs[0].count // outputs)
        channels = self._channels(blob)
        if channels is None:
            return None
        sizes = self._sizes(blob, channels)
        if not sizes:
            return None
        best = max(sizes, key=lambda size: size & -size)  # sizes people choose halve often
        others = f" ({sizes[0]} to {sizes[-1]} would fit as well)" if len(sizes) > 1 else ""
        self.notes.append(f"input {blob}: {best} x {best} assumed from the first InnerProduct's weights{others}")
        return (1, channels, best, best)

    def _sizes(self, blob: str, channels: int) -> Sequence[int]:
        """The first sizes in a row of which the first InnerProduct gets as many numbers as it has weights for."""
        wires = self.resolver.to_product(blob)
        if not wires:
            return ()
        product = wires[-1].layer
        outputs = max(product.param("inner_product_param").num_output, 1)
        wanted = product.blobs[0].count // outputs if product.blobs else 0

        def gives(size: int) -> int:
            return self.resolver.gives(blob, (1, channels, size, size))

        def fits(size: int) -> bool:
            return bool(self.resolver.fits(blob, (1, channels, size, size)))

        every = range(1, limits.SIZES + 1)
        first = bisect_left(every, wanted, key=gives)
        found = every[first : bisect_right(every, wanted, key=gives)]
        if found and fits(found[0]) and fits(found[-1]):
            return found
        if not found and first and gives(every[first - 1]):
            return ()  # one size gives less, the next more
        # Layers that refuse some sizes mislead the search: one after another is tried, as far as that takes no time.
        tried = every[: limits.TRIED // len(wires)]
        return list(takewhile(fits, dropwhile(lambda size: not fits(size), tried)))

    def _channels(self, blob: str) -> int | None:
        for entry in self.readers[blob]:
            blobs = entry.layer.blobs
            if entry.layer.type == "Convolution" and blobs and len(blobs[0].shape) > 1:
                return blobs[0].shape[1] * int(entry.layer.param("convolution_param").group)
        return None
