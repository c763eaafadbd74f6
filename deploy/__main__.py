"""`python -m deploy`; `make deploy-dags ENV=dev ARGS=--dry-run`, `make deploy-job ENV=dev`.

Exit codes: 0 deployed or shown, 1 the cloud refused, 2 the input is wrong and nothing was done.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

# Google's clients warn of this Python's end of life at each import.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")

from deploy import job as streaming  # noqa: E402
from deploy.bucket import DeploymentError, deploy, show  # noqa: E402
from deploy.commands import run  # noqa: E402
from deploy.dataflow import METADATA, Source, check_version, parse_job  # noqa: E402
from deploy.files import contents  # noqa: E402
from deploy.outputs import FOLDER, OutputsError, read_document, read_outputs  # noqa: E402
from deploy.steps import apply, next_steps  # noqa: E402

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str]) -> int:
    """Run one deployment and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.deploy(options)
    except OutputsError as error:
        print(error, file=sys.stderr)
        return 2
    except DeploymentError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _deploy_dags(options: argparse.Namespace) -> None:
    outputs = read_outputs(options.env, options.outputs, ROOT / FOLDER)
    wanted = contents(ROOT, outputs)
    if options.dry_run:
        print(show(outputs, wanted))
        return
    print(deploy(outputs, wanted))
    if options.apply:
        apply(outputs)
    print(next_steps(outputs, are_imported=options.apply))


def _deploy_job(options: argparse.Namespace) -> None:
    document, name = read_document(options.env, options.outputs, ROOT / FOLDER)
    metadata = json.loads((ROOT / METADATA).read_text("utf-8"))
    job = parse_job(options.env, document, metadata, name)
    commit = _commit()
    version = check_version(options.version or commit)
    source = _source(commit) if version == commit else None
    if not options.apply:
        print(streaming.show(job, version, source))
        return
    now = datetime.now(UTC)
    deployment = streaming.Deployment(
        job, version, run, time.sleep, now, source=source, tell=partial(print, file=sys.stderr)
    )
    print(deployment.deploy())


def _source(commit: str) -> Source:
    engine = os.environ.get("CONTAINER_ENGINE") or "docker"
    arguments = shlex.split(os.environ.get("IMAGE_BUILD_ARGS", ""))
    return Source(commit, engine, tuple(arguments))


def _commit() -> str:
    """Return the commit that is checked out; empty where there is none, or it is changed."""
    try:
        changed, commit = (
            subprocess.run(  # noqa: S603 - a command of ours
                ["git", "-C", str(ROOT), *command],  # noqa: S607 - the user's git
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            ).stdout.strip()
            for command in (
                # Outputs of an environment are in no image.
                ["status", "--porcelain", "--", ".", ":!deploy/environments"],
                ["rev-parse", "--short=12", "HEAD"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return "" if changed else commit


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    dags = commands.add_parser("dags", help="DAGs, plugins and dbt to a Composer environment")
    job = commands.add_parser("job", help="the streaming job to Dataflow, in place where it runs")
    for command, act in ((dags, _deploy_dags), (job, _deploy_job)):
        command.set_defaults(deploy=act)
        command.add_argument("--env", default="", help="environment, as in dev")
        command.add_argument(
            "--outputs", type=Path, help=f"its outputs; {FOLDER}/ENV.json when it is not given"
        )
    job.add_argument("--version", help="tag of the image; the commit when it is not given")
    job.add_argument("--apply", action="store_true", help="run the commands, else they are shown")
    dags.add_argument("--dry-run", action="store_true", help="show the difference, change nothing")
    dags.add_argument(
        "--apply", action="store_true", help="set Variables and connections too, with gcloud"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
