"""The inspector in JupyterLab, in Notebook 7 and as a page, in headless Chromium. A tier of its own: `make test-browser`.

Needs Playwright (PyPI), a Chromium or Chrome of the system, JupyterLab, Notebook 7 and axe-playwright-python; skipped, saying
so, without. SCREENSHOTS=<folder> keeps the pictures. Running notebook 03 in smoke mode takes minutes.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from thinktuning_lite.classroom.load import TINY_CLASSROOM
from thinktuning_lite.method.rollouts import Rollout, RolloutLog
from thinktuning_lite.views.inspector import Inspector

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the package axe-playwright-python")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on the PATH")]

ROOT = Path(__file__).parents[3]
PATIENCE = 1000 * int(os.environ.get("BROWSER_PATIENCE", "1800"))  # milliseconds for a whole notebook
APPS = {"lab": ("jupyterlab", "/lab/tree/{}?reset"), "notebook": ("notebook", "/notebooks/{}")}
NOTEBOOKS_OWN = "reading 'schema'"  # Notebook 7.6 reports this while it starts, whatever the notebook holds
LOG_CELL = """from thinktuning_lite.views.inspector import Inspector

Inspector("run")"""
HOSTILE_CELL = """import math
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


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=APPS)
def jupyter(request, tmp_path_factory):
    """(URL, its part for a notebook, folder) of a server with a log in its folder; whole notebooks in the page, no news."""
    pytest.importorskip(APPS[request.param][0], reason=f"needs {request.param}")
    pytest.importorskip("anywidget")
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    write_log(folder / "run")
    for name, setting in (
        ("notebook-extension/tracker", {"windowingMode": "none"}),
        ("apputils-extension/notification", {"fetchNews": "false"}),
    ):
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(setting), encoding="utf-8")
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
    options = [
        "--no-browser", "--allow-root", f"--port={port}", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with (home / "server.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", APPS[request.param][0], *options], env=env, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/api/status", timeout=5)
                break
            except OSError:
                assert server.poll() is None, (home / "server.log").read_text(encoding="utf-8")
                time.sleep(1)
        yield url, APPS[request.param][1], folder
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def new_page(browser):
    """Makes pages; any error in the console of one fails the test, unless it is made without `strict`."""
    errors: list[str] = []
    pages = []

    def make(width: int, strict: bool = True):
        page = browser.new_page(viewport={"width": width, "height": 900})
        if strict:
            page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda e: None if NOTEBOOKS_OWN in str(e) else errors.append(str(e)))
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


def write_log(folder: Path, steps: int = 4, seed: int = 0) -> Path:
    """A log in the tiny classroom's words: two groups a step, one rollout of each guided; step 1 has no signal."""
    from transformers import AutoTokenizer

    tokenizer, draw = AutoTokenizer.from_pretrained(TINY_CLASSROOM), random.Random(seed)
    log = RolloutLog(folder / "rollouts.jsonl")
    for step in range(steps):
        for g in range(2):
            for i in range(4):
                said = f"{20 + g}+{step}=2{i}. \\boxed{{2{i}}}"
                own = tokenizer.encode(said, add_special_tokens=False)
                taught = tokenizer.encode("\n\nWait, I doubt 5.", add_special_tokens=False) if i == 3 else []
                ids = own + taught
                ps = [draw.choice((0.999, 0.9, 0.3, 1e-5)) for _ in ids]
                log.write(
                    Rollout(
                        step, g, f"Ana has {20 + g} nuts. How many?", tokenizer.decode(ids), ids,
                        [0] * len(own) + [1] * len(taught), [math.log(p) for p in ps], [1.0] * len(ids),
                        float(i >= 2 and step != 1), 0.0, sampler_logps=[math.log(min(1.0, 1.1 * p)) for p in ps],
                    )
                )  # fmt: skip
    return folder


def run_all(page, jupyter, name: str, cells: list[str] | None = None) -> None:
    """Open a notebook of the repository (or one of these cells) and run all of it, inspector included."""
    url, at, folder = jupyter
    if cells is None:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []
    else:
        notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / name)
    page.goto(url + at.format(name))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("() => document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')")
    page.wait_for_timeout(2000)
    started = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[[*\d]+\]"))
    for _ in range(20):
        page.locator(".lm-MenuBar-item", has_text="Run").first.click()
        page.locator("[data-command='runmenu:run-all']").click()
        try:
            started.first.wait_for(timeout=15_000)
            break
        except playwright.TimeoutError:  # the kernel is connected a moment before its commands are
            page.keyboard.press("Escape")
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


def as_number(text: str) -> float:
    return float(re.match(r"[−+]?[\d.]+(e−?\d+)?", text)[0].replace("−", "-"))


def cell(page, name: str) -> float:
    return as_number(page.locator(f'[data-cell="{name}"]').inner_text())


def check_axe(page) -> None:
    found = axe.Axe().run(page, context=".tti").response
    assert found["violations"] == [], json.dumps(
        [(v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]], indent=1
    )
    assert any(rule["id"] == "color-contrast" for rule in found["passes"])


def screenshot(page, name: str, width: int) -> None:
    """A picture of the whole inspector in its page of this width; the page stays so."""
    page.set_viewport_size({"width": width, "height": 2000})
    page.locator(".tti").first.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"{name}_{width}.png")


def listed(page) -> list[str]:
    return page.locator(".tti-list option").all_inner_texts()


def until_listed(page, n: int) -> None:
    page.wait_for_function("(n) => document.querySelectorAll('.tti-list option').length === n", arg=n)


def formula(page) -> list[str]:
    return page.locator(".tti-formula li").all_inner_texts()


def check_formula(page) -> None:
    """The lines of the chosen token agree with each other: the loss is the slope where r = 1, averaging gives the push."""
    lines = formula(page)
    loss = next(as_number(line.split(" = ")[-1]) for line in lines if line.startswith("−min("))
    slope, push = (
        re.search(r"log p: (\S+); averaged by 1 / \((\d+) rollouts of the step x (\d+) tokens", lines[-1]),
        lines[-1],
    )
    assert loss == pytest.approx(as_number(slope[1]), rel=2e-3)
    assert as_number(push.split("push ")[1]) == pytest.approx(loss / int(slope[2]) / int(slope[3]), rel=2e-3)


def test_a_log_by_keyboard(new_page, jupyter, request):
    page = new_page(1280)
    run_all(page, jupyter, "log.ipynb", [LOG_CELL])
    assert not page.locator(".tti-twin").is_visible()  # the living widget has taken its place
    assert len(listed(page)) == 8

    page.get_by_role("button", name="Largest push").click()
    check_formula(page)
    push = cell(page, "gradient")
    before = version(page)
    page.locator("[data-key=loss_type]").select_option("dr_grpo")
    answered(page, before)
    assert "under the run's settings the push was" in formula(page)[-1] and cell(page, "gradient") == push
    assert "max_completion_length" in " ".join(formula(page))
    page.locator("[data-key=colour]").select_option("change")
    assert "push now minus push" in page.locator(".tti-legend").inner_text()
    page.get_by_role("button", name="Back to the run's settings").click()

    slider, waits = page.locator("[data-key=epsilon]"), []
    slider.focus()
    for _ in range(8):
        before, began = version(page), time.perf_counter()
        page.keyboard.press("ArrowRight")
        answered(page, before)
        waits.append(1000 * (time.perf_counter() - began))
    print(f"a slider move, key to repainted page: median {statistics.median(waits):.0f} ms of {len(waits)}")
    page.get_by_role("button", name="Sampler and trainer furthest apart").click()
    assert cell(page, "sampler's p") > cell(page, "p")

    page.locator("[data-key=filter]").select_option("silent")
    until_listed(page, 2)
    assert all("no signal" in text for text in listed(page))
    page.get_by_text("Step 1, group 0:").wait_for()  # the shown one is not among them, so the first of them is shown
    page.locator("[data-key=filter]").select_option("all")
    until_listed(page, 8)
    page.locator(".tti-list").select_option("0/0")
    page.get_by_text("Step 0, group 0:").wait_for()
    page.get_by_role("button", name="This question over training").click()
    until_listed(page, 4)
    page.locator("[data-key=search]").fill("DOUBT")
    page.keyboard.press("Enter")
    until_listed(page, 8)
    page.get_by_role("button", name="Biggest pushes of this step").click()
    biggest = page.locator(".tti-pushes button").first
    biggest.wait_for()
    biggest.click()
    page.wait_for_selector(".tti-token:focus")
    check_axe(page)
    app = request.node.callspec.params["jupyter"]
    screenshot(page, app, 1280)
    page.locator("[data-key=colour]").select_option("p")
    screenshot(page, app, 800)
    assert page.evaluate(
        "() => { const e = document.querySelector('.tti'); return e.scrollWidth <= e.clientWidth + 1 }"
    )


def test_reopened_without_its_kernel_there_is_the_twin(new_page, jupyter):
    url, at, folder = jupyter
    page = new_page(1280)
    run_all(page, jupyter, "reopened.ipynb", [LOG_CELL])
    page.locator(".jp-Notebook").click(position={"x": 5, "y": 5})
    for _ in range(60):
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1000)
        if "tti-twin" in (folder / "reopened.ipynb").read_text(encoding="utf-8"):
            break
    page.close()
    for session in json.load(urllib.request.urlopen(f"{url}/api/sessions", timeout=60)):
        urllib.request.urlopen(
            urllib.request.Request(f"{url}/api/sessions/{session['id']}", method="DELETE"), timeout=60
        )
    again = new_page(1280, strict=False)  # JupyterLab itself reports the missing model in the console
    again.goto(url + at.format("reopened.ipynb"))
    twin = again.locator(".tti-twin img")
    twin.wait_for()
    again.wait_for_timeout(20_000)  # the widget manager has given up by now
    assert twin.is_visible() and "Rewards" in twin.get_attribute("alt")
    seen = again.locator(".jp-OutputArea").inner_text()
    assert "model not found" not in seen and "Loading widget" not in seen
    screenshot_of(again, "reopened_" + at.split("/")[1])


def screenshot_of(page, name: str) -> None:
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"{name}.png")


def test_notebook_03_by_keyboard(new_page, jupyter, request):
    import torch

    from thinktuning_lite.method.shaping import AASConstants, shape

    if request.node.callspec.params["jupyter"] != "lab":
        pytest.skip("minutes of training, once is enough")
    page = new_page(1280)
    run_all(page, jupyter, "03_advantage_aware_shaping.ipynb")
    assert (
        "These settings give the logged weights and advantages" in page.locator(".tti fieldset .tti-note").inner_text()
    )
    # The entry token's weight, before and after the slider is moved by keyboard, against the project's own formula.
    page.get_by_role("button", name="Least likely token", exact=True).click()
    p, weight = cell(page, "p"), cell(page, "weight w")
    head = page.locator(".tti-head", has=page.locator("input:checked")).inner_text()
    advantage = float(re.search(r"A = ([+−]?[\d.]+)", head)[1].replace("−", "-"))
    slider = page.locator("[data-key=gamma_max]")
    slider.focus()
    for _ in range(12):
        before = version(page)
        page.keyboard.press("ArrowRight")
        answered(page, before)
    moved = float(slider.input_value())
    assert moved == pytest.approx(0.005)  # twelve steps of 0.0005 from -0.001
    expected = [
        shape("released", torch.tensor(p), torch.tensor(advantage), AASConstants(gamma_max=g)).weight.item()
        for g in (-0.001, moved)
    ]
    assert weight == pytest.approx(expected[0], rel=1e-2) and cell(page, "weight w") == pytest.approx(
        expected[1], rel=1e-2
    )
    check_axe(page)


def test_a_page_without_a_kernel(new_page, tmp_path):
    inspector = Inspector(write_log(tmp_path / "run"))
    page = new_page(1280)
    page.goto(inspector.to_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector(".tti-token")
    page.get_by_role("button", name="Least likely token", exact=True).click()
    live = inspector.current()[1]
    assert cell(page, "p") == pytest.approx(live.p.min().item(), rel=1e-2)
    page.get_by_role("button", name="Largest push").click()
    check_formula(page)
    assert as_number(formula(page)[-1].split("push ")[1]) == pytest.approx(
        live.push[live.push.abs().argmax()].item(), rel=1e-2
    )
    page.locator("[data-key=filter]").select_option("silent")
    until_listed(page, 2)
    page.locator("[data-key=filter]").select_option("all")
    until_listed(page, 8)
    page.locator("[data-key=search]").fill("doubt")
    page.keyboard.press("Enter")
    until_listed(page, 8)
    page.locator("[data-key=search]").fill("20+3=")
    page.keyboard.press("Enter")
    until_listed(page, 1)
    page.locator(".tti-list").select_option("3/0")
    page.get_by_text("Step 3, group 0:").wait_for()
    page.get_by_role("button", name="Biggest pushes of this step").click()
    page.wait_for_selector(".tti-pushes button")
    found = [as_number(text) for text in page.locator(".tti-pushes button").all_inner_texts()]
    wanted = [x["push"] for x in inspector.pushes(3)]
    assert [abs(x) for x in found] == pytest.approx([abs(x) for x in wanted], rel=1e-2)
    page.locator(".tti-pushes button").first.click()
    page.wait_for_selector(".tti-token:focus")
    check_axe(page)
    screenshot(page, "page", 1280)
    screenshot(page, "page", 800)


def test_two_logs_side_by_side(new_page, tmp_path):
    one, two = (
        Inspector(write_log(tmp_path / name, steps, seed)) for name, steps, seed in (("one", 4, 0), ("two", 3, 1))
    )
    page = new_page(1600)
    page.goto(one.to_html(tmp_path / "page.html", beside=two).as_uri())
    page.wait_for_selector(".tti-pane:nth-child(2) .tti-token")
    left, right = page.locator(".tti-pane").first, page.locator(".tti-pane").last
    left.locator(".tti-list").select_option("3/1")
    right.get_by_text("Step 2, group 1:").wait_for()  # the same question, at the nearest step that it has
    right.locator(".tti-list").select_option("0/0")
    left.get_by_text("Step 0, group 0:").wait_for()
    screenshot(page, "beside", 1600)


def test_twenty_thousand_tokens(new_page, tmp_path):
    draw, n = random.Random(0), 20_000
    ids = [draw.randrange(10, 90) for _ in range(n)]
    rows = [
        Rollout(0, 0, "long?", "t", ids, [0] * n, [-draw.expovariate(2) for _ in range(n)], [1.0] * n, float(i), 0.0)
        for i in range(2)
    ]
    page = new_page(1280)
    page.goto(Inspector(rows).to_html(tmp_path / "long.html").as_uri())
    page.wait_for_selector(".tti-token")
    assert page.locator(".tti-token").count() < 5000
    first = page.locator(".tti-token").first
    first.focus()
    page.keyboard.press("End")
    page.wait_for_selector(".tti-token:focus")
    assert f"token {n} of {n}" in page.locator(".tti-detail").inner_text()
    frames = page.evaluate("""() => new Promise((done) => {
        const waits = []; let last = performance.now(), top = 0;
        const step = (now) => { waits.push(now - last); last = now; top += 600; window.scrollTo(0, top);
            if (top < document.body.scrollHeight && waits.length < 600) requestAnimationFrame(step); else done(waits); };
        window.scrollTo(0, 0); requestAnimationFrame(step); })""")
    print(f"scrolling: {len(frames)} frames, the longest {max(frames):.0f} ms")
    assert len(frames) > 20


def test_hostile_text_runs_nothing_and_keeps_the_layout(new_page, jupyter):
    page, static = new_page(1280), new_page(800)
    run_all(page, jupyter, "hostile.ipynb", [HOSTILE_CELL])
    static.goto((jupyter[2] / "hostile.html").as_uri())
    static.wait_for_selector(".tti-token")
    for at in (page, static):
        at.locator(".tti-token").nth(1).hover()
        assert at.evaluate("() => window.hacked") is None
        assert at.locator(".tti img, .tti script").count() == 0
        assert at.locator(".tti-token").first.inner_text() == "<script>window.hacked = 1</script>"
        assert at.locator(".tti-token").nth(2).inner_text() == "a␀b␛[31mc"
        outside = at.evaluate("""() => { const box = document.querySelector('.tti').getBoundingClientRect();
            return [...document.querySelectorAll('.tti-token, .tti-box')].filter((e) => {
            const r = e.getBoundingClientRect();
            return r.left < box.left - 1 || r.right > box.right + 1; }).length }""")
        assert outside == 0
    check_axe(static)
