"""`python -m images build [NAME ...]`, `python -m images env [simulated|live]`."""

from __future__ import annotations

import argparse
import sys

from images.build import STAGES, build_images
from images.engine import ROOT, EngineError, find_engine
from images.environment import EXCHANGES, complete


def main() -> int:
    """Do what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build images with docker or podman")
    build.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STAGES)}")
    env = commands.add_parser("env", help="write the compose file's secrets into .env")
    env.add_argument("exchange", nargs="?", choices=EXCHANGES, default="simulated")
    options = parser.parse_args()
    if options.command == "env":
        added = complete(ROOT / ".env", options.exchange)
        print(f".env: {'added ' + ', '.join(added) if added else 'nothing is missing'}")
        return 0
    unknown = set(options.names) - set(STAGES)
    if unknown:
        parser.error(f"unknown image {', '.join(sorted(unknown))}; expected {', '.join(STAGES)}")
    try:
        built = [*build_images(find_engine(), options.names or STAGES)]
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    for each in built:
        print(f"{each.image:<32}{each.size / 1e6:>8.0f} MB{each.seconds:>8.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
