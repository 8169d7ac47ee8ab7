"""The site: `make docs`. Sources are the repository's own pages and notebooks, where they lie; nothing is executed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

project = "thinktuning_lite"
author = "the thinktuning_lite authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md", "docs/api/*.md", "notebooks/*.ipynb", "README.md", "CONTRIBUTING.md", "CHANGELOG.md",
    "data/tiny_classroom/README.md",
]  # fmt: skip

nb_execution_mode = "off"  # outputs are those of the committed run
nb_merge_streams = True
nb_mime_priority_overrides = [
    ("html", mime, 10 * i)
    for i, mime in enumerate(
        ("image/svg+xml", "image/png", "text/html", "text/markdown", "text/latex", "text/plain"), 1
    )
]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
myst_url_schemes = ("http", "https")
# A deck of tables and lists in cells has titles that begin below its notebook's first level.
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = "thinktuning_lite"
html_static_path = ["static"] + (["_mathjax"] if (HERE / "_mathjax").exists() else [])
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_extra_path = ["front"]  # index.html, which leads to docs/index.html
html_copy_source = False
html_show_sourcelink = False
if (HERE / "_mathjax").exists():  # put there by `make docs`, so that pages read offline
    mathjax_path = "mathjax/tex-chtml.js"

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

WINGS = ("method", "classroom", "models", "evaluation", "views", "lessons", "experiments")


def write_api_pages(app: Sphinx) -> None:
    """docs/api/<wing>.md: the modules of a wing, each with its public names."""
    (HERE / "api").mkdir(exist_ok=True)
    for wing in WINGS:
        folder = ROOT / "thinktuning_lite" / wing
        parts = [f"# `{wing}`\n"]
        for path in sorted(folder.rglob("*.py")):
            names = path.relative_to(ROOT).with_suffix("").parts
            module = ".".join(names[:-1] if names[-1] == "__init__" else names)
            title = f"## `{module}`\n\n" if names[2:] != ("__init__",) else ""
            parts.append(f"{title}```{{eval-rst}}\n.. automodule:: {module}\n```\n")
        text, page = "\n".join(parts), HERE / "api" / f"{wing}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def write_gallery(app: Sphinx) -> None:
    """docs/gallery/*.html, by today's inspector."""
    sys.path.insert(0, str(HERE))
    import gallery

    gallery.write_pages()


# Marked words, which stay marked, or a sign that reStructuredText would take for one of its own.
_SIGN = re.compile(r"(?<![\w*])(\*\*?\w(?:[^*\n]*[\w.:])?\*\*?)(?![\w*])|[*|\\]|(?<=\w)_(?!\w)")


def as_written(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with `code`, not reStructuredText: its other signs are shown as they stand."""
    parts = re.split(r"`([^`]*)`", "\n".join(lines).replace("``", "`"))  # plain, code, plain, code, ...
    parts[::2] = [_SIGN.sub(lambda m: m[0] if m[1] else f"\\{m[0]}", plain) for plain in parts[::2]]
    parts[1::2] = [f"``{' '.join(code.split())}``\\ " for code in parts[1::2]]
    text = "".join(parts)
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        if re.search(r"(?m)^ {2,}\S", paragraph):  # a table, a formula or a command: line by line
            paragraphs.append("\n".join(f"| {line}" for line in paragraph.split("\n") if line.strip()))
        else:
            paragraphs.append(paragraph)
    lines[:] = "\n\n".join(paragraphs).split("\n")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_api_pages)
    app.connect("builder-inited", write_gallery)
    app.connect("autodoc-process-docstring", as_written)
