"""The inspector in a real JupyterLab, in headless Chromium. A tier of its own: `make test-browser`, marker `browser`.

Needs Playwright (PyPI), a Chromium or Chrome of the system, JupyterLab and axe-playwright-python; skipped, saying so,
without. SCREENSHOTS=<folder> keeps the pictures. Running notebook 03 in smoke mode takes minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the package axe-playwright-python")
pytest.importorskip("jupyterlab", reason="needs JupyterLab")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on the PATH")]

ROOT = Path(__file__).parents[3]
PATIENCE = 1000 * int(os.environ.get("BROWSER_PATIENCE", "1800"))  # milliseconds for a whole notebook
INSPECTOR_CELL = """from thinktuning_lite.views.inspector import Inspector

Inspector(runs["released"]["rollouts"], tokenizer)"""
HOSTILE_CELLS = [
    """import math
from thinktuning_lite.views.inspector import Inspector
from thinktuning_lite.method.rollouts import Rollout

words = ["<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>", "a\\x00b\\x1b[31mc",
         "\\u202eleft", "\\u05e9\\u05dc\\u05d5\\u05dd", "x" * 400, "e" + "\\u0301" * 60, "\\ud800", "</section></body>"]


class Words:
    def decode(self, ids, **kwargs):
        return "".join(words[i] for i in ids)


rows = [Rollout(0, g, words[g % 9] + words[4], "".join(words), list(range(9)), [0] * 5 + [1] * 4 if i == 0 else [0] * 9,
                [math.log(0.1 * (t + 1)) for t in range(9)], [1.0] * 9, float(i == 0), 0.0)
        for g in range(9) for i in range(4)]
inspector = Inspector(rows, Words())
inspector.to_html("hostile.html")
inspector"""
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(URL, folder) of a JupyterLab with an empty folder; whole notebooks in the page, no news."""
    pytest.importorskip("anywidget")
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    for name, setting in (
        ("notebook-extension/tracker", {"windowingMode": "none"}),
        ("apputils-extension/notification", {"fetchNews": "false"}),
    ):
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(setting))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "PYTHONPATH": str(ROOT),
        "THINKTUNING_SMOKE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        f"--ServerApp.root_dir={folder}",
        "--IdentityProvider.token=",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/api/status", timeout=5)
                break
            except OSError:
                assert server.poll() is None, (home / "lab.log").read_text()
                time.sleep(1)
        yield url, folder
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def new_page(browser):
    """Makes pages; any error in the console of one fails the test."""
    errors: list[str] = []
    pages = []

    def make(width: int):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.set_default_timeout(300_000)  # a machine that does other things besides
        page.route(
            "https://colab.research.google.com/**",  # the badge's picture, which no machine without network has
            lambda route: route.fulfill(content_type="image/svg+xml", body='<svg xmlns="http://www.w3.org/2000/svg"/>'),
        )
        pages.append(page)
        return page

    yield make
    for page in pages:
        page.close()
    assert errors == []


def run_all(page, lab, name: str, cells: list | None = None) -> None:
    """Open a notebook of the repository (or one of these cells) in JupyterLab and run all of it, inspector included."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    url, folder = lab
    if cells is None:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        if not any("Inspector(" in cell.source for cell in notebook.cells):
            at = next(i for i, cell in enumerate(notebook.cells) if cell.id == "train")
            notebook.cells.insert(at + 1, new_code_cell(INSPECTOR_CELL))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []
    else:
        notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / name)
    page.goto(f"{url}/lab/tree/{name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.wait_for_timeout(2000)  # the kernel is connected a moment before its commands are
    page.locator(".lm-MenuBar-item", has_text="Run").click()
    page.locator("[data-command='runmenu:run-all']").click()
    page.wait_for_selector(".tti-token", timeout=PATIENCE)
    page.wait_for_function(
        "() => ![...document.querySelectorAll('.jp-InputPrompt')].some((p) => p.innerText.includes('*'))",
        timeout=PATIENCE,
    )  # until then the kernel is busy and no slider answers
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
    page.locator(".tti").scroll_into_view_if_needed()


def version(page) -> int:
    return int(page.locator(".tti").get_attribute("data-version"))


def answered(page, before: int) -> None:
    page.wait_for_function("(v) => Number(document.querySelector('.tti').dataset.version) > v", arg=before)


def cell(page, name: str) -> float:
    text = page.locator(f"[data-cell='{name}']").inner_text()
    return float(re.match(r"[−+]?[\d.]+(e−?\d+)?", text)[0].replace("−", "-"))


def check_axe(page) -> None:
    found = axe.Axe().run(page, context=".tti").response
    assert found["violations"] == [], json.dumps(
        [(v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]], indent=1
    )
    assert any(rule["id"] == "color-contrast" for rule in found["passes"])


def screenshot(page, name: str, width: int) -> None:
    """A picture of the whole inspector in its page of this width; the page stays so."""
    page.set_viewport_size({"width": width, "height": 2400})
    page.locator(".tti").scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"{name}_{width}.png")


def test_notebook_03_by_keyboard(new_page, lab):
    import torch

    from thinktuning_lite.method.shaping import AASConstants, shape

    page = new_page(1280)
    run_all(page, lab, "03_advantage_aware_shaping.ipynb")
    assert (
        "These settings give the logged weights and advantages" in page.locator(".tti fieldset .tti-note").inner_text()
    )

    # The entry token's weight, before and after the slider is moved by keyboard, against the project's own formula.
    page.get_by_role("button", name="Least likely token").click()
    p, weight = cell(page, "p"), cell(page, "weight w")
    head = page.locator(".tti-head", has=page.locator("input:checked")).inner_text()
    advantage = float(re.search(r"A = ([+−]?[\d.]+)", head)[1].replace("−", "-"))
    slider = page.locator("[data-key=gamma_max]")
    slider.focus()
    waits = []
    for _ in range(24):  # from -0.001 to 0.011, cut off at the slider's end
        before, began = version(page), time.perf_counter()
        page.keyboard.press("ArrowRight")
        try:
            page.wait_for_function(
                "(v) => Number(document.querySelector('.tti').dataset.version) > v", arg=before, timeout=9000
            )
        except playwright.TimeoutError:
            break  # at its end
        waits.append(1000 * (time.perf_counter() - began))
    moved = float(slider.input_value())
    assert moved > 0.005
    print(f"a slider move, key to repainted page: median {statistics.median(waits):.0f} ms of {len(waits)}")
    expected = [
        shape("released", torch.tensor(p), torch.tensor(advantage), AASConstants(gamma_max=g)).weight.item()
        for g in (-0.001, moved)
    ]
    assert weight == pytest.approx(expected[0], rel=1e-2) and cell(page, "weight w") == pytest.approx(
        expected[1], rel=1e-2
    )
    assert advantage < 0 or cell(page, "weight w") != weight
    page.get_by_role("button", name="Back to the run's settings").click()

    # Hover: the exact numbers beside the token. Arrow keys: the same in the reading line.
    token = page.locator(".tti-token").nth(3)
    token.hover()
    assert re.search(r"p [\d.e−]+, weight [\d.e−]+, ratio 1,", page.locator(".tti-tip").inner_text())
    token.focus()
    first = page.locator(".tti-detail").inner_text()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(was) => document.querySelector('.tti-detail').innerText !== was", arg=first)

    # Filter: only guided groups, then the next one by keyboard.
    groups = page.locator(".tti-list")
    total = groups.locator("option").count()
    page.locator("[data-key=filter]").select_option("guided")
    page.wait_for_function("(n) => document.querySelectorAll('.tti-list option').length <= n", arg=total)
    page.wait_for_timeout(1000)
    assert all(" 0 guided" not in text for text in groups.locator("option").all_inner_texts())
    before = version(page)
    groups.focus()
    page.keyboard.press("End")
    answered(page, before)
    chosen = re.match(r"step (\d+) group (\d+)", groups.locator("option").last.inner_text())
    assert f"Step {chosen[1]}, group {chosen[2]}:" in page.locator(".tti h3", has_text="Step").inner_text()
    page.get_by_role("button", name="Least likely token").click()
    assert 0 < cell(page, "p") < 1e-3 and cell(page, "weight w") > 0

    check_axe(page)
    screenshot(page, "lab", 1280)
    page.locator("[data-key=colour]").select_option("p")
    screenshot(page, "lab", 800)
    assert page.evaluate(
        "() => { const e = document.querySelector('.tti'); return e.scrollWidth <= e.clientWidth + 1 }"
    )


def test_hostile_text_runs_nothing_and_keeps_the_layout(new_page, lab):
    page, static = new_page(1280), new_page(800)
    run_all(page, lab, "hostile.ipynb", HOSTILE_CELLS)
    static.goto((lab[1] / "hostile.html").as_uri())
    static.wait_for_selector(".tti-token")
    for at, name in ((page, "hostile_lab"), (static, "hostile_static")):
        at.locator(".tti-token").nth(1).hover()
        assert at.evaluate("() => window.hacked") is None
        assert at.locator(".tti img, .tti script").count() == 0
        assert at.locator(".tti-token").first.locator("bdi").inner_text() == "<script>window.hacked = 1</script>"
        assert at.locator(".tti-token").nth(2).locator("bdi").inner_text() == "a␀b␛[31mc"
        outside = at.evaluate("""() => { const box = document.querySelector('.tti').getBoundingClientRect();
            return [...document.querySelectorAll('.tti-token, .tti-box')].filter((e) => {
            const r = e.getBoundingClientRect();
            return r.left < box.left - 1 || r.right > box.right + 1; }).length }""")
        assert outside == 0
        screenshot(at, name, 800)
    check_axe(static)
