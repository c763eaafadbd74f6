import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor

from beam_jobs import stream_trades
from beam_jobs.stream_trades import build, main

GOOD = [
    "--streaming",
    "--runner=DirectRunner",
    "--project=test-project",
    "--subscription=projects/test-project/subscriptions/frames",
    "--archive=gs://archive",
]


class Steps(PipelineVisitor):
    """Collects the names of the pipeline's outermost steps, and which produce nothing."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        self._note(node)

    def visit_transform(self, node: AppliedPTransform) -> None:
        self._note(node)

    def _note(self, node: AppliedPTransform) -> None:
        if node.full_label and "/" not in node.full_label:
            self.names.append(node.full_label)


def test_the_pipeline_reads_like_a_table_of_contents() -> None:
    options = PipelineOptions(GOOD)
    pipeline = beam.Pipeline(runner="BundleBasedDirectRunner", options=options)
    build(pipeline, options)
    steps = Steps()
    pipeline.visit(steps)
    assert steps.names == [
        *("Read messages", "Open frames", "Load rows", "Archive frames", "Archive unreadable"),
        *("All rejections", "Load rejections"),
    ]


def test_wrong_options_end_it_with_all_mistakes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_trades, "create_tables", lambda *_: pytest.fail("it went on"))
    assert main(["--streaming", "--archive=here"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["--subscription", "--archive", "--project"]
