"""Reading our own markdown: sections, first columns of tables, links, anchors."""

import re
from pathlib import Path

_FENCE = re.compile(r"^```.*?^```[^\n]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#+) +(.+?) *$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")


def prose(path: Path) -> str:
    """Return a document without its fenced blocks."""
    return _FENCE.sub("", path.read_text("utf-8"))


def section(path: Path, heading: str) -> str:
    """Return the text below a heading, up to the next one of its level or above."""
    text = prose(path)
    for match in _HEADING.finditer(text):
        if match[2] == heading:
            rest = text[match.end() :]
            end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
            return rest[: end.start()] if end else rest
    raise AssertionError(f"{path.name} has no heading {heading!r}")


def rows(path: Path, heading: str) -> list[list[str]]:
    """Return the cells of all tables of a section, without heading rows and rulers."""
    found: list[list[str]] = []
    lines = section(path, heading).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        is_heading = following.startswith("|---")
        if line.startswith("|") and not line.startswith("|---") and not is_heading:
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def names(path: Path, heading: str, column: int = 0) -> list[str]:
    """Return what stands as code in one column of a section's tables, in order."""
    return [name for cells in rows(path, heading) for name in _CODE.findall(cells[column])]


def links(path: Path) -> list[str]:
    """Return the targets of all links of a document."""
    return _LINK.findall(_CODE.sub("", prose(path)))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for _, title in _HEADING.findall(prose(path)))
    return {title.replace(" ", "-") for title in plain}
