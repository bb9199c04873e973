"""The printed solvers: run as code, against transcriptions of Caffe's schedules and update rules."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caffe2torch.errors import CaffeError, FileError, TextError
from caffe2torch.solver import describe

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "solver.prototxt"
        path.write_text(text)
        return path

    return written


def run(text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "solver"}
    exec(compile(text, "solver.py", "exec"), namespace)
    return namespace


# --- schedules


def caffe_rates(updates: int, base: float, policy: str, **p: Any) -> list[float]:
    """SGDSolver::GetLearningRate, called once an update."""
    rates, step = [], 0
    for i in range(updates):
        if policy == "multistep" and step < len(p["stepvalue"]) and i >= p["stepvalue"][step]:
            step += 1
        rates.append(
            base
            * {
                "fixed": lambda: 1,
                "step": lambda i=i: p["gamma"] ** (i // p["stepsize"]),
                "exp": lambda i=i: p["gamma"] ** i,
                "inv": lambda i=i: (1 + p["gamma"] * i) ** -p["power"],
                "multistep": lambda step=step: p["gamma"] ** step,
                "poly": lambda i=i: (1 - i / p["max_iter"]) ** p["power"],
                "sigmoid": lambda i=i: 1 / (1 + exp(-p["gamma"] * (i - p["stepsize"]))),
            }[policy]()
        )
    return rates


SCHEDULES: list[dict[str, Any]] = [
    {"policy": "fixed"},
    {"policy": "step", "gamma": 0.5, "stepsize": 3},
    {"policy": "step", "gamma": 0, "stepsize": 4},
    {"policy": "exp", "gamma": 0.9},
    {"policy": "inv", "gamma": 0.1, "power": 0.75},
    {"policy": "inv", "gamma": 0.1, "power": -0.5},
    {"policy": "multistep", "gamma": 0.1, "stepvalue": [2, 5, 6]},
    {"policy": "multistep", "gamma": 0.5, "stepvalue": [6, 3, 8, 8]},
    {"policy": "multistep", "gamma": 0.5, "stepvalue": [0, 0, 7]},
    {"policy": "multistep", "gamma": 0.5, "stepvalue": []},
    {"policy": "poly", "max_iter": 12, "power": 2},
    {"policy": "poly", "max_iter": 12, "power": 0},
    {"policy": "sigmoid", "gamma": 0.7, "stepsize": 5},
]


def schedule_text(policy: str, **fields: Any) -> str:
    text = f'base_lr: 0.3 lr_policy: "{policy}"'
    for name, value in fields.items():
        text += "".join(f" {name}: {one}" for one in (value if isinstance(value, list) else [value]))
    return text


@pytest.mark.parametrize("fields", SCHEDULES, ids=lambda fields: " ".join(map(str, fields.values())))
def test_schedule(write: Write, fields: dict[str, Any]) -> None:
    solver = run(describe(write(schedule_text(**fields))))
    weight = torch.nn.Parameter(torch.ones(1))
    groups = [{"params": [weight]}, {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.6}]
    optimizer, scheduler = solver["configure"](groups)
    rates = []
    for _ in range(12):
        rates.append([group["lr"] for group in optimizer.param_groups])
        weight.grad = torch.zeros(1)
        solver["update"](optimizer, scheduler)
    wanted = caffe_rates(12, 0.3, **fields)
    np.testing.assert_allclose(rates, [[rate, 2 * rate] for rate in wanted], rtol=1e-6, atol=1e-12)


# --- update rules


class CaffeSolver:
    """ApplyUpdate of each of Caffe's solvers for one weight blob, in float64."""

    def __init__(self, kind: str, rates: list[float], **p: Any) -> None:
        self.kind, self.rates, self.p = kind, rates, p
        self.iteration = 0
        self.history = self.history2 = np.zeros(())

    def get(self, name: str, default: float) -> float:
        return float(self.p.get(name, default))

    def apply(self, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The weights after an update by the sum of the gradients of iter_size batches."""
        rate, m, delta = self.rates[self.iteration], self.get("momentum", 0), self.get("delta", 1e-8)
        clip, norm = self.get("clip_gradients", -1), sqrt((gradient**2).sum())
        g = gradient * clip / norm if 0 <= clip < norm else gradient
        g = g / self.get("iter_size", 1)
        decay = self.get("weight_decay", 0)
        g = g + decay * (np.sign(weight) if self.p.get("regularization_type") == "L1" else weight)
        self.iteration += 1
        return weight - getattr(self, self.kind.lower())(g, rate, m, delta)

    def sgd(self, g: np.ndarray, rate: float, m: float, delta: float) -> np.ndarray:
        self.history = m * self.history + rate * g
        return self.history

    def nesterov(self, g: np.ndarray, rate: float, m: float, delta: float) -> np.ndarray:
        before = self.history
        self.history = m * before + rate * g
        return (1 + m) * self.history - m * before

    def adagrad(self, g: np.ndarray, rate: float, m: float, delta: float) -> np.ndarray:
        self.history = self.history + g**2
        return rate * g / (np.sqrt(self.history) + delta)

    def rmsprop(self, g: np.ndarray, rate: float, m: float, delta: float) -> np.ndarray:
        d = self.get("rms_decay", 0.99)
        self.history = (1 - d) * g**2 + d * self.history
        return rate * g / (np.sqrt(self.history) + delta)

    def adadelta(self, g: np.ndarray, rate: float, m: float, delta: float) -> np.ndarray:
        self.history = (1 - m) * g**2 + m * self.history
        update = g * np.sqrt((delta + self.history2) / (delta + self.history))
        self.history2 = (1 - m) * update**2 + m * self.history2
        return rate * update

    def adam(self, g: np.ndarray, rate: float, m: float, delta: float) -> np.ndarray:
        m2 = self.get("momentum2", 0.999)
        self.history = m * self.history + (1 - m) * g
        self.history2 = m2 * self.history2 + (1 - m2) * g**2
        correction = sqrt(1 - m2**self.iteration) / (1 - m**self.iteration)
        return rate * correction * self.history / (np.sqrt(self.history2) + delta)


STEPS = {"policy": "step", "gamma": 0.3, "stepsize": 2}
RULES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("SGD", {}, {}),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.05}, {}),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.05}, STEPS),
    ("SGD", {"momentum": 0.5}, {"policy": "poly", "max_iter": 8, "power": 1}),
    ("SGD", {"weight_decay": 0.05, "regularization_type": "L1"}, STEPS),
    ("SGD", {"momentum": 0.9, "clip_gradients": 0.4, "iter_size": 2, "weight_decay": 0.1}, STEPS),
    ("SGD", {"clip_gradients": 0.4, "iter_size": 2, "weight_decay": 0.1, "regularization_type": "L1"}, {}),
    ("SGD", {"clip_gradients": 1000}, {}),
    ("Nesterov", {}, {}),
    ("Nesterov", {"momentum": 0.9, "weight_decay": 0.05}, {}),
    ("Nesterov", {"momentum": 0.9, "weight_decay": 0.05}, STEPS),
    ("AdaGrad", {"weight_decay": 0.05, "delta": 0.01}, STEPS),
    ("RMSProp", {"rms_decay": 0.7, "delta": 0.01, "weight_decay": 0.05}, STEPS),
    ("RMSProp", {}, {}),
    ("AdaDelta", {"momentum": 0.95, "delta": 1e-3, "weight_decay": 0.05}, STEPS),
    ("Adam", {"momentum": 0.9, "momentum2": 0.99, "delta": 0.1, "weight_decay": 0.05}, STEPS),
    ("Adam", {"momentum": 0.9}, {}),
]


@pytest.mark.parametrize(("kind", "fields", "schedule"), RULES)
def test_updates(write: Write, kind: str, fields: dict[str, Any], schedule: dict[str, Any]) -> None:
    schedule = schedule or {"policy": "fixed"}
    options = " ".join(f"{name}: {value!r}".replace("'", '"') for name, value in fields.items())
    solver = run(describe(write(f'type: "{kind}" {schedule_text(**schedule)} {options}')))
    generator = np.random.default_rng(3)
    wanted = generator.normal(size=(4, 3))
    weight = torch.nn.Parameter(torch.tensor(wanted))
    optimizer, scheduler = solver["configure"]([weight])
    caffe = CaffeSolver(kind, caffe_rates(7, 0.3, **schedule), **fields)
    for _ in range(7):
        total = np.zeros_like(wanted)
        for _ in range(fields.get("iter_size", 1)):
            x = generator.normal(size=(5, 4))
            total += 2 * x.T @ (x @ wanted)
            (torch.tensor(x) @ weight).square().sum().backward()
        wanted = caffe.apply(wanted, total)
        solver["update"](optimizer, scheduler)
        np.testing.assert_allclose(weight.detach().numpy(), wanted, rtol=1e-5, atol=1e-7)


def test_frozen_layers_do_not_count_for_clipping(write: Write) -> None:
    """Caffe computes no gradient for a blob of lr_mult 0."""
    solver = run(describe(write('base_lr: 1 lr_policy: "fixed" clip_gradients: 1')))
    frozen, trained = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [frozen], "lr": 0.0, "lr_mult": 0.0}, {"params": [trained], "lr": 1.0, "lr_mult": 1.0}]
    optimizer, scheduler = solver["configure"](groups)
    frozen.grad, trained.grad = torch.full((1,), 100.0), torch.full((1,), 4.0)
    solver["update"](optimizer, scheduler)
    assert (frozen.item(), trained.item()) == (0.0, pytest.approx(-1.0, rel=1e-5))


def test_l1_keeps_the_groups_own_decay(write: Write) -> None:
    solver = run(describe(write('base_lr: 1 lr_policy: "fixed" weight_decay: 0.5 regularization_type: "L1"')))
    weights = [torch.nn.Parameter(torch.full((1,), value)) for value in (2.0, -2.0)]
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "weight_decay": 0.25}]
    optimizer, scheduler = solver["configure"](groups)
    for weight in weights:
        weight.grad = torch.zeros(1)
    solver["update"](optimizer, scheduler)
    assert [weight.item() for weight in weights] == [1.5, -1.75]


def test_a_model_learns(write: Write) -> None:
    text = 'base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 20 momentum: 0.9 max_iter: 40'
    solver = run(describe(write(text)))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    x = torch.randn(32, 3)
    y = x.sum(1, keepdim=True)
    optimizer, scheduler = solver["configure"](model.parameters())
    losses = []
    for _ in range(solver["MAX_ITER"]):
        loss = (model(x) - y).square().mean()
        loss.backward()
        solver["update"](optimizer, scheduler)
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_state_of_the_own_optimizers_is_kept(write: Write) -> None:
    """A state_dict brings back the history, and how many updates there were."""
    for text in (
        'momentum: 0.9 lr_policy: "exp" gamma: 0.9',
        'type: "Adam" momentum: 0.9 delta: 0.1 lr_policy: "fixed"',
    ):
        solver = run(describe(write(f"base_lr: 0.1 {text}")))
        first, second = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
        (one, schedule), (other, _) = solver["configure"]([first]), solver["configure"]([second])
        for gradient in (1.0, -0.3, 2.0):
            first.grad = torch.full_like(first, gradient)
            one.step()
        with torch.no_grad():
            second.copy_(first)
        other.load_state_dict(deepcopy(one.state_dict()))
        first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
        one.step()
        other.step()
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        assert schedule.get_last_lr() == [0.1]


# --- the text


def test_old_solver_type(write: Write) -> None:
    assert "torch.optim.Adagrad" in describe(write('solver_type: ADAGRAD base_lr: 1 lr_policy: "fixed"'))


def test_torch_s_own_where_it_is_the_same(write: Write) -> None:
    text = describe(write('base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed" max_iter: 10'))
    assert "    optimizer = torch.optim.SGD(\n" in text or "torch.optim.SGD(parameters, lr=0.01, momentum=0.9" in text
    assert "class " not in text


@pytest.mark.parametrize(("kind", "fields", "schedule"), RULES)
def test_ruff_leaves_it_alone(write: Write, kind: str, fields: dict[str, Any], schedule: dict[str, Any]) -> None:
    options = " ".join(f"{name}: {value!r}".replace("'", '"') for name, value in fields.items())
    text = describe(write(f'type: "{kind}" {schedule_text(**(schedule or {"policy": "fixed"}))} {options}'))
    for task in (["format"], ["check", "--fix", "--select", "E,F,I,UP"]):
        command = [sys.executable, "-m", "ruff", *task, "--isolated", "--target-version", "py310", "-"]
        assert subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout == text


def test_what_is_left_out_is_told_and_harmless(write: Write) -> None:
    hostile = 'net: "a\\"\\"\\"\\nimport os" test_iter: 5 display: 20 net_param { name: "x" }'
    text = describe(write(f'{hostile} base_lr: 1 lr_policy: "fixed"'))
    told = ast.get_docstring(ast.parse(text)) or ""
    assert "display: 20" in told
    assert "test_iter: (5,)" in told
    assert "net_param: { ... }" in told
    assert "import os" in told
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imported}
    assert {str(name).split(".")[0] for name in names} - set(sys.stdlib_module_names) == {"torch"}
    assert "os" not in names


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('type: "Sgd" lr_policy: "fixed"', "'Sgd'"),
        ('type: "SGD" solver_type: SGD lr_policy: "fixed"', "solver_type"),
        ("base_lr: 0.1", "lr_policy ''"),
        ('lr_policy: "cosine"', "'cosine'"),
        ('lr_policy: "step" gamma: 0.1', "stepsize"),
        ('lr_policy: "sigmoid" gamma: 0.1', "stepsize"),
        ('lr_policy: "exp" gamma: -0.1', "gamma"),
        ('lr_policy: "poly"', "max_iter"),
        ('lr_policy: "fixed" weight_decay: 1 regularization_type: "L3"', "'L3'"),
        ('lr_policy: "fixed" type: "AdaGrad" momentum: 0.9', "momentum"),
        ('lr_policy: "fixed" type: "RMSProp" momentum: 0.9', "momentum"),
        ('lr_policy: "fixed" type: "RMSProp" rms_decay: 1', "rms_decay"),
    ],
)
def test_what_caffe_refuses(write: Write, text: str, word: str) -> None:
    with pytest.raises(CaffeError, match=r"solver\.prototxt: .*; Caffe refuses this solver") as caught:
        describe(write(text))
    assert word in str(caught.value)


def test_files_that_are_none(write: Write, tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"solver\.prototxt"):
        describe(write("base_lr: 1 bases_lr: 2"))
    with pytest.raises(FileError, match=r"missing\.prototxt"):
        describe(tmp_path / "missing.prototxt")
