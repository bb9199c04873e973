"""Trains the packaged face detector anew: python -m finetune.detector.reproduce DATA -o RUN [--resume].

DATA holds face_patches, animeface10, emoji_faces, boxes_cc_anime and boxes_scooby_val. The photos without faces are
those that packages bring along: pip install --no-deps scikit-image scikit-learn gradio==6.31.0 imgaug foolbox. One core
trains some two hours; a run that was stopped goes on with --resume. finetune/models_shipped holds what came of it.
What a score means is judged on held-out pictures; from step 10,500 on the anime pictures among them are learnt too. The
threshold is that of the best F0.5 on those never learnt: upright, mirrored, turned and close up.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from caffe2torch.errors import DataError
from caffe2torch.files import write_whole
from finetune.data.boxes import BoxedPicture, read_boxes
from finetune.detector.composing import Composer
from finetune.detector.export import metadata, verify, write_model
from finetune.detector.finding import find_faces
from finetune.detector.material import Material
from finetune.detector.network import Detector, with_scores
from finetune.detector.training import LAST, Settings, Training, load_averaged
from finetune.detector.validating import LEAST, Validation
from finetune.detector.ways import close_up, mirrored, turned, upright

HEADS = (0.08, 0.08, 0.92, 0.92)  # where the face is in face_patches: 0.85 of what the cascade cut out
CHARACTERS = (0.258, 0.47, 0.748, 1.0)  # and in animeface10
SIGNS = (0.1, 0.12, 0.9, 0.92)  # and in emoji_faces
ANIMALS = {
    *("baby-chick", "bear", "cat", "cat-face", "cow", "cow-face", "dog", "dog-face", "dragon-face", "frog", "horse"),
    *("horse-face", "koala", "monkey", "monkey-face", "mouse", "mouse-face", "panda", "pig", "pig-face", "rabbit"),
    *("rabbit-face", "tiger", "tiger-face", "wolf"),
}
NEITHER = {"alien", "ghost", "skull", "new-moon-face", "sun-with-face"}
SCOOBY_HELD_OUT = 40
ALONE = 0.75  # of the steps of the first stage are without the held-out anime pictures
VALIDATED = "validated.json"
STEPS = (14_000, 20_000)  # where a stage ends: the learning rate falls from a higher one again
TURNS = (-40, -20, 20, 40)  # degrees
BETA = 0.5  # a false box is worse than a missed face
PHOTOS = {  # package -> pictures in it that show no human face
    "skimage": (
        *("brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png"),
        *(
            "grass.png",
            "gravel.png",
            "horse.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "moon.png",
            "motorcycle_left.png",
        ),
        *("page.png", "retina.jpg", "rocket.jpg", "text.png"),
    ),
    "sklearn": ("china.jpg", "flower.jpg"),
    "gradio": ("cheetah.jpg", "cheetah1.jpg", "cheetah2.jpg", "lion.jpg", "tower.jpg"),
    "imgaug": ("quokka.jpg",),
    "foolbox": ("imagenet_*.jpg",),
}
PHOTOS_HELD_OUT = {
    *("coffee.png", "flower.jpg", "lion.jpg", "quokka.jpg", "imagenet_01_559.jpg", "imagenet_05_853.jpg"),
    *("imagenet_09_455.jpg", "imagenet_13_471.jpg", "imagenet_17_22.jpg"),
}


def parts(data: Path) -> tuple[list[BoxedPicture], list[BoxedPicture], list[BoxedPicture], list[BoxedPicture]]:
    """Training and validation pictures of boxes_cc_anime's even half, then of boxes_scooby_val."""
    even = sorted(read_boxes(data / "boxes_cc_anime"), key=lambda one: one.path.name)[0::2]
    scooby = read_boxes(data / "boxes_scooby_val" / "task1_gt_validare.txt")
    held = even[0::3]
    return [one for one in even if one not in held], held, scooby[:-SCOOBY_HELD_OUT], scooby[-SCOOBY_HELD_OUT:]


def photos() -> list[Path]:
    """The files of PHOTOS. Raises DataError if a package is not installed, or has a picture no more."""
    found = []
    for package, names in PHOTOS.items():
        spec = importlib.util.find_spec(package)
        root = Path(spec.origin).parent if spec is not None and spec.origin else None
        for name in names:
            files = sorted(root.rglob(name)) if root is not None else []
            if not files:
                raise DataError(f"{package} is not installed, or holds no {name}; see the head of this file")
            found += files if "*" in name else files[:1]
    return found


def gather(
    data: Path, backgrounds: Iterable[Path], anime: Sequence[BoxedPicture], scooby: Sequence[BoxedPicture], drawn: int
) -> Material:
    """Everything to train on, and how often each source is drawn from."""
    material = Material()
    material.add_pictures(anime, 0.6)
    material.add_pictures(scooby, 0.3)
    material.add_faces(data / "face_patches" / "1_face", HEADS, 1.6)
    material.add_faces(data / "animeface10" / "train", CHARACTERS, 1.6)
    material.add_drawn(drawn, 0.6)
    material.add_others(sorted((data / "face_patches" / "0_other").iterdir()), 2.0)
    for folder in sorted((data / "emoji_faces").iterdir()):
        if folder.name in ANIMALS:
            material.add_others(sorted(folder.glob("*.png")), 0.4 / len(ANIMALS), 96)
        elif folder.is_dir() and folder.name not in NEITHER:
            material.add_faces(folder, SIGNS, 0.5 / 70, 96)
    photos = list(backgrounds)
    material.add_others(photos, 0.4)
    material.add_backgrounds(photos, 1.6)
    return material


def judge(run: Path, network: Detector, validation: Validation) -> None:
    """Keep in RUN/validated.json what a score of ``network`` means: the chance, seen here, that a box is right.

    Of the last averaged weights, not of the best: the 82 faces of the validation are too few to choose a step by.
    """
    slope, offset = validation.chances(network)
    write_whole(run / VALIDATED, json.dumps({"slope": slope, "offset": offset}))


def finish(run: Path, held: Mapping[str, tuple[Sequence[BoxedPicture], float]]) -> None:
    """Write RUN/model.onnx of the last averaged weights, with its threshold, judged on ``held``, never learnt."""
    judged = json.loads((run / VALIDATED).read_text())
    network = with_scores(load_averaged(run / LAST), judged["slope"], judged["offset"])
    turns = [partial(turned, degrees=degrees) for degrees in TURNS]
    validation = Validation(held, ways=[upright, mirrored, *turns, close_up])
    found = validation.find(lambda picture: find_faces(network, picture, LEAST))
    best = validation.together(found, beta=BETA)
    click.echo(f"upright, mirrored, turned, close up: {best}")
    write_model(network, run / "model.onnx", metadata("anime faces", round(best.threshold, 2)))
    click.echo(f"{run / 'model.onnx'}: {verify(network, run / 'model.onnx')}")


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), default=Path("runs/detector"))
@click.option("--drawn", type=int, default=150, help="Scenes to draw.")
@click.option("--steps", type=int, multiple=True, help="Where a stage ends.  [default: 14000 and 20000]")
@click.option("--every", type=int, default=500)
@click.option("--resume", is_flag=True, help="Go on with the run that was stopped.")
def main(data: Path, run: Path, drawn: int, steps: tuple[int, ...], every: int, resume: bool) -> None:
    """Train on DATA into RUN."""
    stages = [Settings(steps=last, every=every) for last in steps or STEPS]
    torch.manual_seed(stages[0].seed)
    torch.set_flush_denormal(True)
    anime, anime_held, scooby, scooby_held = parts(data)
    pictures = photos()
    none = [BoxedPicture(path, np.zeros((0, 4), np.float32), (), np.zeros(0, bool)) for path in pictures]
    held = [one for one in none if one.path.name in PHOTOS_HELD_OUT]
    never_learnt = {"scooby": (scooby_held, 0.3), "photos": (held, 0.0)}
    validation = Validation({"anime": (anime_held, 0.7), **never_learnt})
    training_photos = [path for path in pictures if path.name not in PHOTOS_HELD_OUT]
    run.mkdir(parents=True, exist_ok=True)
    training = Training(Detector(), stages[0])
    if resume:
        training.take_up(run)
    else:
        (run / VALIDATED).unlink(missing_ok=True)
    if not (run / VALIDATED).exists():
        training.stop = round(ALONE * stages[0].steps)
        material = gather(data, training_photos, anime, scooby, drawn)
        training.run(Composer(material), run, validation, click.echo)
        judge(run, training.averaged, validation)
    material = gather(data, training_photos, [*anime, *anime_held], scooby, drawn)
    for stage in stages:
        training.settings, training.stop = stage, stage.steps
        training.run(Composer(material), run, validation, click.echo)  # where "anime" says nothing any more
    finish(run, never_learnt)


if __name__ == "__main__":
    main()
