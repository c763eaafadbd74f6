"""What the DAG `replay_archive` does: runs the Beam job and judges the proof that it leaves.

The job is `beam_jobs.replay_archive`: on Google Cloud a flex template on Dataflow, elsewhere a
process of its own on DirectRunner. Nothing of it is imported here.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..settings import CONNECTION, Settings

if TYPE_CHECKING:
    from google.cloud import storage

logger = logging.getLogger(__name__)

JOB: Final = "beam_jobs.replay_archive"
# Beside the folder of the plugins, as in the repository.
FOLDER: Final = Path(__file__).parents[3]
SECONDS: Final = 60.0
# What is told of each kind; the proof has all.
SHOWN: Final = 20
_WRONG_OPTIONS: Final = 2


class NotProven(ValueError):
    """The tables do not hold what the archive holds; the message names symbols and objects."""


class WrongOptions(ValueError):
    """The job refuses what it was asked for; the message names every mistake."""


def proof_name(run_id: str, attempt: int) -> str:
    """Return the name of the object that a run's attempt writes its proof to."""
    return f"replays/{re.sub(r'[^A-Za-z0-9_.-]+', '-', run_id)}.{attempt}.json"


def job_options(settings: Settings, params: Mapping[str, Any], proof: str) -> dict[str, str]:
    """Return the job's options.

    Args:
        settings: the DAGs' settings.
        params: of the run: first, last, channels, symbols, tables.
        proof: name of the object for the proof.
    """
    options = {
        "project": settings.project,
        "archive": f"gs://{settings.bucket}",
        "dataset_location": settings.location,
        "first": params["first"],
        "last": params["last"],
        "channels": ",".join(params["channels"]),
        "symbols": ",".join(params["symbols"] or ()),
        "tables": params["tables"] or "",
        "proof": proof,
    }
    return {name: value for name, value in options.items() if value}


def find_proof(bucket: storage.Bucket, name: str, ending: str) -> None:
    """Look for the proof of a job that has ended.

    Args:
        bucket: of the archive.
        name: the proof's.
        ending: how the job ended, for people.

    Raises:
        RuntimeError: it is not there.
    """
    if not bucket.blob(name).exists(timeout=SECONDS):
        raise RuntimeError(
            f"gs://{bucket.name}/{name}: the job ended without a proof ({ending}); its log says"
            " why; what it has appended is not appended again"
        )


def read_proof(bucket: storage.Bucket, name: str) -> dict[str, Any]:
    """Return a proof."""
    proof: dict[str, Any] = json.loads(bucket.blob(name).download_as_bytes(timeout=SECONDS))
    return proof


def judge(proof: Mapping[str, Any], address: str) -> dict[str, Any]:
    """Return a proof's figures.

    Args:
        proof: as the job wrote it.
        address: where people find it.

    Raises:
        NotProven: archive and tables differ, or a part of the archive could not be read.
    """
    complaints = [*proof["problems"]]
    different = [each for each in proof["symbols"] if not each["is_equal"]]
    complaints += [
        f"{each['symbol']} ({each['channel']}): the archive has {_words(each['archive'])},"
        f" the table {_words(each['table'])}"
        for each in different[:SHOWN]
    ]
    if len(different) > SHOWN:
        complaints.append(f"{len(different) - SHOWN} more symbols differ")
    if not different:
        complaints += proof["differences"][:SHOWN]
    if proof["unarchived_frames"]:
        complaints.append(
            f"{proof['unarchived_frames']} frames are in ops.frames and in no readable object, such"
            f" as {', '.join(proof['unarchived'][:3])}: their objects are gone, raw objects are"
            " removed some days after compaction"
        )
    figures = {name: proof[name] for name in ("frames", "rows", "replayed_frames", "replayed_rows")}
    logger.info("%s: %s", address, figures)
    if complaints:
        raise NotProven("\n".join((*complaints, f"proof: {address}")))
    return figures


def _words(totals: Mapping[str, Any]) -> str:
    sums = [f"{name[4:]} {totals[name]}" for name in totals if name != "count" and totals[name]]
    return f"{totals['count']} rows ({', '.join(sums)})" if totals["count"] else "nothing"


def run_here(options: Mapping[str, str]) -> int:
    """Run the job as a process on DirectRunner and return its exit code; its output is logged.

    Raises:
        WrongOptions: a repetition cannot mend it.
    """
    command = [sys.executable, "-m", JOB, "--runner=DirectRunner"]
    command += [f"--{name}={value}" for name, value in options.items()]
    logger.info("%s", " ".join(command))
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603 # our own job; its options are checked by it
        command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                logger.info("%s", line.rstrip())
                said.append(line)
        finally:
            if process.poll() is None:
                process.terminate()  # the task was stopped: so is the job
    if process.returncode == _WRONG_OPTIONS:
        raise WrongOptions("".join(said[-SHOWN:]))
    return process.returncode


def start_on_dataflow(settings: Settings, options: Mapping[str, str]) -> str:
    """Start the job from its flex template and return its id.

    Raises:
        WrongOptions: the Variable names no template.
    """
    template = settings.dataflow.get("replay_template")
    if not template:
        raise WrongOptions(
            "Variable market_ops: dataflow has no replay_template; set it to the gs:// address of"
            " the flex template of beam_jobs.replay_archive"
        )
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    hook = DataflowHook(gcp_conn_id=CONNECTION)
    body = {
        "launchParameter": {
            "jobName": f"replay-archive-{datetime.now(UTC):%Y%m%d-%H%M%S}",
            "containerSpecGcsPath": template,
            # Dataflow gives the job its project.
            "parameters": {name: text for name, text in options.items() if name != "project"},
        }
    }
    job = hook.launch_job_with_flex_template(
        body=body, location=settings.dataflow["region"], project_id=settings.project
    )
    return str(hook.extract_job_id(job))
