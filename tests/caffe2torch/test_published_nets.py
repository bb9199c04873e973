"""Published architectures with seeded weights: torch = printed source = onnxruntime; full size with `-m slow`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import caffe2torch
from caffe2torch.conversion import graph_of
from tests.caffe2torch import nets
from tests.caffe2torch.nets import agree
from tests.caffe2torch.published_nets import NETS

# Learned numbers of the published nets at full size.
PARAMETERS = {
    "alexnet": 60_965_224,
    "caffenet": 60_965_224,
    "vgg16": 138_357_544,
    "googlenet": 6_998_552,
    "squeezenet": 1_235_496,
    "resnet50": 25_557_032 + 26_560,
    "resnet152": 60_192_808 + 75_712,
}


def convert(name: str, folder: Path, small: bool) -> Any:
    net, size, width, classes = NETS[name]
    lines = net(size, width, classes) if small else net()
    outputs = ["probs"] if name == "captioner" else ["feat", "feat_p", "loss"] if name == "siamese" else None
    converted = nets.module(folder, *lines, outputs=outputs)
    for module in converted.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # without a file Caffe's statistics are 0
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return converted


def feeds(converted: Any, name: str) -> dict[str, np.ndarray]:
    given = nets.sample(converted)
    generator = np.random.default_rng(0)
    for blob, high in (("sim", 2), ("cont_sentence", 2), ("input_sentence", 30)):
        if blob in given:
            given[blob] = generator.integers(0, high, given[blob].shape).astype(np.float32)
    return given


@pytest.mark.parametrize("name", NETS)
def test_small(name: str, tmp_path: Path) -> None:
    converted = convert(name, tmp_path, small=True)
    outputs = agree(converted, tmp_path, feeds(converted, name))
    assert all(np.isfinite(output).all() for output in outputs)
    assert all(output.std() > 0 or output.size == 1 for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_full_size(name: str, tmp_path: Path) -> None:
    converted = convert(name, tmp_path, small=False)
    if name in PARAMETERS:
        learned = {id(value): value.numel() for value in converted.state_dict(keep_vars=True).values()}
        assert graph_of(converted).parameters == pytest.approx(PARAMETERS[name], rel=2e-3)
        assert sum(learned.values()) > 0
    agree(converted, tmp_path, feeds(converted, name))


def test_ruff_leaves_them_alone(tmp_path: Path) -> None:
    for name in NETS:
        (tmp_path / f"{name}.py").write_text(caffe2torch.to_source(convert(name, tmp_path, small=True)))
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[:4000]


def test_a_siamese_net_holds_its_weights_once(tmp_path: Path) -> None:
    converted = convert("siamese", tmp_path, small=True)
    assert len(list(converted.parameters())) == 10
    text = caffe2torch.to_source(converted)
    assert text.count("nn.Conv2d") == 2
    assert text.count("self.conv1(") == 2
