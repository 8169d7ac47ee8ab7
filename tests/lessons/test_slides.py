"""Decks: every claim and figure of a notebook, no code, and nothing from another host."""

from __future__ import annotations

import re
from pathlib import Path

from reading import PATHS, code_cells, each_notebook, read, tagged

from thinktuning_lite.lessons import slides


@each_notebook
def test_a_deck_has_the_claim_every_check_and_every_figure(path: Path):
    notebook = read(path)
    deck = slides.deck(notebook)
    text = "\n".join(cell.source for cell in deck.cells)
    assert deck.cells[0].source.startswith("# ") and "laim.**" in deck.cells[0].source
    assert text.count("- ✓ ") == len(tagged(notebook, "check"))
    pictures = [o for c in code_cells(notebook) for o in c.outputs if "image/png" in o.get("data", {})]
    shown = [o for c in code_cells(deck) for o in c.outputs]
    assert [o.data["image/png"] for o in shown] == [o.data["image/png"] for o in pictures]
    assert all(o.metadata["image/png"]["alt"] for o in shown)
    assert all(cell.source == "" for cell in code_cells(deck))


def test_a_page_asks_no_other_host_for_anything():
    html = slides.page(slides.deck(read(PATHS[0])))
    assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]+"', html) == [] and "@import" not in html
    assert 'src="reveal.js/dist/reveal.js"' in html and html.count("<section") > 5 and "$$" not in html
