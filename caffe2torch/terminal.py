"""What every command shares at the terminal: errors in one line, notes on stderr, tables and progress."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from caffe2torch.errors import CaffeError
from caffe2torch.files import FULL

if TYPE_CHECKING:
    from rich.console import Console


class Commands(click.Group):
    """A click group that answers with one line on stderr instead of a traceback.

    Exit codes: 0 all done; 1 a CaffeError, a full disk, a refused permission or Ctrl-C (130); 2 wrong usage.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CaffeError as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt:
            note("interrupted: nothing was left half-written")
            ctx.exit(130)
        except BrokenPipeError:
            # The reader of our output (head, less) has gone: be quiet, also at interpreter exit.
            if sys.stdout is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except MemoryError as error:
            raise Failure("not enough memory for this") from error
        except OSError as error:
            raise Failure(in_words(error)) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("CAFFE2TORCH_TRACEBACK"):
                raise
            raise Failure(
                f"{type(error).__name__}: {error}. This is a fault of the program, not of your files; please report it "
                "with what CAFFE2TORCH_TRACEBACK=1 shows"
            ) from error


class Failure(click.ClickException):
    """Printed as ``error: …`` on stderr, exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        note(f"error: {self.format_message()}")


def in_words(error: OSError) -> str:
    """An operating system's error as what and where."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        return f"{where}the disk is full, or a limit is reached; nothing was left half-written"
    return f"{where}{error.strerror or error}"


def note(text: str) -> None:
    """Print one line on stderr: progress, assumptions, what was dropped."""
    click.echo(printable(text), err=True)


def say(text: str) -> None:
    """Print on stdout: what was asked for. Failure where that cannot be written, and not what was done before."""
    try:
        click.echo(printable(text))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(f"what was done cannot be told, stdout cannot be written: {error.strerror}") from error


def printable(text: str) -> str:
    """The text with control characters as escapes: names from a file must not command the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def is_terminal(stream: IO[Any] | None) -> bool:
    """Whether a person looks at it; Python has None for a stream that was closed from the start (``>&-``)."""
    return stream is not None and stream.isatty()


def console(stderr: bool = False) -> Console:
    """A rich console; plain text when the stream is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    file = io.StringIO() if stream is None else stream
    return Console(file=file, highlight=False, width=None if is_terminal(stream) else 120)


@contextmanager
def bytes_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr for work counted in bytes: call it with (done, total). Nothing is shown off a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
