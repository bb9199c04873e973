"""`finetune train --recipe NAME`: the same command with the options that the recipe knows, and its defaults."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from caffe2torch.terminal import say
from finetune.recipes import RECIPES, TUTORIAL, load_recipe

ALWAYS = ("data", "run", "test", "force")  # arguments and options that every recipe has
FLAG = "--recipe"


class TrainCommand(click.Command):
    """A command that hands over to a recipe's own where ``--recipe NAME`` is among the arguments."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        listed = ", ".join((TUTORIAL, *RECIPES))
        text = f"What to train: {listed}. `--recipe NAME --help` shows its options and its authors' settings."
        self.params.append(click.Option([FLAG], metavar="NAME", default=TUTORIAL, help=text, expose_value=False))

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        name, rest = _taken_out(args)
        if name in (None, TUTORIAL):
            return super().make_context(info_name, rest, parent, **extra)
        if name not in RECIPES:
            raise click.UsageError(f"{FLAG} {name}: no such recipe; there are {', '.join((TUTORIAL, *RECIPES))}")
        return recipe_command(self, name).make_context(f"{info_name} {FLAG} {name}", rest, parent, **extra)


class RecipeCommand(click.Command):
    """A recipe's `train`; an option that it does not know is an error that names those it has."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            has = ", ".join(flag for param in self.params if isinstance(param, click.Option) for flag in param.opts[:1])
            raise click.UsageError(f"the recipe {self.name} has no option {error.option_name}; it has {has}") from None


def recipe_command(train: click.Command, name: str) -> click.Command:
    """The command of a recipe: options of ``train`` that it knows, with its defaults, and its own."""
    recipe = load_recipe(name)
    of_train = {param.name: param for param in train.params}
    resumes = ("resume",) if hasattr(recipe, "resume") else ()
    params = [copy.copy(of_train[option]) for option in (*ALWAYS, *resumes)]
    known = [copy.copy(param) for param in [*(of_train[option] for option in recipe.KNOWS), *recipe.EXTRA]]
    for param in known:
        assert isinstance(param, click.Option)
        param.default = getattr(recipe.DEFAULTS, str(param.name))
        param.show_default = _shown(param.default)
        param.required = False
    return RecipeCommand(
        name,
        params=[*params, *known],
        callback=lambda **values: _train(recipe, **values),
        help=inspect.cleandoc(recipe.__doc__ or ""),
        context_settings={"show_default": True},
    )


def listed() -> list[tuple[str, str]]:
    """Every recipe's name, and in a line what it trains."""
    recipes = [(name, (load_recipe(name).__doc__ or "").splitlines()[0]) for name in RECIPES]
    return [(TUTORIAL, "A new head on a converted trunk, as in the Chainer tutorial on anime characters."), *recipes]


def _train(
    recipe: ModuleType, data: Path, run: Path, test: Path | None, force: bool, resume: bool = False, **values: Any
) -> None:
    from finetune.checkpoint import check_free

    options = replace(recipe.DEFAULTS, **values)
    if resume:
        finished = recipe.resume(data, run, options, test)
    else:
        check_free(run, force)  # before anything is read
        finished = recipe.train(data, run, options, test, force)
    for line in finished.said:
        click.echo(line)
    say(str(run))
    if finished.interrupted:
        click.get_current_context().exit(130)


def _taken_out(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """The recipe's name, None where none is given, and the other arguments."""
    rest, name = list(args), None
    end = rest.index("--") if "--" in rest else len(rest)
    for place in reversed(range(end)):
        if rest[place].startswith(f"{FLAG}="):
            name = name or rest[place].partition("=")[2]
            del rest[place]
        elif rest[place] == FLAG:
            if place + 1 == len(rest):
                raise click.UsageError(f"{FLAG} wants a name: {', '.join((TUTORIAL, *RECIPES))}")
            name = name or rest[place + 1]
            del rest[place : place + 2]
    return name, rest


def _shown(default: Any) -> bool | str:
    """How --help shows a default; None is told by the option's own text."""
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return default is not None
