"""`python -m deploy`; `make deploy-dags ENV=dev ARGS=--dry-run`.

Exit codes: 0 deployed or shown, 1 the cloud refused, 2 the input is wrong and nothing was done.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

# Google's clients warn of this Python's end of life at each import.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")

from deploy.bucket import DeploymentError, deploy, show  # noqa: E402
from deploy.files import contents  # noqa: E402
from deploy.outputs import FOLDER, OutputsError, read_outputs  # noqa: E402
from deploy.steps import apply, next_steps  # noqa: E402

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str]) -> int:
    """Run one deployment and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        outputs = read_outputs(options.env, options.outputs, ROOT / FOLDER)
        wanted = contents(ROOT, outputs)
        if options.dry_run:
            print(show(outputs, wanted))
            return 0
        print(deploy(outputs, wanted))
        if options.apply:
            apply(outputs)
    except OutputsError as error:
        print(error, file=sys.stderr)
        return 2
    except DeploymentError as error:
        print(error, file=sys.stderr)
        return 1
    print(next_steps(outputs, are_imported=options.apply))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    dags = commands.add_parser("dags", help="DAGs, plugins and dbt to a Composer environment")
    dags.add_argument("--env", default="", help="environment, as in dev")
    dags.add_argument(
        "--outputs", type=Path, help=f"its outputs; {FOLDER}/ENV.json when it is not given"
    )
    dags.add_argument("--dry-run", action="store_true", help="show the difference, change nothing")
    dags.add_argument(
        "--apply", action="store_true", help="set Variables and connections too, with gcloud"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
