"""One layer as a net of its own: run in torch, as printed source and in onnxruntime, all of which must agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch.conversion import graph_of
from caffe2torch.schema import message

Arrays = dict[str, np.ndarray]


class OneLayer:
    """Writes the files of a net that is one layer named "layer", converts and runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def convert(self, layer: str, inputs: Mapping[str, np.ndarray], blobs: Sequence[np.ndarray] = ()) -> Any:
        """``layer``: the prototxt's text behind its name; the inputs are its bottoms, in order."""
        text = ['name: "one layer"']
        for name, array in inputs.items():
            dims = " ".join(f"dim: {size}" for size in array.shape)
            text.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
        bottoms = " ".join(f'bottom: "{name}"' for name in inputs)
        text.append(f'layer {{ name: "layer" {bottoms} {layer} }}')
        prototxt = self.folder / "net.prototxt"
        prototxt.write_text("\n".join(text))
        return caffe2torch.convert(self._caffemodel(blobs) if blobs else None, prototxt)

    def _caffemodel(self, blobs: Sequence[np.ndarray]) -> Path:
        net: Any = message("NetParameter")()
        layer = net.layer.add(name="layer")
        for array in blobs:
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.ravel().tolist())
        path = self.folder / "net.caffemodel"
        path.write_bytes(net.SerializeToString())
        return path

    def run(self, layer: str, inputs: Mapping[str, np.ndarray], blobs: Sequence[np.ndarray] = ()) -> Arrays:
        """The outputs by blob: torch's, after the printed source, ONNX and the graph's shapes were found to agree."""
        module = self.convert(layer, inputs, blobs)
        outputs = _in_torch(module, inputs)
        self._same(outputs, _in_source(module, inputs), "printed source")
        self._same(outputs, _in_onnx(module, inputs, self.folder / "net.onnx"), "ONNX")
        for value in graph_of(module).outputs:
            assert outputs[value.blob].shape == value.shape
        return outputs

    def _same(self, outputs: Arrays, others: Arrays, where: str) -> None:
        for blob, output in outputs.items():
            np.testing.assert_allclose(others[blob], output, rtol=1e-5, atol=1e-5, err_msg=f"{blob} in {where}")
            assert others[blob].shape == output.shape


def _named(module: Any, result: Any) -> Arrays:
    results = result if isinstance(result, (tuple, list)) else (result,)
    return {name: np.asarray(array) for name, array in zip(module.output_names, results, strict=True)}


def _in_torch(module: Any, inputs: Mapping[str, np.ndarray]) -> Arrays:
    import torch

    with torch.no_grad():
        return _named(module, module(*(torch.from_numpy(inputs[name]) for name in module.input_names)))


def _in_source(module: Any, inputs: Mapping[str, np.ndarray]) -> Arrays:
    namespace: dict[str, Any] = {"__name__": "model"}
    exec(compile(caffe2torch.to_source(module), "model.py", "exec"), namespace)
    printed = namespace["Model"]().eval()
    printed.load_state_dict(module.state_dict(), strict=True)
    return _in_torch(printed, inputs)


def _in_onnx(module: Any, inputs: Mapping[str, np.ndarray], path: Path) -> Arrays:
    import onnx
    import onnxruntime

    caffe2torch.to_onnx(module, path)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return _named(module, session.run(None, {name: inputs[name] for name in module.input_names}))


@pytest.fixture
def one_layer(tmp_path: Path) -> OneLayer:
    """A net of one layer in a folder of its own."""
    return OneLayer(tmp_path)


@pytest.fixture
def refused(one_layer: OneLayer) -> Callable[..., str]:
    """The words of the error with which a net of one layer is refused."""

    def refuse(layer: str, *shapes: tuple[int, ...], blobs: Sequence[np.ndarray] = ()) -> str:
        inputs = {f"in{index}": np.zeros(shape, np.float32) for index, shape in enumerate(shapes)}
        with pytest.raises(caffe2torch.CaffeError) as caught:
            one_layer.convert(layer, inputs, blobs)
        return str(caught.value)

    return refuse
