import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from plugins.market_ops.report.facts import Facts
from plugins.market_ops.report.render import (
    COLOURS,
    MAIL_ROWS,
    MAX_BYTES,
    PAGE_ROWS,
    cut,
    duration,
    grouped,
    render_mail,
    render_page,
    style_sheet,
    subject,
    whole,
)
from tests.plugins.report.samples import (
    DAY,
    HOSTILE,
    LINKS,
    at,
    bad_day,
    check,
    completeness,
    document,
    good_day,
    healed,
    hole,
    rejected,
    volume,
)

GOLDEN = Path(__file__).parent / "golden"
VOID = {"meta", "br", "hr", "img", "link"}
Json = dict[str, Any]
Render = Callable[[Json, dict[str, str]], str]
BOTH = pytest.mark.parametrize("render", [render_page, render_mail])


class Parsed(HTMLParser):
    """The elements of a document, each closed where it must be, and the text that is seen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.lines: list[str] = [""]
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("tr", "p", "div", "h1", "h2", "li", "summary", "title"):
            self.lines.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in ("td", "th"):
            self.lines[-1] += " | "

    def handle_data(self, data: str) -> None:
        if "style" not in self._open and "pre" not in self._open:
            self.lines[-1] += data

    def values(self, attribute: str) -> list[str]:
        return [found[attribute] or "" for _, found in self.elements if attribute in found]

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def text(self) -> str:
        lines = (" ".join(line.split()).removesuffix(" |") for line in self.lines)
        return "\n".join(line for line in lines if line) + "\n"


def wide_day(symbols: int, text: str = "x") -> Facts:
    """Return a day on which everything of many symbols is wrong."""
    names = [f"{text[:12]}{number:04}USDT" for number in range(symbols)]
    large = {"first_id": 2**62, "last_id": 2**62 + 10**9}
    return replace(
        bad_day(),
        completeness=tuple(completeness(n, verdict="INCOMPLETE", **large) for n in names),
        holes=tuple(hole(n, first_missing_id=2**62, last_missing_id=2**62 + 9) for n in names),
        healed=tuple(healed(n, collector=text[:30], **large) for n in names),
        rejections=tuple(rejected(reason=n, value=text * 256, detail=text * 500) for n in names),
        checks=tuple(check(expectation=n, observed=text * 1000, remedy=text * 300) for n in names),
        volumes=tuple(
            volume(n, back, 10**9, "9" * 20 + ".123456789", n) for n in names for back in range(8)
        ),
    )


@pytest.mark.parametrize(("name", "facts"), [("good_day", good_day()), ("bad_day", bad_day())])
def test_what_a_mail_says_is_golden(name: str, facts: Facts) -> None:
    text = Parsed(render_mail(document(facts), LINKS)).text
    assert text == (GOLDEN / f"{name}.txt").read_text("utf-8")


@BOTH
@pytest.mark.parametrize("facts", [good_day(), bad_day(), Facts(day=DAY)])
def test_the_verdict_comes_first(render: Render, facts: Facts) -> None:
    found = document(facts)
    lines = Parsed(render(found, LINKS)).text.splitlines()
    assert lines[1:3] == ["Market data quality", "Monday, 2 February 2026, UTC"]
    assert lines[3] == found["verdict"]["word"]
    assert lines[5].startswith("What to do: ")


@BOTH
def test_nothing_is_loaded_and_nothing_runs(render: Render) -> None:
    html = render(document(bad_day()), LINKS)
    parsed = Parsed(html)
    assert not parsed.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert not parsed.values("src")
    assert "url(" not in html
    assert "@import" not in html


def test_a_mail_has_its_styles_on_the_elements_and_no_svg() -> None:
    parsed = Parsed(render_mail(document(bad_day()), LINKS))
    assert not parsed.tags & {"svg", "style", "details"}
    assert not parsed.values("class")
    assert "var(" not in "".join(parsed.values("style"))
    assert sum("█" in line for line in parsed.lines) == 2
    assert all(href.startswith("https://") for href in parsed.values("href"))


def test_a_page_has_charts_with_a_name_and_every_query_that_it_links_to() -> None:
    parsed = Parsed(render_page(document(bad_day()), LINKS))
    names = set(parsed.values("id"))
    assert set(parsed.values("aria-labelledby")) == {"latency-chart", "volume-chart", "hole-chart"}
    linked = {href[1:] for href in parsed.values("href") if href.startswith("#")}
    assert {f"query-{name}" for name in document(bad_day())["queries"]} == linked
    assert linked | set(parsed.values("aria-labelledby")) <= names
    assert len(parsed.values("id")) == len(names)


def test_every_class_of_a_page_is_in_the_style_sheet() -> None:
    parsed = Parsed(render_page(document(bad_day()), LINKS))
    used = {name for value in parsed.values("class") for name in value.split()}
    html = render_page(document(bad_day()), LINKS)
    assert [name for name in used if f".{name}{{" not in html] == []
    assert set(re.findall(r"var\(--([\w-]+)\)", html)) <= set(COLOURS)
    assert "prefers-color-scheme:dark" in style_sheet()


@BOTH
def test_hostile_text_stays_text(render: Render) -> None:
    facts = replace(
        bad_day(),
        completeness=(completeness(HOSTILE, verdict="INCOMPLETE"),),
        holes=(hole(HOSTILE),),
        healed=(healed(HOSTILE, collector=HOSTILE),),
        rejections=(rejected(symbol=HOSTILE, field=HOSTILE, value=HOSTILE, detail=HOSTILE),),
        checks=(check(observed=HOSTILE, threshold=HOSTILE, link=f"javascript:{HOSTILE}"),),
        volumes=(volume(HOSTILE, 0, 1, "1", HOSTILE),),
    )
    html = render(document(facts), LINKS)
    parsed = Parsed(html)
    assert "script" not in parsed.tags
    assert not any("javascript" in href for href in parsed.values("href"))
    assert HOSTILE in parsed.text
    assert "<script" not in html


@BOTH
def test_a_symbol_that_is_not_ascii(render: Render) -> None:
    assert "币安人生USDT" in render(document(good_day()), LINKS)


@pytest.fixture(scope="module", params=["x", "币"])
def wide(request: pytest.FixtureRequest) -> Json:
    """Two thousand symbols."""
    return document(wide_day(2000, request.param))


@pytest.mark.integration  # a second of rendering
@BOTH
def test_a_page_stays_below_the_limit_whatever_happened(render: Render, wide: Json) -> None:
    html = render(wide, LINKS)
    assert len(html.encode()) < MAX_BYTES
    assert re.search(r"The first \d+ of 2,000 symbols", html)


@pytest.mark.parametrize(("render", "rows"), [(render_page, PAGE_ROWS), (render_mail, MAIL_ROWS)])
def test_two_thousand_bad_symbols_do_not_shorten_tables(
    render: Render, rows: int, wide: Json
) -> None:
    few = {name: wide[name][:10] for name in ("rejections", "checks")}
    html = render(wide | few, LINKS)
    assert f"The first {rows} of 2,000 symbols" in html


def test_so_far_is_said() -> None:
    assert "(so far)" in render_page(document(good_day(), at(12)), LINKS)


def test_the_subject_has_verdict_day_and_what_is_missing() -> None:
    assert subject(document(good_day())) == "COMPLETE 2026-02-02: 200 trades of 2 symbols"
    assert subject(document(bad_day())) == (
        "INCOMPLETE 2026-02-02: 397 trades of 4 symbols, 3 missing"
    )


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (None, "–"),
        (0, "0 µs"),
        (999, "999 µs"),
        (1000, "1 ms"),
        (-2_500, "-2.5 ms"),
        (40_123, "40.1 ms"),
        (1_250_000, "1.25 s"),
        (90_000_000, "1.5 min"),
        (7_200_000_000, "2 h"),
    ],
)
def test_durations_are_said_in_a_fitting_unit(microseconds: int | None, text: str) -> None:
    assert duration(microseconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (1234567, "1,234,567"), ("-0.05", "−0.05"), ("1234.500", "1,234.500")],
)
def test_numbers_are_grouped_and_not_rounded(value: int | str | None, text: str) -> None:
    assert grouped(value) == text


def test_texts_are_cut_and_means_rounded() -> None:
    assert (cut(None), cut("a" * 120), cut("a" * 121)) == ("", "a" * 120, "a" * 119 + "…")
    assert (whole(None), whole("1234.6")) == ("–", "1,235")
