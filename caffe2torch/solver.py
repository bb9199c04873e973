"""A solver.prototxt as torch code: optimizer, schedule and update, as Caffe's solvers have them."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caffe2torch import fields, layout, prototxt
from caffe2torch.calls import literal
from caffe2torch.errors import CaffeError
from caffe2torch.net import Fields

_OLD_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}
_USED = frozenset(
    {"type", "solver_type", "base_lr", "lr_policy", "gamma", "power", "stepsize", "stepvalue", "max_iter", "iter_size"}
    | {"momentum", "momentum2", "rms_decay", "delta", "weight_decay", "regularization_type", "clip_gradients"}
)


def describe(path: Path) -> str:
    """What a SolverParameter in text form means, as runnable Python that needs torch only.

    The code has ``configure(parameters)``, which gives the optimizer and the schedule, and ``update(optimizer,
    scheduler)``, to be called after the backward passes of each iteration. FileError or TextError if the file cannot
    be read; CaffeError, naming the field, for what Caffe refuses.
    """
    p = fields.from_message(prototxt.read(path, "SolverParameter"))
    try:
        kind = _type(p)
        call, schedule = _optimizer(p, kind), _schedule(p)
    except _RefusedError as error:
        raise CaffeError(f"{path}: {error}; Caffe refuses this solver") from None
    own = [_own_class(call.partition("(")[0])] if not call.startswith("torch.") else []
    head = "\n".join([*_docstring(p, kind, path.name), "", *_imports(schedule, "".join(own)), "", *_constants(p)])
    return "\n\n\n".join([head, *own, _configure(p, call, schedule), _update(p)]) + "\n"


class _RefusedError(Exception):
    """What is wrong with a field."""


def _type(p: Fields) -> str:
    if "solver_type" in p and "type" in p:
        raise _RefusedError("type and the old solver_type are both set")
    kind = _OLD_TYPES.get(p.solver_type, str(p.solver_type)) if "solver_type" in p else str(p.type)
    if kind not in _OLD_TYPES.values():
        raise _RefusedError(f"type {kind!r} is not one of {', '.join(_OLD_TYPES.values())}")
    if kind in ("AdaGrad", "RMSProp") and p.momentum:
        raise _RefusedError(f"momentum {p.momentum} cannot be used with {kind}")
    if kind == "RMSProp" and not 0 <= p.rms_decay < 1:
        raise _RefusedError(f"rms_decay {p.rms_decay} must lie between 0 and 1")
    if p.weight_decay and p.regularization_type not in ("L1", "L2"):
        raise _RefusedError(f"regularization_type {p.regularization_type!r} is neither L1 nor L2")
    return kind


def _optimizer(p: Fields, kind: str) -> str:
    """The constructor's call: of a class of torch where that is the same, else of one in optimizers.py."""
    options: dict[str, Any] = {"lr": p.base_lr}
    if kind in ("SGD", "Nesterov"):
        # With a fixed lr, or without momentum, torch's SGD is Caffe's.
        target = "CaffeSGD" if p.momentum and p.lr_policy != "fixed" else "torch.optim.SGD"
        options |= {"momentum": p.momentum} if p.momentum else {}
        options |= {"nesterov": True} if p.momentum and kind == "Nesterov" else {}
    elif kind == "Adam":
        target = "CaffeAdam"
        options |= {"betas": (p.momentum, p.momentum2), "eps": p.delta}
    elif kind == "AdaDelta":
        target = "torch.optim.Adadelta"
        options |= {"rho": p.momentum, "eps": p.delta}
    elif kind == "RMSProp":
        target = "torch.optim.RMSprop"
        options |= {"alpha": p.rms_decay, "eps": p.delta}
    else:
        target = "torch.optim.Adagrad"
        options |= {"eps": p.delta}
    options |= {"weight_decay": p.weight_decay} if p.weight_decay else {}
    return _call(target, "parameters", **options)


def _schedule(p: Fields) -> str:
    """The scheduler's constructor; it counts updates, as Caffe does, not epochs."""
    policy = p.lr_policy
    if policy not in ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"):
        raise _RefusedError(f"lr_policy {policy!r} is not one of fixed, step, exp, inv, multistep, poly, sigmoid")
    if policy not in ("fixed", "poly") and p.gamma < 0:
        raise _RefusedError(f"gamma {p.gamma} must not be negative")
    if policy in ("step", "sigmoid") and p.stepsize < 1:
        raise _RefusedError(f"lr_policy {policy} needs a stepsize of at least 1")
    if policy == "poly" and p.max_iter < 1:
        raise _RefusedError("lr_policy poly needs max_iter")
    if policy == "inv":
        return f"LambdaLR(optimizer, lambda iteration: (1 + {p.gamma!r} * iteration) ** {-p.power!r})"
    if policy == "sigmoid":
        exponent = f"{p.gamma!r} * (iteration - {p.stepsize})"
        return f"LambdaLR(optimizer, lambda iteration: torch.tensor({exponent}).sigmoid().item())"
    if policy == "step":
        return _call("StepLR", "optimizer", step_size=p.stepsize, gamma=p.gamma)
    if policy == "exp":
        return _call("ExponentialLR", "optimizer", gamma=p.gamma)
    if policy == "multistep":
        return _call("MultiStepLR", "optimizer", milestones=_milestones(p.stepvalue), gamma=p.gamma)
    if policy == "poly":
        return _call("PolynomialLR", "optimizer", total_iters=p.max_iter, power=p.power)
    return "LambdaLR(optimizer, lambda iteration: 1.0)"


def _milestones(values: Sequence[int]) -> list[int]:
    """When the steps happen: Caffe looks at one a time, in the order of the file, and takes at most one an update."""
    found: list[int] = []
    for value in values:
        found.append(max(value, found[-1] + 1 if found else 0))
    return found


def _call(target: str, first: str, **options: Any) -> str:
    return f"{target}({', '.join([first, *(f'{name}={literal(value)}' for name, value in options.items())])})"


def _docstring(p: Fields, kind: str, name: str) -> list[str]:
    others = [f"    {field}: {_safe(value)}" for field, value in p.items() if field not in _USED]
    step = ["        loss(model, next(batches)).backward()"]
    if p.iter_size > 1:
        step = ["        for _ in range(ITER_SIZE):", f"    {step[0]}"]
    return [
        f'"""{kind}, lr_policy {p.lr_policy}: what {re.sub("[^A-Za-z0-9_.+-]", "_", name)} means in torch.',
        "",
        "A training loop is",
        "",
        "    optimizer, scheduler = configure(model.parameters())",
        "    for _ in range(MAX_ITER):",
        *step,
        "        update(optimizer, scheduler)",
        *(["", "Left out, as not of the optimizer:", "", *others] if others else []),
        '"""',
    ]


def _safe(value: Any) -> str:
    """A field's value as it may stand in a docstring."""
    text = "{ ... }" if isinstance(value, Fields) else re.sub(r'[\\"]', "_", ascii(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _imports(schedule: str, own: str) -> list[str]:
    names = sorted({"LRScheduler", schedule.partition("(")[0]}, key=str.lower)
    return [
        f"from collections.abc import {'Callable, ' if own else ''}Iterable",
        "from typing import Any",
        "",
        "import torch",
        *(["from torch import Tensor"] if "Tensor" in own else []),
        "from torch.optim import Optimizer",
        f"from torch.optim.lr_scheduler import {', '.join(names)}",
    ]


def _constants(p: Fields) -> list[str]:
    found = [f"MAX_ITER = {p.max_iter}"]
    if p.iter_size > 1:
        found.append(f"ITER_SIZE = {p.iter_size}  # batches whose gradients make one update")
    if p.clip_gradients >= 0:
        found.append(f"CLIP_GRADIENTS = {p.clip_gradients!r}  # norm of all gradients together")
    return found


def _own_class(name: str) -> str:
    """The source of a class in optimizers.py, which then need not be installed where the code runs."""
    text = Path(__file__).with_name("optimizers.py").read_text(encoding="utf-8")
    node = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name)
    return ast.get_source_segment(text, node) or ""


def _configure(p: Fields, call: str, schedule: str) -> str:
    lines = [
        "def configure(parameters: Iterable[Any]) -> tuple[Optimizer, LRScheduler]:",
        '    """`parameters`: those of a model, or groups of them with lr and weight_decay.',
        "",
        "    The groups of a converted net, by lr_mult and decay_mult, are given by",
        f"    caffe2torch.parameter_groups(model, lr={p.base_lr!r}, weight_decay={p.weight_decay!r}).",
        '    """',
        *layout.statement(f"optimizer = {call}", 4),
    ]
    if _l1(p):
        lines += [
            "    # torch's weight_decay is L2; update() adds the gradient of L1.",
            "    for group in optimizer.param_groups:",
            '        group["l1"], group["weight_decay"] = group["weight_decay"], 0.0',
        ]
    if p.lr_policy == "multistep" and list(p.stepvalue) != _milestones(p.stepvalue):
        lines.append("    # Caffe takes one stepvalue an update at most, in the order they are written.")
    lines += [*layout.statement(f"scheduler = {schedule}", 4), "    return optimizer, scheduler"]
    return "\n".join(lines)


def _l1(p: Fields) -> bool:
    return bool(p.weight_decay) and p.regularization_type == "L1"


def _update(p: Fields) -> str:
    """In Caffe's order: clip the summed gradients, average them over the batches, add the decay, step."""
    body = []
    if p.clip_gradients >= 0:
        body += [
            "# Caffe computes no gradient where lr_mult is 0; torch adds 1e-6 to the norm.",
            'trained = [group for group in groups if group.get("lr_mult", 1.0)]',
            'parameters = [parameter for group in trained for parameter in group["params"]]',
            "torch.nn.utils.clip_grad_norm_(parameters, CLIP_GRADIENTS)",
        ]
    changes = ["    parameter.grad /= ITER_SIZE"] if p.iter_size > 1 else []
    changes += ['    parameter.grad += group["l1"] * parameter.detach().sign()'] if _l1(p) else []
    if changes:
        body += [
            'pairs = [(group, parameter) for group in groups for parameter in group["params"]]',
            "for group, parameter in pairs:" if _l1(p) else "for _, parameter in pairs:",
            "    if parameter.grad is None:",
            "        continue",
            *changes,
        ]
    head = [
        "def update(optimizer: Optimizer, scheduler: LRScheduler) -> None:",
        '    """One iteration: change the weights by the gradients that backward() has summed."""',
        *(["    groups = optimizer.param_groups"] if body else []),
    ]
    tail = ["optimizer.step()", "scheduler.step()", "optimizer.zero_grad()"]
    return "\n".join([*head, *(f"    {line}" for line in [*body, *tail])])
