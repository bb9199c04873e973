"""Nets written down in a test: read, resolved, and run in torch, as printed source and in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from hypothesis import HealthCheck, settings

import caffe2torch
from caffe2torch.conversion import graph_of
from caffe2torch.graph import BATCH, Graph, resolve
from caffe2torch.schema import message

Arrays = dict[str, np.ndarray]
CONV = 'convolution_param { num_output: 2 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } }'


def examples(count: int) -> settings:
    """So many examples, the same ones every time; how slow the machine is does not matter."""
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def given(blob: str, *shape: int) -> str:
    """An Input layer."""
    dims = " ".join(f"dim: {size}" for size in shape)
    return f'layer {{ name: "{blob}" type: "Input" top: "{blob}" input_param {{ shape {{ {dims} }} }} }}'


def layer(name: str, kind: str, bottoms: str | Sequence[str], tops: str | Sequence[str], more: str = "") -> str:
    """A layer; blob names in one string are separated by spaces."""
    lower, upper = (part.split() if isinstance(part, str) else part for part in (bottoms, tops))
    blobs = [f'bottom: "{blob}"' for blob in lower] + [f'top: "{blob}"' for blob in upper]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {more} }}'


def write(folder: Path, *lines: str, name: str = "net") -> Path:
    """The prototxt of these layers."""
    path = folder / f"{name}.prototxt"
    path.write_text("\n".join([f'name: "{name}"', *lines]), encoding="utf-8")
    return path


def graph(folder: Path, *lines: str, **options: Any) -> Graph:
    """The resolved graph of these layers."""
    return resolve(caffe2torch.load_net(None, write(folder, *lines)), **options)


def module(folder: Path, *lines: str, **options: Any) -> Any:
    """The torch module of these layers, with weights as their fillers say."""
    return caffe2torch.convert(None, write(folder, *lines), **options)


def caffemodel(path: Path, blobs: Mapping[str, Sequence[np.ndarray]], kind: str = "Convolution") -> Path:
    """A file of weights by layer name."""
    net: Any = message("NetParameter")()
    for name, arrays in blobs.items():
        entry = net.layer.add(name=name, type=kind)
        for array in arrays:
            blob = entry.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.ravel().tolist())
    path.write_bytes(net.SerializeToString())
    return path


def trained(path: Path, last: str = "Softmax", shape: Sequence[int] = (1, 3, 8, 8)) -> Path:
    """A caffemodel that holds a small net and its weights: conv, relu, pool, fc, and "prob" of type ``last``."""
    generator = np.random.default_rng(1)
    net: Any = message("NetParameter")(name="small")
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add().dim.extend(shape)
    conv = net.layer.add(name="conv", type="Convolution", bottom=["data"], top=["conv"])
    conv.convolution_param.num_output = 4
    conv.convolution_param.kernel_size.append(3)
    net.layer.add(name="relu", type="ReLU", bottom=["conv"], top=["conv"])
    pool = net.layer.add(name="pool", type="Pooling", bottom=["conv"], top=["pool"])
    pool.pooling_param.kernel_size = pool.pooling_param.stride = 2
    fc = net.layer.add(name="fc", type="InnerProduct", bottom=["pool"], top=["fc"])
    fc.inner_product_param.num_output = 5
    net.layer.add(name="prob", type=last, bottom=["fc"], top=["prob"])
    for entry, sizes in ((conv, (4, shape[1], 3, 3)), (conv, (4,)), (fc, (5, 36)), (fc, (5,))):
        blob = entry.blobs.add()
        blob.shape.dim.extend(sizes)
        blob.data.extend(0.03 * generator.standard_normal(int(np.prod(sizes))))
    path.write_bytes(net.SerializeToString())
    return path


def sample(converted: Any, seed: int = 0) -> Arrays:
    """Inputs from a normal distribution, by blob."""
    generator = np.random.default_rng(seed)
    return {
        value.blob: generator.standard_normal(value.shape).astype(np.float32) for value in graph_of(converted).inputs
    }


def run(converted: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs in order, from torch."""
    with torch.no_grad():
        result = converted(*(torch.from_numpy(feeds[name].copy()) for name in converted.input_names))
    return [value.numpy() for value in (result if isinstance(result, tuple) else (result,))]


def printed(converted: Any) -> Any:
    """An instance of the printed class with the module's weights."""
    namespace: dict[str, Any] = {"__name__": "model"}
    exec(compile(caffe2torch.to_source(converted), "model.py", "exec"), namespace)
    model = namespace["Model"]().eval()
    model.load_state_dict(converted.state_dict(), strict=True)
    return model


def session(model: Path | bytes) -> Any:
    """onnxruntime on the CPU, quiet."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def agree(converted: Any, folder: Path, feeds: Mapping[str, np.ndarray] | None = None) -> list[np.ndarray]:
    """The outputs, after torch = printed source = onnxruntime and shape() were found to hold."""
    feeds = sample(converted) if feeds is None else feeds
    path = folder / "net.onnx"
    caffe2torch.to_onnx(converted, path)
    onnx.checker.check_model(str(path), full_check=True)
    results = run(converted, feeds)
    others = {
        "printed source": run(printed(converted), feeds),
        "ONNX": session(path).run(None, {name: feeds[name] for name in converted.input_names}),
    }
    for where, values in others.items():
        for name, value, want in zip(converted.output_names, values, results, strict=True):
            largest = max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0)))
            np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-4 * largest, err_msg=f"{name} in {where}")
            assert value.shape == want.shape, f"{name} in {where}"
    for value, result in zip(graph_of(converted).outputs, results, strict=True):
        selected = value.rows_axis if value.rows not in ("", BATCH) else None  # how many there are, the data tells
        sizes = [size if axis != selected else result.shape[axis] for axis, size in enumerate(value.shape)]
        assert tuple(sizes) == result.shape, value
    return results
