"""Graph -> the Python that a person would have written: one class Model, layers in order, names kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from caffe2torch import module_sources
from caffe2torch.calls import literal, quoted
from caffe2torch.graph import Graph, Node, Value
from caffe2torch.identifiers import identifiers
from caffe2torch.layout import statement


def source(graph: Graph, about: str = "", file: str = "") -> str:
    """The text of model.py: imports torch and nothing else; state_dict keys are ``layer.weight`` and the like.

    ``about`` is more to say in its docstring; it must be plain text of our own. ``file`` is the name of the file that
    a net without a name came from.
    """
    title = _title(graph, file)
    body = [*_class(graph), *_init(graph), "", *_forward(graph)]
    text = "\n".join(body)
    modules, more, words = module_sources.used_by(text)
    imports = ["import torch"] if "torch" in words else []
    imports.append("from torch import Tensor, nn")
    if "F" in words:
        imports.append("from torch.nn import functional as F")
    head = module_sources.head(more, imports)
    docstring = f'"""{title}\n\n{about.strip(chr(10))}\n"""' if about else f'"""{title}"""'
    parts = [f"{docstring}\n\n{head}", *modules, text]
    return "\n\n\n".join(parts) + "\n"


def _title(graph: Graph, file: str) -> str:
    """The net's name, or its file's, in one line; nothing in it can end the docstring."""
    name = graph.name.strip() or file or PurePath(graph.net.weights_path or graph.net.path).name or "A Caffe net"
    escaped = "".join(_escaped(character) for character in name)
    return f"{escaped}, converted from Caffe by caffe2torch."


def _escaped(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    return character if character.isprintable() else ascii(character)[1:-1]


def _class(graph: Graph) -> list[str]:
    return [
        "class Model(nn.Module):",
        *statement(f"input_names = {_names(graph.input_names)}", 4),
        *statement(f"output_names = {_names(graph.output_names)}", 4),
        "",
    ]


def _names(names: Sequence[str]) -> str:
    return literal(tuple(names))


def _init(graph: Graph) -> list[str]:
    lines = ["    def __init__(self) -> None:", "        super().__init__()"]
    previous = ""
    printed: set[str] = set()
    for node in graph.nodes:
        call = node.operation.torch().module
        if call is None or node.name in printed:
            continue
        printed.add(node.name)
        block = _block(node) or previous
        if previous and block != previous:
            lines.append("")
        previous = block
        comment = "" if node.name == node.layer.name else _comment(node.layer.name)
        lines += statement(f"self.{node.name} = {call}", 8, comment)
        for key, owner in node.shared.items():
            lines += statement(f"self.{node.name}.{key} = self.{owner}", 8)
    return lines


def _comment(name: str) -> str:
    """A layer's own name; in quotes if it could be taken for something else, such as ``fmt: off``."""
    return name if re.fullmatch(r"[\w./+@-]+", name, re.ASCII) else quoted(name)


def _block(node: Node) -> str:
    """Layers whose names share a prefix up to '/', or the first number, stand together: conv1_1, relu1_1, pool1."""
    name = node.layer.name
    if "/" in name:
        return name.split("/")[0]
    found = re.search(r"(\d+(?:[a-z](?![a-z]))?)(?:.*?(block\d+))?", name)
    return "".join(part or "" for part in found.groups()) if found else ""


def _forward(graph: Graph) -> list[str]:
    variables = _variables(graph)
    arguments = ", ".join(f"{variables[value.name]}: Tensor" for value in graph.inputs)
    lines = _signature(arguments, _result(len(graph.outputs)))
    previous, told = "", ""
    for node in graph.nodes:
        block = _block(node) or previous
        if previous and block != previous:
            lines.append("")
        previous = block
        targets = ", ".join(variables[value.name] for value in node.outputs)
        expression = node.operation.torch().expression.format(
            *(variables[value.name] for value in node.inputs), self=f"self.{node.name}"
        )
        shape = shape_text(node.outputs[0])
        lines += statement(f"{targets} = {expression}", 8, shape if shape != told else "")
        told = shape
    return [*lines, *statement(f"return {_returned(graph, variables)}", 8)]


def _result(count: int) -> str:
    if count == 1:
        return "Tensor"
    return f"tuple[{', '.join(['Tensor'] * count)}]" if count <= 4 else "tuple[Tensor, ...]"


def _signature(arguments: str, result: str) -> list[str]:
    line = f"    def forward({', '.join(filter(None, ('self', arguments)))}) -> {result}:"
    if len(line) <= 88:
        return [line]
    inner = f"        self, {arguments}"
    if len(inner) <= 88:
        return ["    def forward(", inner, f"    ) -> {result}:"]
    items = ["self", *arguments.split(", ")]
    return ["    def forward(", *(f"        {item}," for item in items), f"    ) -> {result}:"]


def shape_text(value: Value) -> str:
    """(N, 64, 224, 224), with N where the batch may have any size."""
    sizes = [str(size) for size in value.shape]
    if value.rows:
        sizes[value.rows_axis] = _comment(value.rows)
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _returned(graph: Graph, variables: dict[str, str]) -> str:
    names = []
    given = {value.name for value in graph.inputs}
    for value in graph.outputs:
        name = variables[value.name]
        # An output that is an input, or another output's alias, is a tensor of its own.
        names.append(f"{name}.clone()" if value.name in given else name)
        given.add(value.name)
    return ", ".join(names)


def _variables(graph: Graph) -> dict[str, str]:
    """A local variable for each value: its blob's name, bound again by in-place layers while nothing needs the old."""
    last_use: dict[str, int] = {value.name: len(graph.nodes) for value in graph.outputs}
    for index, node in enumerate(graph.nodes):
        for value in node.inputs:
            last_use[value.name] = max(last_use.get(value.name, 0), index)
    order = [(value, -1, "input") for value in graph.inputs]
    order += [(value, index, node.name) for index, node in enumerate(graph.nodes) for value in node.outputs]
    blobs = list(dict.fromkeys(value.blob for value, _, _ in order))
    functions = [name for name in module_sources.known() if name.islower()]  # a local of that name would hide them
    names = dict(zip(blobs, identifiers(blobs, functions), strict=True))
    taken = {*names.values(), *functions}
    holder: dict[str, Value] = {}
    variables: dict[str, str] = {}
    for value, index, layer in order:
        old = holder.get(value.blob)
        if old is not None and last_use.get(old.name, -1) > index:
            name = identifiers([f"{names[value.blob]}_{layer}"], taken)[0]
            taken.add(name)
            names[value.blob] = name
        variables[value.name] = names[value.blob]
        holder[value.blob] = value
    return variables
