"""BigQuery in the sandbox: bqemulator in an environment of its own, started by `launcher.py`."""
