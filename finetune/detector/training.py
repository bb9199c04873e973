"""The training loop of the detector: composed pictures in, averaged weights out, to be stopped and taken up again."""

from __future__ import annotations

import copy
import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from caffe2torch import safetensors_file
from caffe2torch.errors import ModelError
from caffe2torch.files import beside
from finetune.checkpoint import read_tensors, write_tensors
from finetune.detector.composing import Composer
from finetune.detector.network import Detector, fused, prepared
from finetune.detector.targets import BOX_WEIGHT, box_loss, face_loss, targets

BEST, LAST = "best.safetensors", "last.safetensors"
WARM_UP = 100  # steps
LARGE = 3  # every so many steps, pictures are twice as large
FINAL_RATE = 0.02  # of the learning rate, at the end
LONGEST_GRADIENT = 10.0
CHECKPOINT = 1 << 26  # bytes of LAST, which has 16 million
Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Settings:
    """``size`` is the side of training pictures, twice that in every third step, with a quarter as many of them.

    ``every`` so many steps it is validated and a checkpoint written.
    """

    steps: int = 6000
    batch_size: int = 16
    size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    averaging: float = 0.999
    every: int = 250
    seed: int = 0
    device: str = "cpu"
    precision: str = "bf16"

    def shape(self, step: int) -> tuple[int, int]:
        """Pictures of a step from 0, and their side: large faces need large pictures."""
        if step % LARGE == LARGE - 1:
            return max(1, self.batch_size // 4), 2 * self.size
        return self.batch_size, self.size

    def rate(self, step: int) -> float:
        """Of a step from 0: rises over WARM_UP steps, then falls as a cosine."""
        done = min(1.0, step / self.steps)
        fallen = FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * fallen * min(1.0, (step + 1) / WARM_UP)


class Training:
    """A network on its way; ``averaged`` is what is validated and kept."""

    def __init__(self, network: Detector, settings: Settings) -> None:
        self.settings = settings
        self.device = torch.device(settings.device)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        decayed = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, settings.learning_rate, betas=(0.9, 0.99))
        self.step = 0
        self.stop = settings.steps  # a step to pause at, short of the end
        self.best = -1.0

    def run(
        self, composer: Composer, folder: Path, validate: Callable[[Detector], Metrics], told: Callable[[str], None]
    ) -> None:
        """Train until ``settings.steps``; LAST, BEST and metrics.csv in ``folder`` are renewed every so many steps.

        ``validate`` gives metrics of a network; "score" among them decides which is the best.
        """
        sums = np.zeros(3)
        while self.step < self.stop:
            sums += (*self._one(composer), 1)
            self.step += 1
            if self.step % self.settings.every == 0 or self.step == self.stop:
                metrics = {"step": self.step, "face_loss": sums[0] / sums[2], "box_loss": sums[1] / sums[2]}
                metrics |= validate(self.averaged)
                sums[:] = 0
                self._keep(folder, metrics)
                told(", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))

    def _one(self, composer: Composer) -> tuple[float, float]:
        random = Random(f"{self.settings.seed} {self.step}")
        count, side = self.settings.shape(self.step)
        samples = [composer.sample(random, side) for _ in range(count)]
        pictures, boxes, ignored = zip(*samples, strict=True)
        wanted = [t.to(self.device) for t in targets(boxes, ignored, pictures[0].shape[:2])]
        heat, counted, edges, weight = wanted
        pixels = prepared(torch.from_numpy(np.stack(pictures)).to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            logits, distances = self.network(pixels.contiguous(memory_format=torch.channels_last))
        faces, edges_off = face_loss(logits.float(), heat, counted), box_loss(distances.float(), edges, weight)
        self.optimizer.zero_grad()
        (faces + BOX_WEIGHT * edges_off).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST_GRADIENT)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.step)
        self.optimizer.step()
        self._average()
        return float(faces.detach()), float(edges_off.detach())

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.settings.averaging, (1 + self.step) / (10 + self.step))
        new = self.network.state_dict()
        for name, value in self.averaged.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name].to(value.dtype), 1 - keep)
            else:
                value.copy_(new[name])

    def _keep(self, folder: Path, metrics: Metrics) -> None:
        """Write the state, and the averaged weights as the best if they are."""
        if metrics["score"] >= self.best:
            self.best = metrics["score"]
            with beside(folder / BEST) as path:
                write_tensors(_tensors("", self.averaged.state_dict()), path, {"metrics": json.dumps(metrics)})
        state = _tensors("network.", self.network.state_dict()) | _tensors("averaged.", self.averaged.state_dict())
        for number, moments in self.optimizer.state_dict()["state"].items():
            state |= _tensors(f"moments.{number}.", moments)
        with beside(folder / LAST) as path:
            write_tensors(state, path, {"step": str(self.step), "best": repr(self.best)})
        new = not (folder / "metrics.csv").exists()
        with (folder / "metrics.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, list(metrics))
            if new:
                writer.writeheader()
            writer.writerow(metrics)

    def take_up(self, folder: Path) -> None:
        """Go on from what ``run`` left in ``folder``; the settings may be others than they were.

        Raises FileError, ModelError for a damaged checkpoint.
        """
        told = safetensors_file.read_metadata(folder / LAST)
        state = read_tensors(folder / LAST, CHECKPOINT)
        try:
            self.step, self.best = int(told["step"]), float(told["best"])
            self.network.load_state_dict(_of("network.", state))
            self.averaged.load_state_dict(_of("averaged.", state))
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder / LAST}: damaged, or not of the detector: {error!r:.200}") from error
        moments: dict[int, dict[str, Any]] = {}
        for name, tensor in _of("moments.", state).items():
            number, _, kind = name.partition(".")
            moments.setdefault(int(number), {})[kind] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})


def load_averaged(path: Path) -> Detector:
    """The network of BEST, or the averaged one of LAST. Raises FileError, ModelError for a damaged checkpoint."""
    state = read_tensors(path, CHECKPOINT)
    if any(name.startswith("averaged.") for name in state):
        state = _of("averaged.", state)
    network = Detector().eval() if "stem.1.weight" in state else fused(Detector())
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path}: damaged, or not of the detector: {error!r:.200}") from error
    return network


def _tensors(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}


def _of(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
