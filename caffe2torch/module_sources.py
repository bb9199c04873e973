"""The nn.Modules that torch lacks, as text: those of modules/, and those of plugins, for the printed source."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, KeysView
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from caffe2torch.errors import CaffeError

Bound = dict[str, str]  # a name that an import binds -> the import
_OURS = {"torch", "nn", "F", "Tensor"}  # every printed source has these if it needs them
_TOP = re.compile(r"^(?:class|def) (\w+)", re.MULTILINE)
_STRING_OR_COMMENT = re.compile(r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|#.*""")
_WORD = re.compile(r"(?<![\w.])([^\W\d]\w*)(?=[.(])")  # before a dot or a bracket, behind no dot
_NOT_PRINTED = ("__future__", "caffe2torch.modules")
_places: dict[str, Path] = {}  # of each class and function, its file
_origins: dict[Path, str] = {}  # of each file, what to call it


@dataclass(frozen=True)
class _Parsed:
    """A file's classes and functions, as they stand in it, and what it imports."""

    sources: dict[str, str]
    imports: Bound


def add(path: Path) -> None:
    """Take a file's classes and functions into account; those with decorators, as ``@layer``, are none of torch's.

    CaffeError if one of them has the name of one that is there.
    """
    known()  # ours come first
    if path not in _origins:
        _add(path, str(path), _parsed(path).sources)


def known() -> KeysView[str]:
    """The names of all, in the order of their files. Ours are only looked through for names, not parsed."""
    if not _origins:
        for path in sorted(Path(__file__).with_name("modules").glob("*.py")):
            _add(path, f"caffe2torch/modules/{path.name}", _TOP.findall(path.read_text(encoding="utf-8")))
    return _places.keys()


def _add(path: Path, origin: str, names: Iterable[str]) -> None:
    for name in names:
        if name in _places:
            raise CaffeError(f"{origin}: the name {name} is taken by {_origins[_places[name]]}; give it another")
    _origins[path] = origin
    _places.update(dict.fromkeys(names, path))


@cache
def _parsed(path: Path) -> _Parsed:
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    tree = ast.parse(text)
    found = {
        node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno])  # get_source_segment splits the text each time
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.decorator_list
    }
    return _Parsed(found, _bound(tree))


def used_by(text: str) -> tuple[list[str], list[str], set[str]]:
    """The sources that a text uses, with what those use in turn, in the order of their files.

    With them their imports, and all words that they and the text use.
    """
    wanted: set[str] = set()
    used: set[str] = set()
    queue = [words(text)]
    while queue:
        found = queue.pop()
        used |= found
        for name in found & known() - wanted:
            wanted.add(name)
            queue.append(_words(_source(name)))
    imports = {
        statement
        for name in wanted
        for bound, statement in _parsed(_places[name]).imports.items()
        if bound not in _OURS and bound in _names(_source(name))
    }
    return [_source(name) for name in known() if name in wanted], sorted(imports), used


def _source(name: str) -> str:
    return _parsed(_places[name]).sources[name]


def words(text: str) -> set[str]:
    """What code without docstrings calls, or takes attributes of; its comments and strings do not count.

    A net of thousands of layers is looked through in a fraction of the time that parsing takes.
    """
    return set(_WORD.findall(_STRING_OR_COMMENT.sub("''", text)))


def _words(text: str) -> set[str]:
    """The same of any code."""
    nodes = list(ast.walk(ast.parse(text)))
    used = [node.func for node in nodes if isinstance(node, ast.Call)]
    used += [node.value for node in nodes if isinstance(node, ast.Attribute)]
    return {node.id for node in used if isinstance(node, ast.Name)}


def head(imports: list[str], torch: list[str]) -> str:
    """The imports of a printed source: the standard library's, others, torch's."""
    standard = [each for each in imports if each.split()[1].split(".")[0] in sys.stdlib_module_names]
    groups = (standard, [each for each in imports if each not in standard], torch)
    return "\n\n".join("\n".join(group) for group in groups if group)


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _bound(tree: ast.Module) -> Bound:
    found: Bound = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                one = ast.unparse(ast.Import([alias]))
                found[alias.asname or alias.name.split(".")[0]] = one
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith(_NOT_PRINTED):
            for alias in node.names:
                found[alias.asname or alias.name] = ast.unparse(ast.ImportFrom(node.module, [alias], 0))
    return found
