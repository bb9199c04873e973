"""The commands of `caffe2torch`: arguments in, one call, words out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from caffe2torch.plugin_option import PLUGIN
from caffe2torch.terminal import Commands, note, say

FILE = click.Path(path_type=Path)
FORK = click.option("--fork", metavar="NAME", help="The fork of Caffe that is meant, where several have a layer type.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="caffe2torch")
def main() -> None:
    """Open Caffe files: convert them to PyTorch and ONNX, look into them, check them."""


class ShapeType(click.ParamType):
    """``1,3,224,224``"""

    name = "N,C,H,W"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Positive integers, separated by commas."""
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(part) for part in str(value).replace("x", ",").split(","))
        except ValueError:
            self.fail(f"{value!r} is not a shape; write sizes with commas, as 1,3,224,224", param, ctx)
        if min(sizes) < 1:
            self.fail(f"{value!r}: sizes must be at least 1", param, ctx)
        return sizes


@main.command()
@click.argument("model", type=FILE)
@click.option("--prototxt", type=FILE, help="The net; without it, the one inside MODEL is taken in its deploy form.")
@click.option("-o", "--out", type=FILE, help="Folder to write; default: the model's name without suffix.")
@click.option("--drop", multiple=True, metavar="GLOB", help="Layers to leave out, with all that only they feed.")
@click.option("--keep-all", is_flag=True, help="Keep what is dropped from a known net by default.")
@click.option("--output", "outputs", multiple=True, metavar="BLOB", help="Blobs to give; default: all loose ends.")
@click.option("--input-shape", type=ShapeType(), help="Size of the input, over what the net says.")
@FORK
@click.option("--mean", metavar="FILE|B,G,R", help="Mean: numbers, a .binaryproto or a .npy.")
@click.option("--scale", type=float, help="What pixels less the mean are multiplied by, such as 0.00390625.")
@click.option("--channel-order", type=click.Choice(["BGR", "RGB"]), help="How the net wants its channels.")
@click.option("--onnx", is_flag=True, help="Write model.onnx too.")
@click.option("--no-verify", is_flag=True, help="Do not compare torch with onnxruntime; torch is not needed then.")
@click.option("--force", is_flag=True, help="Replace the folder if it is there.")
@PLUGIN
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def convert(model: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Convert MODEL.caffemodel into a folder: model.safetensors, model.py, config.json."""
    from caffe2torch import convert_folder
    from caffe2torch.errors import FileError

    if model.suffix == ".prototxt" and options["prototxt"] is None and model.is_file():
        raise FileError(
            f"{model}: a net without weights; convert its weights with it, "
            f"`caffe2torch convert WEIGHTS.caffemodel --prototxt {model}`, or see its layers with "
            f"`caffe2torch inspect {model}`"
        )
    result = convert_folder.run(model, out, convert_folder.Options(**options))
    say(json.dumps(result.to_json(), indent=1) if as_json else result.text())


@main.command()
@click.argument("model", type=FILE)
@click.option("--prototxt", type=FILE, help="The net, if not the one inside MODEL.")
@click.option("--input-shape", type=ShapeType(), help="Size of the input, where the file does not say it.")
@FORK
@PLUGIN
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def inspect(
    model: Path, prototxt: Path | None, input_shape: tuple[int, ...] | None, fork: str | None, as_json: bool
) -> None:
    """List the layers of MODEL (.caffemodel or .prototxt): shapes, parameters, multiply-adds."""
    from caffe2torch import inspection, tables
    from caffe2torch.errors import FileError
    from caffe2torch.reader import load_net

    if model.is_dir():
        what = "a folder that was converted already" if (model / "config.json").is_file() else "a folder"
        raise FileError(f"{model}: is {what}; a .caffemodel or .prototxt was expected")
    alone = model.suffix == ".prototxt" and prototxt is None
    net = load_net(None, model, fork=fork) if alone else load_net(model, prototxt, fork=fork)
    found = inspection.inspect(net, input_shape)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1))
    else:
        tables.show_inspection(found)


@main.command()
@click.argument("folder", type=FILE)
@click.argument("other", type=FILE, required=False)
@click.option("--reference", metavar="INPUTS.npz,OUTPUTS.npz", help="Caffe's own inputs and outputs, by blob name.")
@click.option("--run-source", is_flag=True, help="Run the folder's model.py even if it is not as it was printed.")
@PLUGIN
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def verify(folder: Path, other: Path | None, reference: str | None, run_source: bool, as_json: bool) -> None:
    """Compare torch with ONNX, layer by layer; or both with a reference; or FOLDER with OTHER, a folder or .onnx."""
    from caffe2torch import tables
    from caffe2torch import verify as verification

    pair = None
    if reference is not None:
        parts = reference.split(",")
        if len(parts) != 2:
            raise click.BadParameter("give two files: inputs.npz,outputs.npz", param_hint="--reference")
        pair = (Path(parts[0]), Path(parts[1]))
    if other is not None and pair is not None:
        raise click.UsageError("give OTHER or --reference, not both")
    against, alone = verification.verify_against, verification.verify
    comparisons = against(folder, other) if other else alone(folder, pair, run_source)
    if as_json:
        click.echo(json.dumps([tables.comparison_json(entry) for entry in comparisons], indent=1))
    else:
        tables.show_comparisons(comparisons)
    for entry in comparisons:
        entry.require(folder)


@main.command()
@PLUGIN
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@click.option("--markdown", "as_markdown", is_flag=True, help="As a Markdown table, for a README.")
def layers(as_json: bool, as_markdown: bool) -> None:
    """List the layer types that are understood."""
    from caffe2torch import tables

    tables.show_layers(as_json, as_markdown)


@main.command()
@click.argument("out", type=FILE)
@click.option("--net", type=click.Choice(["illust2vec", "illust2vec-tag"]), default="illust2vec", show_default=True)
@click.option(
    "--width",
    type=click.Choice(["1", "2", "4", "16"]),
    default="1",
    show_default=True,
    help="Channels are the published ones divided by this; 1 makes a file of 933 MB.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def sample(out: Path, net: str, width: str, force: bool) -> None:
    """Write a stand-in for Illustration2Vec: its layout, random weights."""
    from caffe2torch.sample import write_sample
    from caffe2torch.terminal import bytes_progress

    with bytes_progress(f"writing {out}") as progress:
        write_sample(out, net, int(width), force=force, progress=progress)
    note(f"{out}: the layout of {net}, channels divided by {width}; its weights are random")


@main.command()
@click.argument("solver_prototxt", type=FILE)
@click.option("-o", "--out", type=FILE, help="File to write instead of stdout.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def solver(solver_prototxt: Path, out: Path | None, force: bool) -> None:
    """Print the torch optimizer and schedule that a solver.prototxt means, as Python."""
    from caffe2torch.files import refuse, write_whole
    from caffe2torch.solver import describe

    if out is not None:
        refuse(out, force, [solver_prototxt])
    text = describe(solver_prototxt)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_whole(out, text)


@main.command("run")
@click.argument("net", type=FILE)
@click.argument("picture", type=FILE)
@click.option("-o", "--out", type=FILE, help="PNG to draw boxes, mask or picture in.  [default: PICTURE.NET.png here]")
@click.option("--force", is_flag=True, help="Replace the drawing if it is there.")
@click.option("--conf", "confidence", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="For boxes.")
@click.option("--top-k", type=click.IntRange(1), default=5, show_default=True, help="For classes.")
@click.option("--labels", type=FILE, help="Names of the classes, one a line.")
@PLUGIN
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def run_net(net: Path, picture: Path, labels: Path | None, as_json: bool, **options: Any) -> None:
    """Show that a port is right: run NET (a folder, or the .onnx in it) on PICTURE and say what it says."""
    from caffe2torch.run import read_labels, run

    names = read_labels(labels) if labels else []
    result = run(net, picture, labels=names, **options)
    for text in result.assumed:
        note(f"note: {text}")
    if as_json:
        drawn = str(result.drawn) if result.drawn else None
        click.echo(json.dumps({"answers": [entry.to_json() for entry in result.answers], "drawn": drawn}, indent=1))
    else:
        click.echo(result.text(names))
