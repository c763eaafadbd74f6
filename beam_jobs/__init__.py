"""Beam jobs: frames from Pub/Sub into the archive and BigQuery, on DirectRunner and Dataflow.

A pipeline file (`stream_trades`) reads as a table of contents; each transform has a file of its
own and wires plain functions of `market_data`. The same code runs here and on GCP, only addresses
differ.
"""
