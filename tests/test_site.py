"""The site's sources: what its pages take from elsewhere is there, and the check of its links finds a dead one."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_parts_that_a_page_includes_are_where_it_says(page: Path):
    text = page.read_text(encoding="utf-8")
    for source, options in re.findall(r"(?s)```\{include\} (\S+)\n(.*?)```", text):
        included = (DOCS / source).read_text(encoding="utf-8")
        marks = re.findall(r':(?:start-after|end-before): "(.+)"', options)
        assert len(marks) == 2 and all(included.count(f"{mark}\n") == 1 for mark in marks)


def test_the_contents_name_pages_that_there_are():
    named = re.findall(r"(?m)^(\.\./\S+|\*|api/\S+)$", (DOCS / "index.md").read_text(encoding="utf-8"))
    found = {name: [p for s in (".md", ".ipynb") for p in DOCS.glob(name + s)] for name in named if "api/" not in name}
    assert len(named) >= 10 and all(found.values())
    assert len(found["../notebooks/*"]) >= 7 and len(found["*"]) >= 8


def test_the_gallery_s_pages_come_of_its_logs_by_today_s_inspector(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    pages = {page.name: page.read_text(encoding="utf-8") for page in gallery.write_pages(tmp_path)}
    linked = re.findall(r"\(gallery/(\S+\.html)\)", (DOCS / "gallery.md").read_text(encoding="utf-8"))
    script = (ROOT / "thinktuning_lite" / "views" / "inspector.js").read_text(encoding="utf-8")
    assert sorted(linked) == sorted(pages) and len(pages) == 3
    assert all(script in page and page.count("<h2>step") == 5 for page in pages.values())
    for log in (DOCS / "gallery").glob("*.jsonl.gz"):
        head = json.loads(gzip.decompress(log.read_bytes()).split(b"\n", 1)[0])
        assert head["run"]["tokenizer"] == "tiny_classroom"  # and no path of the machine that made it


def test_a_dead_link_is_found_and_a_live_one_is_not(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("links", DOCS / "links.py")
    links = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(links)
    other = '<p id="here">x</p><a href="https://example.org/y">elsewhere</a>'
    (tmp_path / "b.html").write_text(other, encoding="utf-8")
    page = '<a href="b.html#here">1</a><a href="b.html#gone">2</a><img src="no.png"><a href="#self" id="self">3</a>'
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    assert links.dead_links(tmp_path) == ["a.html: b.html#gone", "a.html: no.png"]
