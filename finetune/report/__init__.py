"""The report of a training run: report.html, one file that needs no network, from what the run's folder holds."""

from __future__ import annotations

import os
from pathlib import Path

from caffe2torch.files import write_whole

NAME = "report.html"


def write_report(run: Path) -> Path:
    """Write RUN/report.html anew and give its path; the pictures are read from where they were.

    Pictures that are no longer there are shown as their names. Raises ModelError for what is no run, or a damaged one.
    """
    from finetune.report.page import page
    from finetune.report.read import read_results

    path = run / NAME
    # What no encoding knows in a file's name is shown as an escape.
    write_whole(path, page(read_results(Path(os.path.abspath(run)))).encode("utf-8", "backslashreplace"))
    return path
