"""Quality: what must be true of the market's data, judged by Great Expectations, kept in BigQuery.

`window` says which time is looked at, `suites` what must be true, `results` what a check found;
none of them imports anything heavy. `runner` asks Great Expectations (9 s to import, only in the
task), `check` does all of it in order.
"""
