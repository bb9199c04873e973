"""Trains the packaged face detector anew: python -m finetune.detector.reproduce SHARED_DATA -o RUN [--resume]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from finetune.data.boxes import BoxedPicture, read_boxes
from finetune.detector.material import Material

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


def parts(data: Path) -> tuple[list[BoxedPicture], list[BoxedPicture], list[BoxedPicture], list[BoxedPicture]]:
    """Training and validation pictures of boxes_cc_anime's even half, then of boxes_scooby_val."""
    even = sorted(read_boxes(data / "boxes_cc_anime"), key=lambda one: one.path.name)[0::2]
    scooby = read_boxes(data / "boxes_scooby_val" / "task1_gt_validare.txt")
    held = even[0::3]
    return [one for one in even if one not in held], held, scooby[:-SCOOBY_HELD_OUT], scooby[-SCOOBY_HELD_OUT:]


def gather(
    data: Path, photos: Path | None, anime: Sequence[BoxedPicture], scooby: Sequence[BoxedPicture], drawn: int
) -> Material:
    """Everything to train on, and how often each source is drawn from."""
    material = Material()
    material.add_pictures(anime, 0.6)
    material.add_pictures(scooby, 0.3)
    material.add_faces(data / "face_patches" / "1_face", HEADS, 1.6)
    material.add_faces(data / "animeface10" / "train", CHARACTERS, 1.6)
    material.add_drawn(drawn, 0.4)
    material.add_others(sorted((data / "face_patches" / "0_other").iterdir()), 2.0)
    for folder in sorted((data / "emoji_faces").iterdir()):
        if folder.name in ANIMALS:
            material.add_others(sorted(folder.glob("*.png")), 0.4 / len(ANIMALS), 96)
        elif folder.is_dir() and folder.name not in NEITHER:
            material.add_faces(folder, SIGNS, 0.15 / 70, 96)
    if photos is not None:
        material.add_backgrounds(sorted(photos.iterdir()), 0.8)
    return material


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), default=Path("runs/detector"))
@click.option("--photos", type=click.Path(path_type=Path, exists=True), help="Folder of photos without faces.")
@click.option("--drawn", type=int, default=300, help="Scenes to draw.")
@click.option("--steps", type=int, default=6000)
@click.option("--every", type=int, default=250)
@click.option("--resume", is_flag=True)
def main(data: Path, run: Path, photos: Path | None, drawn: int, steps: int, every: int, resume: bool) -> None:
    """Train on DATA (the folder with face_patches, animeface10, …) into RUN."""
    import torch

    from finetune.detector.composing import Composer
    from finetune.detector.network import Detector
    from finetune.detector.training import Settings, Training
    from finetune.detector.validating import Validation

    settings = Settings(steps=steps, every=every)
    torch.manual_seed(settings.seed)
    torch.set_flush_denormal(True)
    anime, anime_held, scooby, scooby_held = parts(data)
    validation = Validation({"anime": (anime_held, 0.7), "scooby": (scooby_held, 0.3)})
    material = gather(data, photos, anime, scooby, drawn)
    run.mkdir(parents=True, exist_ok=True)
    training = Training(Detector(), settings)
    if resume:
        training.take_up(run)
    training.run(Composer(material, settings.size), run, validation, click.echo)


if __name__ == "__main__":
    main()
