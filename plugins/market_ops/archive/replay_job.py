"""The operator of `replay_archive`: on Dataflow no worker waits for the job's end.

The trigger is the Google provider's. One of our own would not be found on Composer 3, whose
triggerer has no folder `plugins` (docs/decisions/014-airflow.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from ..clients import archive_bucket
from ..settings import CONNECTION, Settings, read_settings
from . import replay

LIMIT: Final = timedelta(hours=6)  # of a job
LOOK_SECONDS: Final = 30


class ReplayJob(BaseOperator):
    """Runs the Beam job and returns the name of the object with its proof.

    The options are the run's parameters. Where Dataflow runs the job the task is deferred until the
    job has ended, elsewhere the job is a process of the task.
    """

    def execute(self, context: Any) -> str:
        """Run the job, or start it and defer.

        Raises:
            AirflowFailException: the options are wrong; a repetition cannot mend it.
            RuntimeError: the job ended without a proof.
        """
        settings = read_settings()
        options = replay.job_options(settings, context["params"], _proof(context))
        try:
            if settings.dataflow:
                self._wait_for(settings, replay.start_on_dataflow(settings, options))
            code = replay.run_here(options)
        except replay.WrongOptions as error:
            raise AirflowFailException(str(error)) from error
        return self.ended(context, {"message": f"exit code {code}"})

    def _wait_for(self, settings: Settings, job_id: str) -> NoReturn:
        from airflow.providers.google.cloud.triggers.dataflow import DataflowJobStatusTrigger

        trigger = DataflowJobStatusTrigger(
            job_id=job_id,
            expected_statuses={"JOB_STATE_DONE"},
            project_id=settings.project,
            location=settings.dataflow["region"],
            gcp_conn_id=CONNECTION,
            poll_sleep=LOOK_SECONDS,
        )
        self.defer(trigger=trigger, method_name="ended", timeout=LIMIT)

    def ended(self, context: Any, event: Mapping[str, str]) -> str:
        """Return the proof's name when the job has written it, whatever it says.

        Raises:
            RuntimeError: there is none.
        """
        self.log.info("%s", event["message"])
        proof = _proof(context)
        replay.find_proof(archive_bucket(read_settings()), proof, event["message"])
        return proof


def _proof(context: Any) -> str:
    """Return the name of the attempt's proof; a task that was deferred is the same attempt."""
    return replay.proof_name(context["run_id"], context["task_instance"].try_number)
