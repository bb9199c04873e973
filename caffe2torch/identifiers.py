"""Names of layers and blobs as Python identifiers: one way, deterministic, never two names merged."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from functools import cache

# What the printed file itself uses, and what nn.Module already means by an attribute of that name.
RESERVED = frozenset({"self", "torch", "nn", "F", "Tensor", "Model", "input_names", "output_names", "len", "float"})

LONGEST = 100  # characters; two names that are the same so far are told apart as others are


@cache
def module_attributes() -> frozenset[str]:
    """What nn.Module has already, listed here because torch is not imported for it (a test compares)."""
    return frozenset(_MODULE_ATTRIBUTES.split())


_MODULE_ATTRIBUTES = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches
eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules
mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook
register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad
"""


def identifier(name: str) -> str:
    """One name as an identifier of ASCII letters, digits and underscores: ``conv4-2`` -> ``conv4_2``."""
    text = re.sub(r"[^0-9A-Za-z_]+", "_", name).strip("_") or "layer"
    text = text[:LONGEST]
    if text[0].isdigit():
        text = f"layer_{text}"
    if keyword.iskeyword(text) or keyword.issoftkeyword(text) or text in RESERVED or text in module_attributes():
        text += "_"
    return text


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Each name as an identifier; a collision is told apart by a number behind, in order of appearance."""
    used = set(taken)
    result = []
    following: dict[str, int] = {}
    for name in names:
        base = candidate = identifier(name)
        while candidate in used:
            following[base] = following.get(base, 1) + 1
            candidate = f"{base}_{following[base]}"
        used.add(candidate)
        result.append(candidate)
    return result
