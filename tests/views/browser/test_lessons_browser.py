"""Quizzes of the notebooks in JupyterLab, in headless Chromium: by keyboard, and looked over by axe.

Of the tier `make test-browser`; SCREENSHOTS=<folder> keeps the pictures.
"""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from test_inspector_browser import axe, browser, jupyter, new_page, playwright, pytestmark, screenshot_of  # noqa: F401

from thinktuning_lite.lessons.quiz import QUIZZES, show_quiz

FILES = sorted(QUIZZES.glob("*.json"))
OUTPUT = ".jp-OutputArea-output"


@pytest.fixture
def lab(jupyter, request):  # noqa: F811
    if request.node.callspec.params["jupyter"] != "lab":
        pytest.skip("once is enough")
    return jupyter


def run(page, lab, name: str, cells: list[str], until: str, count: int = 1) -> None:
    """Open a notebook of these cells and run them, until `count` elements `until` are shown."""
    url, at, folder = lab
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells], metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / name)
    page.goto(url + at.format(name))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("() => document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')")
    page.wait_for_timeout(2000)
    for _ in range(20):
        page.locator(".lm-MenuBar-item", has_text="Run").first.click()
        page.locator("[data-command='runmenu:run-all']").click()
        try:
            page.locator(".jp-InputPrompt", has_text=re.compile(r"\[[*\d]+\]")).first.wait_for(timeout=15_000)
            break
        except playwright.TimeoutError:  # the kernel is connected a moment before its commands are
            page.keyboard.press("Escape")
    page.wait_for_function("([s, n]) => document.querySelectorAll(s).length >= n", arg=[until, count])
    assert page.locator(f"{OUTPUT}[data-mime-type='application/vnd.jupyter.error']").count() == 0


def faults(page, context: str) -> list[tuple[str, str, list[str]]]:
    found = axe.Axe().run(page, context=context).response
    return [(v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]]


def to_theme(page, theme: str) -> None:
    page.locator(".lm-MenuBar-item", has_text="Settings").first.click()
    page.locator(".lm-Menu-item", has_text=re.compile("^Theme$")).hover()
    page.locator(".lm-Menu-item", has_text=re.compile(f"^{theme}$")).click()
    page.wait_for_function("(t) => document.body.dataset.jpThemeName === t", arg=theme)


def test_every_choice_of_every_quiz_opens_by_keyboard_and_says_its_word(new_page, lab):  # noqa: F811
    page = new_page(1280)
    cells = ["from thinktuning_lite.lessons.quiz import show_quiz", *(f'show_quiz("{p.stem}")' for p in FILES)]
    quizzes = [show_quiz(path.stem) for path in FILES]
    answers = {(q["question"], a["answer"]): a for quiz in quizzes for q in quiz.questions for a in q["answers"]}
    run(page, lab, "quizzes.ipynb", cells, f"{OUTPUT} summary", len(answers))
    summaries, tried = page.locator(f"{OUTPUT} summary"), set()
    assert summaries.count() == len(answers)
    for i in range(len(answers)):
        summary = summaries.nth(i)
        summary.focus() if i == 0 else None
        here = "(s) => s === document.activeElement"
        while i and not summary.evaluate(here):  # the next stop of the keyboard, or a few further in the next cell
            before = page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.outerHTML.slice(0, 200)") != before, "the keyboard is stuck"
        page.keyboard.press("Enter")
        opened = summary.evaluate(
            "(s) => [s.parentElement.open, s.parentElement.innerText, s.innerText, s === document.activeElement]"
        )
        question = summary.evaluate(
            "(s) => { let p = s.parentElement; while (p.tagName !== 'P') p = p.previousElementSibling; return p.innerText }"
        )
        answer = answers[re.sub(r"^\d+\. ", "", question), opened[2]]
        sign = "✓" if answer["correct"] else "✗"
        assert opened[0] and opened[3] and f"{sign} {answer['feedback']}" in opened[1], (question, opened)
        tried.add((re.sub(r"^\d+\. ", "", question), opened[2]))
    assert tried == set(answers)
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        to_theme(page, theme)
        assert faults(page, f"{OUTPUT}[data-mime-type='text/html']") == []
        screenshot_of(page, f"quiz_{theme.split()[-1].lower()}")
    print(f"{sum(len(q.questions) for q in quizzes)} questions, {len(tried)} choices of {len(FILES)} quizzes")


def test_jupyterquiz_shows_the_same_questions_with_buttons(new_page, lab):  # noqa: F811
    pytest.importorskip("jupyterquiz")
    page = new_page(1280, strict=False)  # what its scripts log is theirs
    tried = 0
    paths = [str(path) for path in FILES]
    cells = ["from jupyterquiz import display_quiz", *(f"display_quiz({path!r})" for path in paths)]
    questions = [q for path in FILES for q in json.loads(path.read_text(encoding="utf-8"))]
    run(page, lab, "jupyterquiz.ipynb", cells, ".MCButton", sum(len(q["answers"]) for q in questions))
    for question, shown in zip(questions, page.locator(".Quiz").all(), strict=True):
        assert question["question"] in shown.inner_text()
        for answer in question["answers"]:
            shown.locator(".MCButton", has_text=re.compile(f"^{re.escape(answer['answer'])}$")).click()
            said = shown.locator(".Feedback").inner_text()
            assert answer["feedback"] in said, (question["question"], answer["answer"], said)
            tried += 1
    screenshot_of(page, "jupyterquiz")
    print(f"{len(questions)} questions, {tried} choices")
