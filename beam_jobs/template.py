"""What the image of the flex templates starts: the job that the options belong to.

Both templates name one image, and an image's launcher runs one file: this one. A replay must be
given its first hour, which the stream does not know, so the options tell the two apart.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence


def job_of(arguments: Sequence[str]) -> str:
    """Return the module of the job; the launcher gives options as `--name=value`."""
    is_replay = any(argument.startswith("--first=") for argument in arguments)
    return "beam_jobs.replay_archive" if is_replay else "beam_jobs.stream_trades"


if __name__ == "__main__":
    sys.exit(importlib.import_module(job_of(sys.argv[1:])).main(sys.argv[1:]))
