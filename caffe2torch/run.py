"""`caffe2torch run`: a converted net on a picture, with its preprocessing, in onnxruntime."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch import folder, onnx_file, onnx_model
from caffe2torch.answers import DETECTIONS, Answer, Boxes, Classes, FeatureMap, Mask, Numbers, Picture, interpret
from caffe2torch.errors import CaffeError, FileError, OutputError
from caffe2torch.files import beside, refuse
from caffe2torch.folder import Converted
from caffe2torch.preprocess import LUMA, Preprocessing

if TYPE_CHECKING:
    from PIL import Image

KEEPING = ("Dropout", "Power", "ReLU", "Split")
# Distinct hues, for boxes and masks; class 0 is background.
COLOURS = ("#000000", "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#ffe119")


@dataclass(frozen=True)
class Run:
    """What a net answered about one picture; ``drawn`` is the file that shows it, if it is a thing to see."""

    answers: tuple[Answer, ...]
    assumed: tuple[str, ...]
    drawn: Path | None

    def text(self, labels: Sequence[str] = ()) -> str:
        """The answers as a person reads them."""
        lines: list[str] = []
        for answer in self.answers:
            lines += _lines(answer, labels)
        if self.drawn is not None:
            lines.append(f"drawn: {self.drawn}")
        return "\n".join(lines)


def run(
    net: Path,
    picture: Path,
    out: Path | None = None,
    confidence: float = 0.5,
    top_k: int = 5,
    labels: Sequence[str] = (),
    force: bool = False,
) -> Run:
    """Run a folder of `convert` (or the model.onnx in it) on a picture, and draw what there is to be seen.

    ``out``: where to draw; None: PICTURE.NET.png in the working folder, with a number where that is there already.
    Raises CaffeError for a folder, model or picture that cannot be used, and for a net with more than a picture as its
    input; OutputError where ``out`` is no .png, or is there already and not ``force``d.
    """
    from caffe2torch.pictures import load_picture

    if out is not None:
        if out.suffix.lower() != ".png":
            raise OutputError(f"{out}: drawings are PNG; give a name that ends in .png")
        refuse(out, force, [net, picture])
    converted = folder.load(net.parent if net.suffix == ".onnx" else net)
    value = _picture_input(converted)
    pixels = load_picture(picture)
    assumed = []
    if _paints(converted):
        converted, told = _at_size(converted, value.shape[:2] + pixels.shape[:2], net.suffix != ".onnx")
        value = converted.graph.inputs[0]
        assumed += told
    height, width = value.shape[2:]
    resized = load_picture(picture, (height, width))
    preprocessing = converted.preprocessing
    if preprocessing.mean is None:
        assumed.append("the mean is not known, none is subtracted; convert with --mean")
    outputs = _outputs(net, converted, {value.blob: _feed(resized, preprocessing)})
    given, taken = (pixels.shape[0], pixels.shape[1]), (height, width)
    answers = interpret(outputs, _types(converted), given, taken, preprocessing, confidence, top_k)
    if not answers:
        raise CaffeError(f"{net}: its outputs ({', '.join(outputs)}) are no classes, boxes, mask or picture")
    drawn = _draw(answers, pixels, out or _free(picture, converted.config["name"] or "net"), labels)
    return Run(tuple(answers), tuple(assumed), drawn)


def read_labels(path: Path) -> list[str]:
    """Names of classes, one a line. FileError if the file cannot be read or is not text."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not text in UTF-8; the name of a class in each line was expected") from error


def _free(picture: Path, net: str) -> Path:
    """PICTURE.NET.png in the working folder, or the first of PICTURE.NET.2.png, … that is not there yet."""
    plain = re.sub(r"[/\\\x00-\x1f]", "_", net)[:40]  # a file's name has 255 bytes at most
    stem = f"{picture.stem}.{plain}"
    names = (f"{stem}.png" if number == 1 else f"{stem}.{number}.png" for number in count(1))
    return next(path for path in map(Path, names) if not os.path.lexists(path))


def _types(converted: Converted) -> dict[str, str]:
    """The type of the layer that made each blob; behind layers that keep what a map means, the one before them."""
    types: dict[str, str] = {}
    for node in converted.graph.nodes:
        before = types.get(node.inputs[0].blob) if node.inputs else None
        kept = before if node.layer.type in KEEPING else None
        types.update({top.blob: kept or node.layer.type for top in node.outputs})
    return types


def _picture_input(converted: Converted) -> Any:
    pictures = [value for value in converted.graph.inputs if len(value.shape) == 4]
    if len(pictures) != 1 or len(converted.graph.inputs) != 1:
        raise CaffeError(
            f"{converted.path}: takes {', '.join(converted.graph.input_names)}; only a net of one picture can be run so"
        )
    if pictures[0].shape[1] not in (1, 3):
        raise CaffeError(f"{converted.path}: its input has {pictures[0].shape[1]} channels, a picture has 1 or 3")
    return pictures[0]


def _paints(converted: Converted) -> bool:
    """Whether all that a net gives is a picture, as upscalers do."""
    made = [(value.shape, _types(converted).get(value.blob, "")) for value in converted.graph.outputs]
    shape, kind = made[0] if len(made) == 1 else ((), "")
    return (
        len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) > 1 and kind not in (*DETECTIONS, "ArgMax", "Softmax")
    )


def _at_size(converted: Converted, shape: tuple[int, ...], free: bool) -> tuple[Converted, list[str]]:
    """The net for pictures of another size, if it is ``free`` to and can take them; if not, a note that says so."""
    taken = converted.graph.inputs[0].shape
    if taken[2:] == shape[2:]:
        return converted, []
    why = "for which model.onnx was made" if not free else ""
    if free:
        try:
            return converted.cut(converted.graph.output_names[0], shape), []
        except CaffeError:
            why = "as the net takes no other"
    sizes = [f"{size[3]} x {size[2]}" for size in (shape, taken)]
    return converted, [f"the picture was resized from {sizes[0]} to {sizes[1]}, {why}"]


def _feed(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 (H, W, 3) RGB as the net's input, float32 (1, C, H, W)."""
    array = pixels.astype(np.float32)
    if preprocessing.channel_order == "GRAY":
        array = array @ np.array(LUMA, np.float32)[:, None]
    elif preprocessing.channel_order == "BGR":
        array = array[..., ::-1]
    if preprocessing.mean is not None:
        array = array - np.asarray(preprocessing.mean, np.float32)
    return np.ascontiguousarray((array * np.float32(preprocessing.scale)).transpose(2, 0, 1)[None], np.float32)


def _outputs(net: Path, converted: Converted, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if net.suffix != ".onnx":
        model = onnx_model.build(converted.graph, converted.state()).SerializeToString()
    elif not net.is_file():
        raise FileError(f"{net}: no such file; `caffe2torch convert --onnx` makes it")
    else:
        model = onnx_file.read(net).SerializeToString()
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        results = session.run(None, feeds)
    except Exception as error:  # onnxruntime's own exceptions share no base but this
        raise FileError(f"{net}: onnxruntime cannot run it: {str(error).splitlines()[0]}") from error
    names = converted.graph.output_names
    if len(results) != len(names):
        raise FileError(f"{net}: gives {len(results)} outputs, its folder's net {len(names)}; convert the net again")
    return dict(zip(names, results, strict=True))


def _draw(answers: Sequence[Answer], pixels: np.ndarray, out: Path, labels: Sequence[str]) -> Path | None:
    from PIL import Image

    for answer in answers:
        image: Image.Image | None = None
        if isinstance(answer, Boxes):
            image = _with_boxes(Image.fromarray(pixels), answer, labels)
        elif isinstance(answer, Picture):
            image = Image.fromarray(answer.pixels)
        elif isinstance(answer, Mask):
            image = _with_mask(Image.fromarray(pixels), answer)
        if image is not None:
            with beside(out) as temporary:
                image.save(temporary, format="PNG")
            return out
    return None


def _with_boxes(image: Image.Image, answer: Boxes, labels: Sequence[str]) -> Image.Image:
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 250))
    font = ImageFont.load_default(size=max(12, round(max(image.size) / 40)))
    for label, score, box in answer.found:
        colour = COLOURS[1 + (label - 1) % (len(COLOURS) - 1)]
        draw.rectangle(box, outline=colour, width=line)
        text = f"{_label(label, labels)} {score:.2f}"
        left, top, right, bottom = draw.textbbox((box[0], box[1]), text, font=font, anchor="lb")
        shift = max(0, 2 - top)  # a box at the upper edge has its text inside
        draw.rectangle((left - 2, top + shift - 2, right + 2, bottom + shift + 2), fill=colour)
        draw.text((box[0], box[1] + shift), text, fill="white", font=font, anchor="lb")
    return image


def _with_mask(image: Image.Image, answer: Mask) -> Image.Image:
    from PIL import Image, ImageColor

    palette = np.array([ImageColor.getrgb(colour) for colour in COLOURS], np.uint8)
    coloured = Image.fromarray(palette[answer.labels % len(palette)]).resize(image.size, Image.Resampling.NEAREST)
    return Image.blend(image, coloured, 0.5)


def _label(index: int, labels: Sequence[str]) -> str:
    return labels[index] if 0 <= index < len(labels) else f"class {index}"


def _lines(answer: Answer, labels: Sequence[str]) -> list[str]:
    if isinstance(answer, Classes):
        return [f"{answer.blob}:"] + [f"  {score:.4f}  {_label(index, labels)}" for index, score in answer.best]
    if isinstance(answer, Boxes):
        head = f"{answer.blob}: {len(answer.found)} found" if answer.found else f"{answer.blob}: nothing found"
        return [head] + [
            f"  {score:.4f}  {_label(label, labels)}  {', '.join(f'{side:.1f}' for side in box)}"
            for label, score, box in answer.found
        ]
    if isinstance(answer, Mask):
        share = answer.to_json()["share"]
        best = sorted(share.items(), key=lambda item: -item[1])[:5]
        return [f"{answer.blob}: mask"] + [f"  {part:.1%}  {_label(label, labels)}" for label, part in best]
    if isinstance(answer, Numbers):
        some = ", ".join(f"{value:.4f}" for value in answer.values[:10])
        return [f"{answer.blob}: {some}{f', … ({len(answer.values)} numbers)' if len(answer.values) > 10 else ''}"]
    if isinstance(answer, FeatureMap):
        return [f"{answer.blob}: a feature map ({' x '.join(map(str, answer.shape))}): nothing to show"]
    return [f"{answer.blob}: a picture of {answer.pixels.shape[1]} x {answer.pixels.shape[0]}"]
