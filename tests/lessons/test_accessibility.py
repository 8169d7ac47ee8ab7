"""Read by ear or by keyboard: titles in order, tables with headers, pictures with words, in notebooks and pages alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reading import PATHS, code_cells, each_notebook, read

from thinktuning_lite.lessons.setup import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def without_code(text: str) -> str:
    return re.sub(r"(?ms)^```.*?^```", "", text)


def text_of(path: Path) -> str:
    """Markdown of a page, or of a notebook's text cells."""
    if path.suffix == ".md":
        return without_code(path.read_text(encoding="utf-8"))
    return "\n\n".join(without_code(c.source) for c in read(path).cells if c.cell_type == "markdown")


def faults_of_titles(text: str) -> list[str]:
    """Titles that leave a level out, and a second title of the page."""
    titles = [(len(signs), title) for signs, title in re.findall(r"(?m)^(#{1,6}) (.+)$", text)]
    levels = [0] + [level for level, _ in titles]
    skipped = [title for (level, title), before in zip(titles, levels, strict=False) if level > before + 1]
    return skipped + [title for level, title in titles[1:] if level == 1]


def headless_tables(html: str) -> int:
    """Tables of HTML with two rows or more and no header cell."""
    tables = re.findall(r"(?s)<table.*?</table>", html)
    return sum("<th" not in table and table.count("<tr") > 1 for table in tables)


def silent_pictures(text: str) -> list[str]:
    """Pictures without words, in Markdown and HTML."""
    found = re.findall(r"!\[\s*\]\([^)]*\)", text)
    return found + [tag for tag in re.findall(r"<img[^>]*>", text) if not re.search(r'alt="[^"]{3,}"', tag)]


each_text = pytest.mark.parametrize("path", [*PATHS, *PAGES], ids=lambda path: path.name)


@each_text
def test_titles_leave_no_level_out_and_a_page_has_one(path: Path):
    assert faults_of_titles(text_of(path)) == []


@each_text
def test_pictures_have_words_and_links_say_where_they_lead(path: Path):
    text = text_of(path)
    assert silent_pictures(text) == []
    assert re.findall(r"(?i)(?<!!)\[(?:here|this|link|click here)?\]\([^)]*\)", text) == []


@each_text
def test_every_column_of_a_text_table_but_the_first_has_a_header(path: Path):
    heads = re.findall(r"(?m)^(\|.*\|)\n\|[-:| ]+\|$", text_of(path))
    bare = [head for head in heads if not all(cell.strip() for cell in head.strip("|").split("|")[1:])]
    assert bare == []


@each_notebook
def test_tables_in_outputs_have_headers(path: Path):
    shown = [o.data["text/html"] for c in code_cells(read(path)) for o in c.outputs if "text/html" in o.get("data", {})]
    assert [html[:100] for html in shown if headless_tables(html)] == []


def test_the_instruments_find_what_they_look_for():
    assert faults_of_titles("# A\n\n### B\n\n# C") == ["B", "C"] and faults_of_titles("# A\n## B\n### C\n## D") == []
    bare = "<table><tr><td>1</td></tr><tr><td>2</td></tr></table>"
    assert headless_tables(bare) == 1 and headless_tables(bare.replace("td>1</td", "th>1</th")) == 0
    assert silent_pictures('![](a.png) <img src="b.png"> <img src="c.png" alt="a curve">') == [
        "![](a.png)", '<img src="b.png">',
    ]  # fmt: skip
