"""How long a net takes by its number of layers, and a file by its number of bytes.

usage: python benchmarks/scale.py [--layers 500 1000 2000 5000] [--megabytes 1 10 100 1000 2000] [--repeat 3]

Two kinds of nets are generated: a ResNet (convolutions of 1 x 1, BatchNorm, Scale, ReLU, sums) and a chain of
convolutions and ReLUs. Each step is timed in a process of its own, as processor time, which other programs on the
machine disturb less than they do wall time; the least of several runs counts. The files of so many bytes hold one
weight of zeros, for which the disk keeps no blocks.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHANNELS = 4

STEPS = """
import json, resource, sys, time
from pathlib import Path
model, out, heavy = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "1"
import numpy as np
from caffe2torch import onnx_model, registry, safetensors_file, torch_source, weights
from caffe2torch.graph import resolve
from caffe2torch.kept import Kept
from caffe2torch.reader import load_net
import onnx, onnx.shape_inference, onnx.numpy_helper
registry.load_all()
times, last = {}, time.process_time()
def told(step):
    global last
    now = time.process_time()
    times[step] = now - last
    last = time.process_time()
net = load_net(model)
told("read")
graph = resolve(net)
told("resolve")
text = torch_source.source(graph)
told("print")
safetensors_file.write(out / "w", Kept(graph).tensors, dict)
told("write weights")
state = weights.state_dict(graph)
last = time.process_time()
onnx_model.save(graph, state, out / "net.onnx")
told("write ONNX")
if heavy:
    import torch
    torch.set_num_threads(1)
    from caffe2torch.conversion import build
    last = time.process_time()
    module = build(graph, state)
    told("build torch")
    x = torch.zeros(graph.inputs[0].shape)
    with torch.no_grad():
        module(x)
        last = time.process_time()
        module(x)
        told("forward")
print(json.dumps(times))
"""

LOAD = """
import sys, time
from caffe2torch import registry
from caffe2torch.reader import load_net
registry.load_all()
load_net(sys.argv[1])
begin = time.process_time()
load_net(sys.argv[1])
print(time.process_time() - begin)
"""


def layers(kind: str, count: int) -> Iterator[tuple[str, str, list[str], str]]:
    """Name, type, bottoms and top of each layer."""
    blob, number = "data", 0
    while True:
        if kind == "chain":
            yield f"conv{number}", "Convolution", [blob], (blob := f"conv{number}")
            yield f"relu{number}", "ReLU", [blob], blob
        else:
            start, top = blob, f"res{number}a"
            for branch in "ab":
                top = f"res{number}{branch}"
                yield top, "Convolution", [blob], top
                yield f"bn{number}{branch}", "BatchNorm", [top], top
                yield f"scale{number}{branch}", "Scale", [top], top
                if branch == "a":
                    yield f"relu{number}a", "ReLU", [top], top
                blob = top
            blob = f"res{number}"
            yield blob, "Eltwise", [start, top], blob
            yield f"relu{number}", "ReLU", [blob], blob
        number += 1


def write_net(path: Path, kind: str, count: int) -> None:
    """A caffemodel of ``count`` layers, with weights."""
    import numpy as np

    from caffe2torch.schema import message

    generator = np.random.default_rng(1)
    net: Any = message("NetParameter")(name=kind)
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add().dim.extend((1, CHANNELS, 4, 4))
    shapes = {
        "Convolution": [(CHANNELS, CHANNELS, 1, 1), (CHANNELS,)],
        "BatchNorm": [(CHANNELS,), (CHANNELS,), (1,)],
        "Scale": [(CHANNELS,), (CHANNELS,)],
    }
    for (name, type_name, bottoms, top), _ in zip(layers(kind, count), range(count), strict=False):
        entry = net.layer.add(name=name, type=type_name, bottom=bottoms, top=[top])
        if type_name == "Convolution":
            entry.convolution_param.num_output = CHANNELS
            entry.convolution_param.kernel_size.append(1)
        elif type_name == "Scale":
            entry.scale_param.bias_term = True
        for shape in shapes.get(type_name, []):
            blob = entry.blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.extend(generator.uniform(0.1, 0.5, int(np.prod(shape))))
    path.write_bytes(net.SerializeToString())


def write_bytes(path: Path, megabytes: int) -> None:
    """A caffemodel of one InnerProduct whose weight is so large; a hole in the file."""
    from caffe2torch.schema import message
    from caffe2torch.wire import varint

    rows = megabytes * 250_000 // 1000
    net: Any = message("NetParameter")(name="one")
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add().dim.extend((1, 1000))
    layer: Any = message("LayerParameter")(name="fc", type="InnerProduct", bottom=["data"], top=["fc"])
    layer.inner_product_param.num_output = rows
    layer.inner_product_param.bias_term = False
    shape: Any = message("BlobProto")()
    shape.shape.dim.extend((rows, 1000))
    numbers = 4 * rows * 1000
    blob = shape.SerializeToString() + varint(5 << 3 | 2) + varint(numbers)
    head = layer.SerializeToString() + varint(7 << 3 | 2) + varint(len(blob) + numbers) + blob
    with path.open("wb") as file:
        file.write(net.SerializeToString() + varint(100 << 3 | 2) + varint(len(head) + numbers) + head)
        file.truncate(file.tell() + numbers)


def least(program: str, repeat: int, *arguments: str) -> Any:
    """The least of several runs, step by step."""
    runs = []
    for _ in range(repeat):
        words = [sys.executable, "-c", program, *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, env=environment)
        runs.append(json.loads(done.stdout))
    if isinstance(runs[0], dict):
        return {step: min(run[step] for run in runs) for step in runs[0]}
    return min(runs)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[500, 1000, 2000, 5000])
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 10, 100, 1000, 2000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-torch", action="store_true", help="leave out the steps that need torch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(
            f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        for kind in ("ResNet", "chain"):
            by_layers(folder, kind.lower(), kind, options)
        by_bytes(folder, options)


def by_layers(folder: Path, kind: str, title: str, options: argparse.Namespace) -> None:
    """Microseconds a layer of each step, and how they grow from the fewest layers to the most."""
    found = []
    for count in options.layers:
        write_net(folder / "net.caffemodel", kind, count)
        heavy = "0" if options.no_torch else "1"
        found.append(least(STEPS, options.repeat, str(folder / "net.caffemodel"), str(folder), heavy))
    print(f"\n{title}: processor time a layer in µs\n")
    print(f"| step | {' | '.join(f'{count:,} layers' for count in options.layers)} | growth |")
    print(f"| --- |{' --- |' * (len(options.layers) + 1)}")
    for step in found[0]:
        each = [1e6 * run[step] / count for run, count in zip(found, options.layers, strict=True)]
        print(f"| {step} | {' | '.join(f'{time:.0f}' for time in each)} | {each[-1] / each[0]:.2f} |")


def by_bytes(folder: Path, options: argparse.Namespace) -> None:
    """Milliseconds that load_net takes."""
    print("\nload_net, by the size of the file\n\n| MB | ms |\n| --- | --- |")
    for megabytes in options.megabytes:
        write_bytes(folder / "one.caffemodel", megabytes)
        print(f"| {megabytes:,} | {1e3 * least(LOAD, options.repeat, str(folder / 'one.caffemodel')):.1f} |")


if __name__ == "__main__":
    main()
