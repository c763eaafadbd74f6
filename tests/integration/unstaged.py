"""A module that no worker has; `test_dataflow` uses it in a step all the same."""

import apache_beam as beam


class Unstaged(beam.DoFn):
    def __init__(self, *_: object) -> None:
        pass

    def process(self, element: object) -> None:
        pass
