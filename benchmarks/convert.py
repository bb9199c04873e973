"""Loading and converting the 933 MB Illustration2Vec file: this tool beside others, in one run.

usage: python benchmarks/convert.py [--model illust2vec.caffemodel] [--repeat 5] [--environments build/environments]
                                    [--only WORD]... [--skip WORD]... [--busy]

Without --model the stand-in of the same layout is written first (`caffe2torch sample`). Every other tool runs in an
environment of its own, which is made where it can be had; where not, the table says why. All are whole processes,
start included, one after another in turn and so again, with the file in the page cache and nothing where it is written
to; those that take more than --slow seconds run once. Seconds are the median (and the least), memory is the peak of the
process.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRUNK = 131_266_048  # bytes of the trunk's weights
COPY = """
import os, sys
left = int(sys.argv[3])
with open(sys.argv[1], "rb", 0) as source, open(sys.argv[2], "wb", 0) as target:
    while left and (piece := source.read(min(left, 1 << 22))):
        left -= target.write(piece)
    os.fsync(target.fileno())
os.unlink(sys.argv[2])
"""
LOAD = "import sys; from caffe2torch.reader import load_net; load_net(sys.argv[1])"
CHAINER = "import sys; from chainer.links.caffe import CaffeFunction; CaffeFunction(sys.argv[1])"
OPENCV = "import sys, cv2; cv2.dnn.readNetFromCaffe(sys.argv[2], sys.argv[1])"
PROTOBUF = """
import sys
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
pool = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(open(sys.argv[2], "rb").read()).file:
    pool.Add(file)
net = message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))()
net.ParseFromString(open(sys.argv[1], "rb").read())
"""
NUMPY = (
    PROTOBUF + "import numpy\nkept = [numpy.array(blob.data, numpy.float32) for l in net.layers for blob in l.blobs]\n"
)
TORCH = PROTOBUF + "import torch\nkept = [torch.FloatTensor(blob.data) for l in net.layers for blob in l.blobs]\n"
# The net of the file as text, for OpenCV, which does not take it out of the file. In a process of its own, as the peak
# memory of a child counts from that of its parent.
PROTOTXT = """
import sys
from caffe2torch.reader import load_net
print('name: "i2v" input: "data" input_shape { dim: 1 dim: 3 dim: 224 dim: 224 }')
for layer in load_net(sys.argv[1]).layers:
    if not layer.type.endswith("Loss"):
        print(f'layer {{ name: "{layer.name}" type: "{layer.type}"')
        print(*(f'bottom: "{blob}"' for blob in layer.bottoms), *(f'top: "{blob}"' for blob in layer.tops))
        for message in ("convolution_param", "pooling_param", "inner_product_param"):
            fields = layer.params.get(message, {}).items()
            several = [(name, value if isinstance(value, tuple) else (value,)) for name, value in fields]
            if several:
                print(message, "{", *(f"{name}: {value}" for name, values in several for value in values), "}")
        print("}")
"""


@dataclass
class Entry:
    """One thing that is measured: its words, what it keeps in bytes, and the environment that it wants."""

    title: str
    words: Sequence[str | Path]
    keeps: int | None
    reason: str = ""  # why it cannot be had
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    threads: int = 2


def measure(entry: Entry, limit: float) -> None:
    """Run it once; its peak memory is what the kernel says of that very process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(entry.threads)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as what pip installs is
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(entry.words, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        while True:
            done, status, used = os.wait4(child.pid, os.WNOHANG if limit else 0)
            if done:
                break
            if time.perf_counter() - begin > limit:
                child.kill()
            time.sleep(0.002)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if child.returncode:
        entry.reason = f"more than {limit:.0f} s" if child.returncode == -9 else f"fails: {(said or ['?'])[-1][:100]}"
        return
    entry.seconds.append(seconds)
    entry.megabytes.append(used.ru_maxrss / (1 << 10 if sys.platform == "linux" else 1 << 20))


def environment(folder: Path, name: str, packages: Sequence[str], pythons: Sequence[str] = ()) -> tuple[Path, str]:
    """A virtual environment with packages: its Python, and why it cannot be had; one that is there is used again."""
    python = folder / name / "bin" / "python"
    if (folder / name / "made").exists():
        return python, ""
    base = next(pythons_of(pythons), None) if pythons else sys.executable
    if base is None:
        return python, f"wants {' or '.join(pythons)}, which is not here"
    shutil.rmtree(folder / name, ignore_errors=True)
    print(f"making an environment with {' '.join(packages)}", file=sys.stderr)
    for words in (
        [base, "-m", "venv", folder / name],
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages],
    ):
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        if done.returncode:
            return python, f"cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1][:120]}"
    (folder / name / "made").touch()
    return python, ""


def pythons_of(names: Sequence[str]) -> Iterator[str]:
    """Those of these Pythons that run here."""
    found = [shutil.which(name) for name in names]
    found += [str(path) for name in names for path in Path.home().glob(f".pyenv/versions/{name[6:]}.*/bin/python")]
    for path in filter(None, found):
        if subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0:
            yield path


def entries(model: Path, folder: Path, environments: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    """All of them; environments are made for those that are wanted."""
    ours, program, out = sys.executable, Path(sys.executable).with_name("caffe2torch"), folder / "out"
    size = model.stat().st_size
    convert = [program, "convert", model, "-o", out]
    yield Entry("`cat` to nowhere", ["cat", model], None)
    yield Entry(
        "plain copy of the trunk's 131 MB, fsync", [ours, "-S", "-c", COPY, model, folder / "copy", str(TRUNK)], TRUNK
    )
    yield Entry("plain copy of all 979 MB, fsync", [ours, "-S", "-c", COPY, model, folder / "copy", str(size)], size)
    yield Entry("`import torch` alone", [ours, "-c", "import torch"], None)
    yield Entry("**caffe2torch** `load_net`", [ours, "-c", LOAD, model], None)
    yield Entry("**caffe2torch** `inspect`", [program, "inspect", model], None)
    yield Entry("**caffe2torch** `convert --no-verify`: the trunk", [*convert, "--no-verify"], TRUNK)
    yield Entry("the same with `--onnx`", [*convert, "--no-verify", "--onnx"], 2 * TRUNK)
    yield Entry("the same with `--onnx` and verification", [*convert, "--onnx"], 2 * TRUNK)
    yield Entry("`convert --keep-all --no-verify`", [*convert, "--no-verify", "--keep-all"], size)
    descriptor = ROOT / "caffe2torch" / "caffe.binpb"
    others: list[tuple[str, str, list[str], list[str], list[str | Path]]] = [
        (
            "OpenCV 4 `readNetFromCaffe`",
            "opencv",
            ["opencv-python-headless<5"],
            [],
            [OPENCV, model, folder / "net.prototxt"],
        ),
        (
            "Chainer 7.8.1 `CaffeFunction`",
            "chainer",
            ["chainer==7.8.1", "numpy<1.24", "protobuf<3.21", "setuptools<60"],
            ["python3.10", "python3.9", "python3.8"],
            [CHAINER, model],
        ),
        ("protobuf 7, `numpy.array(blob.data)`", "protobuf", ["protobuf>=7", "numpy"], [], [NUMPY, model, descriptor]),
        (
            "protobuf 4.25, `numpy.array(blob.data)`",
            "protobuf4",
            ["protobuf==4.25.8", "numpy"],
            [],
            [NUMPY, model, descriptor],
        ),
    ]
    for title, name, packages, pythons, words in others:
        if wanted(title):
            python, reason = environment(environments, name, packages, pythons)
            yield Entry(title, [python, "-c", *words], size, reason)
    yield Entry("`torch.FloatTensor(blob.data)`, as caffemodel2pytorch", [ours, "-c", TORCH, model, descriptor], size)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--environments", type=Path, default=ROOT / "build" / "environments")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="those whose title has the word")
    parser.add_argument("--skip", action="append", default=[], metavar="WORD")
    parser.add_argument("--slow", type=float, default=15, help="seconds beyond which something runs once")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which it is stopped")
    parser.add_argument("--busy", action="store_true", help="say that the machine is busy with other things")
    options = parser.parse_args()

    def wanted(title: str) -> bool:
        return (not options.only or any(word in title for word in options.only)) and not any(
            word in title for word in options.skip
        )

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or sample(folder)
        with (folder / "net.prototxt").open("w") as file:
            subprocess.run([sys.executable, "-c", PROTOTXT, model], check=True, stdout=file)
        every = [entry for entry in entries(model, folder, options.environments, wanted) if wanted(entry.title)]
        for turn in range(options.repeat):
            subprocess.run(["cat", model], check=True, stdout=subprocess.DEVNULL)
            for entry in every:
                if not entry.reason and not (entry.seconds and min(entry.seconds) > options.slow):
                    shutil.rmtree(folder / "out", ignore_errors=True)
                    measure(entry, options.limit)
                    print(
                        f"{turn + 1}: {entry.title}: {(entry.seconds or ['-'])[-1]} s {entry.reason}", file=sys.stderr
                    )
    show(every, options)


def sample(folder: Path) -> Path:
    """The stand-in, full size."""
    program = Path(sys.executable).with_name("caffe2torch")
    subprocess.run([program, "sample", folder / "illust2vec.caffemodel"], check=True, stderr=subprocess.DEVNULL)
    return folder / "illust2vec.caffemodel"


def show(every: Sequence[Entry], options: argparse.Namespace) -> None:
    """The table, with machine and date."""
    busy = ", busy with other things" if options.busy else ""
    print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores{busy}, Python "
        f"{platform.python_version()}, load {os.getloadavg()[0]:.1f}; "
        f"medians of {options.repeat}, file in the page cache\n"
    )
    copies = {
        entry.keeps: statistics.median(entry.seconds)
        for entry in every
        if "plain copy" in entry.title and entry.seconds
    }
    print("| | seconds (least) | peak MB | × a copy of what it keeps |\n| --- | --- | --- | --- |")
    for entry in every:
        if not entry.seconds:
            print(f"| {entry.title} | {entry.reason} | | |")
            continue
        seconds = statistics.median(entry.seconds)
        copy = copies.get(entry.keeps) or (2 * copies[TRUNK] if entry.keeps == 2 * TRUNK and TRUNK in copies else None)
        ratio = f"{seconds / copy:.1f}" if copy else ""
        print(f"| {entry.title} | {seconds:.2f} ({min(entry.seconds):.2f}) | {max(entry.megabytes):.0f} | {ratio} |")


if __name__ == "__main__":
    main()
