"""For lecturers: each notebook's claims and figures as a reveal.js deck, `make slides`.

python -m thinktuning_lite.lessons.slides FOLDER      FOLDER/reveal.js and FOLDER/mathjax are there already
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from thinktuning_lite.lessons.course.tasks import notebook_paths, tagged

if TYPE_CHECKING:
    from nbformat import NotebookNode

_CHECKED = re.compile(r"#@title Check: (.+)")
# nbconvert's page, but for its scripts, which it loads from other hosts.
_TEMPLATE = """\
{%- extends 'reveal/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<script>MathJax = {tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']]}};</script>
<script defer src="mathjax/tex-chtml.js"></script>
<style>
.reveal .jp-RenderedHTMLCommon {font-size: 28px;} .reveal section {text-align: left;}
.reveal h1, .reveal h2 {text-transform: none;} .reveal .jp-OutputArea-output img {width: 100%; max-height: 480px; object-fit: contain;}
</style>
{%- endblock -%}
{%- block footer_js -%}
<script src="reveal.js/dist/reveal.js"></script>
<script>Reveal.initialize({history: true, slideNumber: true, width: 1200, height: 760, center: false});</script>
{%- endblock -%}
"""


def deck(notebook: NotebookNode) -> NotebookNode:
    """The slides of a notebook: title and claim; a slide for each section, what it checked and its first figure; then the
    other figures, one below the other.

    A section that neither checks nor shows anything has none.
    """
    import nbformat

    header = notebook.cells[0].source
    title = re.search(r"(?m)^# .+$", header)[0]
    claim = re.search(r"(?ms)^\*\*(?:The c|C)laim\.\*\*.*?(?=\n\n|\Z)", header)[0]
    cells = [_text(f"{title}\n\n{claim}", "slide")]
    section, checked, figures = "", [], []

    def close() -> None:
        if checked or figures:
            cells.append(_text("\n".join([section, "", *(f"- ✓ {claim}" for claim in checked)]), "slide"))
            cells.extend(_picture(output, "subslide" if i else "-") for i, output in enumerate(figures))
        checked.clear(), figures.clear()

    for cell in notebook.cells[1:]:
        if cell.cell_type == "markdown" and (heading := re.search(r"(?m)^## .+$", cell.source)):
            close()
            section = heading[0]
        elif cell.cell_type == "code":
            if tagged(cell, "check") and (said := _CHECKED.match(cell.source)):
                checked.append(said[1])
            figures += [output for output in cell.outputs if "image/png" in output.get("data", {})]
    close()
    return nbformat.v4.new_notebook(cells=cells, metadata={"title": title.removeprefix("# ")})


def _text(source: str, kind: str) -> NotebookNode:
    import nbformat

    return nbformat.v4.new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def _picture(output: NotebookNode, kind: str) -> NotebookNode:
    import nbformat

    only = nbformat.v4.new_output("display_data", {"image/png": output.data["image/png"]}, metadata=output.metadata)
    return nbformat.v4.new_code_cell("", outputs=[only], metadata={"slideshow": {"slide_type": kind}})


def page(slides: NotebookNode) -> str:
    """The deck as one HTML file, which looks for reveal.js/ and mathjax/ beside it."""
    from nbconvert.exporters import SlidesExporter

    exporter = SlidesExporter(
        raw_template=_TEMPLATE, exclude_input=True, reveal_url_prefix="reveal.js", reveal_theme="white"
    )
    return exporter.from_notebook_node(slides)[0]


def main() -> None:
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for path in notebook_paths():
        out = folder / f"{path.stem}.html"
        out.write_text(page(deck(nbformat.read(path, as_version=4))), encoding="utf-8")
        print(out)


if __name__ == "__main__":
    main()
