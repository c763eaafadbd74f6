"""Renders a document as a page and as a mail, from the same template.

The page has a style sheet (with a dark one), charts as inline SVG and the queries; the mail has its
styles on the elements, since some clients drop sheets, block characters instead of SVG, since most
drop that, fewer rows, and links to the page. Neither has a script or loads anything, and both stay
below `MAX_BYTES`, with fewer rows if need be: rows that are cut are counted, and report.json has
them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import charts

if TYPE_CHECKING:
    from jinja2 import Environment

# Gmail clips a mail at 102 kB.
MAX_BYTES: Final = 100_000
PAGE_ROWS: Final = 50
MAIL_ROWS: Final = 15
MAX_TEXT: Final = 120

# Name: in the light, in the dark. Text has a contrast of 4.5 or more on its ground.
COLOURS: Final = {
    "ground": ("#ffffff", "#14171c"),
    "panel": ("#f4f6f8", "#1e232b"),
    "ink": ("#1b2430", "#e6eaf0"),
    "faint": ("#5b6775", "#a3afbd"),
    "line": ("#d9dfe6", "#343c48"),
    "link": ("#0b5cad", "#7db8f5"),
    "good": ("#14683a", "#1d6b40"),
    "open": ("#8a5300", "#865a14"),
    "bad": ("#a61b1b", "#a32626"),
    "good-ink": ("#14683a", "#6fcf97"),
    "open-ink": ("#8a5300", "#f0b95a"),
    "bad-ink": ("#a61b1b", "#ff8f8f"),
    "bar": ("#9db3c9", "#51647a"),
    "mark": ("#0b5cad", "#7db8f5"),
}
# Styles by name; `{colour}` is one of the above. On the page they are classes.
STYLES: Final = {
    "body": "margin:0;padding:0;background:{ground};color:{ink};"
    "font:15px/1.45 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif",
    "sheet": "max-width:860px;margin:0 auto;padding:20px 16px 40px",
    "title": "font-size:22px;line-height:1.25;margin:0 0 2px",
    "h2": "font-size:17px;margin:30px 0 6px;padding-top:12px;border-top:1px solid {line}",
    "faint": "color:{faint}",
    "small": "font-size:13px;color:{faint}",
    "p": "margin:4px 0 8px",
    "link": "color:{link}",
    "table": "border-collapse:collapse;width:100%;margin:6px 0 10px;font-size:14px;"
    "font-variant-numeric:tabular-nums",
    "scroll": "overflow-x:auto",
    "th": "text-align:left;padding:5px 10px 5px 2px;border-bottom:2px solid {line};"
    "font-weight:600;vertical-align:bottom",
    "thn": "text-align:right;padding:5px 14px 5px 6px;border-bottom:2px solid {line};"
    "font-weight:600;vertical-align:bottom",
    "td": "text-align:left;padding:4px 10px 4px 2px;border-bottom:1px solid {line}",
    "tdn": "text-align:right;padding:4px 14px 4px 6px;border-bottom:1px solid {line}",
    "tile": "padding:9px 12px;background:{panel};border:3px solid {ground};vertical-align:top;"
    "width:25%",
    "figure": "font-size:19px;font-weight:600",
    "banner": "padding:14px 18px;margin:14px 0;color:#ffffff;border-radius:6px",
    "COMPLETE": "background:{good}",
    "PROVISIONAL": "background:{open}",
    "INCOMPLETE": "background:{bad}",
    "word": "font-size:21px;font-weight:700;letter-spacing:.03em",
    "good": "color:{good-ink}",
    "open": "color:{open-ink};font-weight:600",
    "bad": "color:{bad-ink};font-weight:600",
    "mono": "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px",
    "blocks": "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:18px;line-height:1.2;"
    "white-space:pre",
    "wrap": "word-break:break-word",
    "pre": "font:12px/1.45 ui-monospace,Menlo,Consolas,monospace;background:{panel};"
    "padding:10px 12px;overflow-x:auto",
}


def render_page(document: dict[str, Any], links: dict[str, str]) -> str:
    """Return the page.

    Args:
        document: of `make_document`.
        links: addresses of `page`, `json` and `airflow`.
    """
    return _render(document, links, is_mail=False)


def render_mail(document: dict[str, Any], links: dict[str, str]) -> str:
    """Return the mail's body, for the same arguments as the page."""
    return _render(document, links, is_mail=True)


def subject(document: dict[str, Any]) -> str:
    """Return the mail's subject: verdict and day, then the figure that matters."""
    summary = document["summary"]
    missing = f", {summary['missing']:,} missing" if summary["missing"] else ""
    return (
        f"{document['verdict']['word']} {document['day']}: {summary['trades']:,} trades of"
        f" {summary['symbols']:,} symbols{missing}"
    )


def _render(document: dict[str, Any], links: dict[str, str], *, is_mail: bool) -> str:
    rows = MAIL_ROWS if is_mail else PAGE_ROWS
    while len((text := _render_rows(document, links, rows, is_mail)).encode()) > MAX_BYTES:
        rows = max(1, rows // 2)
    return text


def _render_rows(document: dict[str, Any], links: dict[str, str], rows: int, is_mail: bool) -> str:
    template = _environment().get_template("report.html.j2")
    text = template.render(
        d=document,
        links=links,
        is_mail=is_mail,
        rows=rows,
        look=_inline if is_mail else _classes,
        sheet=style_sheet(),
        lines=charts.latency_lines(document),
        bars=charts.volume_bars(document),
        strips=charts.hole_strips(document),
        hourly=charts.hourly_blocks(document),
        daily=charts.daily_blocks(document),
        width=charts.WIDTH,
    )
    return text.strip() + "\n"


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": grouped,
        "whole": whole,
        "took": duration,
        "clock": clock,
        "breakable": breakable,
        "moment": moment,
        "cut": cut,
        "long_day": long_day,
    }
    return environment


def _classes(names: str) -> Any:
    """Return the attribute that gives an element of the page these styles."""
    from markupsafe import Markup

    return Markup('class="{}"').format(names)


@functools.cache
def _inline(names: str) -> Any:
    """Return the attribute that gives an element of the mail these styles."""
    from markupsafe import Markup

    css = ";".join(STYLES[name] for name in names.split())
    return Markup('style="{}"').format(_coloured(css, lambda name: COLOURS[name][0]))


@functools.cache
def style_sheet() -> str:
    """Return the page's style sheet: the styles as classes over colours for light and dark."""
    light, dark = (
        ";".join(f"--{name}:{shades[each]}" for name, shades in COLOURS.items()) for each in (0, 1)
    )
    classes = [
        f".{name}{{{_coloured(css, lambda colour: f'var(--{colour})')}}}"
        for name, css in STYLES.items()
    ]
    return "\n".join(
        [
            f":root{{color-scheme:light dark;{light}}}",
            f"@media(prefers-color-scheme:dark){{:root{{{dark}}}}}",
            *classes,
        ]
    )


def _coloured(css: str, shade: Callable[[str], str]) -> str:
    for name in COLOURS:
        css = css.replace(f"{{{name}}}", shade(name))
    return css


def grouped(value: int | str | None) -> str:
    """Return a number with its thousands apart; a dash for none."""
    if value is None:
        return "–"
    text = str(value)
    sign, digits = ("−", text[1:]) if text.startswith("-") else ("", text)
    whole, dot, part = digits.partition(".")
    return f"{sign}{int(whole):,}{dot}{part}"


def whole(value: str | None) -> str:
    """Return an exact number rounded to a whole one, for reading."""
    return grouped(None if value is None else f"{Decimal(value):.0f}")


def duration(microseconds: int | None) -> str:
    """Return microseconds in the unit that people would say them in, three digits or more."""
    if microseconds is None:
        return "–"
    for unit, size in (("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1000)):
        if abs(microseconds) >= size:
            value = Decimal(microseconds) / size
            digits = "0.1" if abs(value) >= 10 else "0.01"
            text = f"{value.quantize(Decimal(digits)):f}"
            return f"{text.rstrip('0').rstrip('.')} {unit}"
    return f"{microseconds} µs"


def clock(at: str) -> str:
    """Return the time of day of an ISO time, to the second."""
    return at[11:19]


def moment(at: str | None) -> str:
    """Return day and minute of an ISO time."""
    return "–" if at is None else f"{at[:10]} {at[11:16]}"


def breakable(name: str) -> Any:
    """Return a name as HTML that may go on in the next line behind each underscore."""
    from markupsafe import Markup

    return Markup("_<wbr/>").join(name.split("_"))


def cut(text: str | None) -> str:
    """Return a text that may be long, cut."""
    if text is None:
        return ""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def long_day(day: str) -> str:
    """Return a day as people write it."""
    return f"{date.fromisoformat(day):%A, %-d %B %Y}"
