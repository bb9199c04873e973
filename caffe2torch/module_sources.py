"""The nn.Modules that torch lacks, as text: those of modules/, and those of plugins, for the printed source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from caffe2torch.errors import CaffeError

Bound = dict[str, str]  # a name that an import binds -> the import
_OURS = {"torch", "nn", "F", "Tensor"}  # every printed source has these if it needs them
_NOT_PRINTED = ("__future__", "caffe2torch.modules")
_sources: dict[str, str] = {}
_imports: dict[str, Bound] = {}  # by a class or function, what its file imports
_origins: dict[str, str] = {}  # by a class or function, where it stands
_files: list[Path] = []


def add(path: Path) -> None:
    """Take a file's classes and functions into account; those with decorators, as ``@layer``, are none of torch's.

    CaffeError if one of them has the name of one that is there.
    """
    known()  # ours come first
    _add(path, str(path))


def known() -> dict[str, str]:
    """All sources by name, in the order of their files."""
    if not _files:
        for path in sorted(Path(__file__).with_name("modules").glob("*.py")):
            _add(path, f"caffe2torch/modules/{path.name}")
    return _sources


def _add(path: Path, origin: str) -> None:
    if path in _files:
        return
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    bound = _bound(tree)
    found = {
        node.name: ast.get_source_segment(text, node) or ""
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.decorator_list
    }
    for name in found.keys() & _sources.keys():
        raise CaffeError(f"{origin}: the name {name} is taken by {_origins[name]}; give it another")
    _files.append(path)
    _sources.update(found)
    _origins.update(dict.fromkeys(found, origin))
    _imports.update(dict.fromkeys(found, bound))


def used_by(text: str) -> tuple[list[str], list[str]]:
    """The sources that a text uses, with what those use in turn, in the order of their files; and their imports."""
    sources = known()
    wanted: set[str] = set()
    queue = [text]
    while queue:
        for name in words(queue.pop()) & set(sources) - wanted:
            wanted.add(name)
            queue.append(sources[name])
    imports = {
        statement
        for name in wanted
        for bound, statement in _imports[name].items()
        if bound not in _OURS and bound in _names(sources[name])
    }
    return [segment for name, segment in sources.items() if name in wanted], sorted(imports)


def words(text: str) -> set[str]:
    """What code calls, or takes attributes of; what stands in its comments and strings does not count."""
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
