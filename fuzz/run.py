"""Coverage-guided fuzzing of one target: python fuzz/run.py TARGET [--seconds 600] [--corpus DIR].

Needs `pip install -e '.[fuzz]'` (atheris, which has wheels for CPython 3.11 to 3.13 on Linux). libFuzzer runs one
thread, stops at the first finding and writes its bytes to CORPUS/findings; `make fuzz SECONDS=600` runs all targets.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["caffe2torch"]):
    from caffe2torch import registry

    registry.load_all()
    from fuzz.targets import TARGETS

from fuzz import corpus

WORDS = Path(__file__).with_name("words.dict")
LIMITS = ["-timeout=2", "-rss_limit_mb=1024", "-max_len=32768", "-print_final_stats=1", "-len_control=0"]


def main() -> None:
    """Fuzz until a finding or the end of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz"))
    given = parser.parse_args()
    folder = given.corpus / given.target
    findings = given.corpus / "findings" / given.target
    findings.mkdir(parents=True, exist_ok=True)
    corpus.write(given.target, folder / "seeds")
    (folder / "grown").mkdir(exist_ok=True)
    arguments = [*LIMITS, f"-max_total_time={given.seconds}", f"-artifact_prefix={findings}/"]
    if given.target in ("text", "net", "solver"):
        arguments.append(f"-dict={WORDS}")
    target = TARGETS[given.target]

    def once(data: bytes) -> None:
        target(data)

    atheris.Setup([sys.argv[0], *arguments, str(folder / "grown"), str(folder / "seeds")], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
