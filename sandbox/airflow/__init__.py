"""Airflow as a service of the sandbox: its settings, its process, and a client of its REST API."""
