"""Deploys the platform to Google Cloud: `python -m deploy dags|job --env ENV`.

`files` knows what goes where, `plan` what has to be done (both pure of any cloud), `outputs` reads
what an environment is, `bucket` does it. Of the streaming job `dataflow` knows the commands (pure),
`job` their order, `gcloud` runs them.
"""
