"""`finetune train --recipe NAME`: which options a recipe has, and what is said of those it has not."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from finetune.cli import main
from finetune.recipes import RECIPES, TUTORIAL, Finished, load_recipe
from finetune.recipes.command import listed, recipe_command

TRAIN = main.commands["train"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_shows_its_defaults(name: str) -> None:
    shown = CliRunner().invoke(main, ["train", "--recipe", name, "--help"])
    recipe = load_recipe(name)
    assert shown.exit_code == 0
    assert shown.output.count("[default: ") >= len(recipe.KNOWS) // 2
    assert "--trunk" not in shown.output


@pytest.mark.parametrize("name", RECIPES)
def test_every_option_of_a_recipe_sets_a_field(name: str) -> None:
    recipe = load_recipe(name)
    known = {field.name for field in fields(recipe.DEFAULTS)}
    options = {param.name for param in recipe_command(TRAIN, name).params} - {"data", "run", "test", "force", "resume"}
    assert options <= known and options == {*recipe.KNOWS, *(option.name for option in recipe.EXTRA)}


def test_recipes_are_listed_with_what_they_train() -> None:
    shown = CliRunner().invoke(main, ["recipes"]).output
    assert [line.split()[0] for line in shown.splitlines()] == [TUTORIAL, *RECIPES]
    assert all(about.endswith(".") for _, about in listed())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "frgnet", "x"], "--recipe frgnet: no such recipe; there are tutorial, "),
        (["x", "--recipe"], "--recipe wants a name: tutorial, "),
        (
            ["--recipe", "frgnet64", "x", "--hidden", "3"],
            "the recipe frgnet64 has no option --hidden; it has -o, --test",
        ),
        (["--recipe=frgnet64", "x", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["--recipe", "tutorial", "x"], "Missing option '--trunk'"),
    ],
)
def test_wrong_options_are_wrong_usage(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["train", *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_options_reach_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {}

    def train(data: Path, run: Path, options: object, test: Path | None, force: bool) -> Finished:
        given.update(data=data, run=run, options=options, test=test, force=force)
        return Finished(("best: epoch 3",), interrupted=True)

    recipe = load_recipe("frgnet64")
    monkeypatch.setattr(recipe, "train", train)
    run = tmp_path / "run"
    arguments = ["train", "data", "--lr", "0.5", "--recipe=frgnet64", "--no-turns", "-o", str(run), "--test", "more"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 130 and result.output.splitlines() == ["best: epoch 3", str(run)]
    options = given.pop("options")
    assert given == {"data": Path("data"), "run": run, "test": Path("more"), "force": False}
    assert (options.learning_rate, options.turns, options.epochs) == (0.5, False, recipe.DEFAULTS.epochs)


def test_a_name_behind_the_double_dash_is_data() -> None:
    context = TRAIN.make_context("train", ["--trunk", "t", "--", "--recipe"], resilient_parsing=False)
    assert isinstance(context, click.Context) and context.params["data"] == Path("--recipe")
