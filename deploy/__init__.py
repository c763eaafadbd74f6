"""Deploys the platform to Google Cloud: `python -m deploy dags --env ENV`.

`files` knows what goes where, `plan` what has to be done (both pure of any cloud), `outputs` reads
what an environment is, `bucket` does it.
"""
