import re
from datetime import UTC, date, datetime, timedelta

import pytest

from plugins.market_ops.report import queries
from plugins.market_ops.report.publish import day_of, links_of, name_of
from plugins.market_ops.settings import Settings

NOW = datetime(2026, 2, 3, 0, 30, tzinfo=UTC)
DAY = date(2026, 2, 2)


@pytest.mark.parametrize(
    ("asked", "day"),
    [
        (None, DAY),
        ("", DAY),
        ("today", DAY + timedelta(days=1)),
        ("2026-02-03", DAY + timedelta(days=1)),
        ("2024-02-29", date(2024, 2, 29)),
    ],
)
def test_the_day_is_the_one_that_ended_unless_another_is_asked_for(
    asked: str | None, day: date
) -> None:
    assert day_of(asked, NOW) == day


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("2026-02-30", "day: expected a date as 2026-03-01 or today, was '2026-02-30'"),
        ("2026-02-04", "day: 2026-02-04 has not begun; choose one up to 2026-02-03"),
    ],
)
def test_a_day_that_is_none_is_refused(asked: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        day_of(asked, NOW)


def test_links_lead_to_the_objects() -> None:
    settings = Settings(project="my-project", bucket="my-bucket", bucket_url="http://host/")
    assert links_of(settings, DAY) == {
        "page": "http://host/my-bucket/reports/quality/dt=2026-02-02/report.html",
        "json": "http://host/my-bucket/reports/quality/dt=2026-02-02/report.json",
        "airflow": "http://localhost:8080/dags/report_quality",
    }
    assert name_of(DAY, "html") in links_of(settings, DAY)["page"]


@pytest.mark.parametrize("query", [make(DAY) for make in queries.ALL], ids=lambda q: q.name)
def test_a_query_names_each_table_with_its_project(query: queries.Query) -> None:
    tables = re.findall(r"\b(?:from|join) (\S+)", query.sql)
    steps = set(re.findall(r"(\w+) as \(", query.sql))
    assert {table for table in tables if not table.startswith("`{project}.")} == steps & {*tables}
    assert len(set(tables) - steps) >= 1
