"""What a response shows besides its answer: behaviours, changes of mind, where errors come from.

Detectors are regular expressions that can be read and argued with; `measure` says how often they are right on labelled
examples (data/behaviours.jsonl). They find words, not thoughts: a response may check itself without saying so.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning_lite.classroom.problems import DATA
from thinktuning_lite.evaluation.statistics import proportion_interval
from thinktuning_lite.method.answers import extract_boxed
from thinktuning_lite.method.equations import equations
from thinktuning_lite.method.grading import is_correct

if TYPE_CHECKING:
    from thinktuning_lite.evaluation.harness import Record

LABELLED = DATA / "behaviours.jsonl"

# --- detectors ----------------------------------------------------------------------------------------------

_START = r"(?:^|(?<=[.!?:)\]}$]\s)|(?<=\n))[\s*_\"'“(]*(?:(?:but|hmm|oh|okay|ok|so|and|no)[,.]?\s+)?"  # of a sentence


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.MULTILINE)


# The four behaviours of the paper, by the words that announce them in the first person.
DETECTORS: dict[str, re.Pattern[str]] = {
    # challenges the response so far
    "self-conflict": _any(
        _START + r"(?:wait|hold on|hang on)\b(?!\s+(?:for|until|till|to|in|at|staff|times?|tables?)\b)",
        r"\b(?:that|this|it) (?:can(?:no|')t|cannot|does(?:n't| not)) (?:be|seem|look|add up|make sense)\b"
        r"(?! (?:seen|used|a|an)\b)",
        r"\bI (?:doubt|contradict)\b",
        r"\b(?:looks|seems) wrong\b",
        r"\bI (?:made|see|found|notice[d]?) (?:a|an|my|the|one) (?:\w+ )?(?:mistake|error|slip)\b",
    ),
    # names its weaknesses, or goes over its own work to find them
    "self-critique": _any(
        _START + r"looking back\b",
        r"\bmy (?:\w+ )?(?:weak(?:est)? (?:point|step|spot)|weakness)\b",
        r"\bI (?:should|could|ought to) have\b",
        r"\bI (?:was|am) (?:too )?(?:careless|hasty|sloppy)\b",
        r"\bmy (?:solution|reasoning|approach|work|argument) (?:is|was|lacks|skips|misses|ignores|could)\b",
    ),
    # confirms by going through it again
    "self-agreement": _any(
        r"\blet(?: me| us|'s)\s+(?:just\s+|quickly\s+)?"
        r"(?:(?:double|re)[- ]?)?(?:check|verify|confirm|walk through|go (?:over|through))\b",
        r"\bto (?:double-?check|verify|confirm|check)(?: (?:my|our|the|this|that) \w+)?,",
        r"\bI (?:still )?agree with (?:each|my|every|the)\b",
        r"\b(?:checking|verifying) (?:my|our|the|this) (?:answer|work|result|solution|calculation)\b",
    ),
    # borrows another's view or expertise
    "self-consultancy": _any(
        r"\b(?:a|an|any) (?:\w+ )?"
        r"(?:accountant|expert|teacher|mathematician|plumber|engineer|physicist|chemist|lawyer|doctor|economist|biologist|colleague|friend|professor|statistician|tutor|carpenter|cook)\b[^.\n]{0,20}"
        r"\b(?:would|might|could) (?:(?:not|never|first|also|probably) )*"
        r"(?:ask|say|trust|nod|tell|suggest|look|notice|point|check|start|advise|argue|object|remind|draw|write|do)\b",
        r"\bif I (?:asked|were)\b[^.\n]{0,40}"
        r"\b(?:expert|teacher|mathematician|engineer|physicist|accountant|professor)\b",
        r"\bfrom (?:the|an?) (?:\w+ )?(?:point of view|perspective) of an?\b",
    ),
}
# A product worked out by tens and units, as the tiny classroom's teacher does: 20*4=80. 3*4=12.
DETECTORS["worked-route"] = re.compile(r"\b\d0\*(\d)=\d+\. \d\*\1=\d+")
REFLECTION = ("self-conflict", "self-critique", "self-agreement", "self-consultancy")


def behaviours(text: str) -> set[str]:
    """The behaviours that a response shows."""
    return {name for name, pattern in DETECTORS.items() if pattern.search(text)}


@dataclass(frozen=True)
class Quality:
    """A detector against labels: counts, and precision and recall with 95 % Wilson intervals."""

    hits: int
    false_alarms: int
    misses: int

    @property
    def precision(self) -> tuple[float, float, float]:
        """(estimate, low, high); nan when it never fired."""
        return _share(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> tuple[float, float, float]:
        return _share(self.hits, self.hits + self.misses)


def _share(right: int, n: int) -> tuple[float, float, float]:
    return (right / n, *proportion_interval(right, n)) if n else (float("nan"), 0.0, 1.0)


def labelled_examples(path: Path = LABELLED) -> list[dict[str, Any]]:
    """Rows of `text`, `labels` (the behaviours it shows) and `part`: "tuned", or "held-out" (no detector was changed
    after it had met these). All were written for this project, by the author of the detectors."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def measure(
    examples: Iterable[Mapping[str, Any]], detect: Callable[[str], set[str]] = behaviours
) -> dict[str, Quality]:
    """The quality of each detector on labelled examples."""
    counts = {name: Counter() for name in DETECTORS}
    for example in examples:
        found, true = detect(example["text"]), set(example["labels"])
        for name in DETECTORS:
            counts[name][name in found, name in true] += 1
    return {name: Quality(c[True, True], c[True, False], c[False, True]) for name, c in counts.items()}


# --- does reflection correct, or overthink? -----------------------------------------------------------------

_BOX = re.compile(r"\\(?:boxed|fbox)\b")
TRANSITIONS = ("right to right", "wrong to right", "right to wrong", "wrong to wrong", "one answer", "no answer")


def stated_answers(text: str) -> list[str]:
    r"""Every boxed answer of a response, in order."""
    starts = [m.start() for m in _BOX.finditer(text)] + [len(text)]
    found = [extract_boxed(text[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
    return [answer for answer in found if answer]


def transition(text: str, gold: str) -> str:
    """How the last stated answer stands to the first: one of TRANSITIONS."""
    answers = stated_answers(text)
    if len(answers) < 2:
        return "one answer" if answers else "no answer"
    first, last = ("right" if is_correct(a, gold) else "wrong" for a in (answers[0], answers[-1]))
    return f"{first} to {last}"


def transitions(records: Sequence[Record]) -> dict[str, int]:
    """Counts of all transitions over all samples of all questions; each of TRANSITIONS has an entry."""
    counts = Counter(transition(text, r.doc["answer"]) for r in records for text in r.responses)
    return {name: counts[name] for name in TRANSITIONS}


# --- where errors come from ---------------------------------------------------------------------------------

_OPERATIONS = {"+": "sum", "-": "difference", "*": "product"}


def first_error(text: str, gold: str) -> str | None:
    """Why a wrong response went wrong: the operation of its first false equation, "setup" when every equation is true,
    "no answer" when none is stated; None for a right response."""
    answers = stated_answers(text)
    if not answers:
        return "no answer"
    if is_correct(answers[-1], gold):
        return None
    return next((_OPERATIONS[e.op] for e in equations(text) if not e.holds), "setup")


def first_errors(records: Sequence[Record]) -> dict[str, int]:
    """Counts of `first_error` over all wrong samples, most frequent first."""
    reasons = (first_error(text, r.doc["answer"]) for r in records for text in r.responses)
    return dict(Counter(reason for reason in reasons if reason).most_common())


@dataclass(frozen=True)
class Cell:
    """Accuracy over a part of a benchmark, with a Wilson interval over its samples; mean response length in tokens."""

    n: int
    accuracy: float
    low: float
    high: float
    length: float


def accuracy_by(records: Sequence[Record], key: Callable[[dict[str, Any]], Any]) -> dict[Any, Cell]:
    """Accuracy by a property of the question: `lambda doc: doc["steps"]`, `lambda doc: doc["product"]`.

    With several samples a question the interval takes them for independent, so it is too narrow; use greedy records.
    """
    parts: dict[Any, list[tuple[bool, int]]] = defaultdict(list)
    for r in records:
        parts[key(r.doc)] += zip(r.correct, r.lengths, strict=True)
    out = {}
    for part, samples in sorted(parts.items()):
        right, n = sum(c for c, _ in samples), len(samples)
        out[part] = Cell(n, right / n, *proportion_interval(right, n), sum(length for _, length in samples) / n)
    return out


# --- where two methods differ -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disagreement:
    """A question that one method gets right and the other wrong (first samples)."""

    question: str
    answer: str
    right: str  # the name of the method that is right
    responses: dict[str, str]


def disagreements(a: Sequence[Record], b: Sequence[Record], names: tuple[str, str]) -> list[Disagreement]:
    """The questions on which exactly one of two methods is right, in order.

    Raises ValueError when the records are not of the same questions.
    """
    out = []
    for x, y in zip(a, b, strict=True):
        if x.doc["question"] != y.doc["question"]:
            raise ValueError(f"not the same questions: {x.doc['question'][:60]!r} and {y.doc['question'][:60]!r}")
        if x.correct[0] != y.correct[0]:
            responses = dict(zip(names, (x.responses[0], y.responses[0]), strict=True))
            out.append(Disagreement(x.doc["question"], x.doc["answer"], names[y.correct[0]], responses))
    return out
