"""The tiny classroom's word problems, and loaders for public sets by hub name or local file.

A problem is a short story about one running number between 0 and 99. Two kinds of step exist: sums, which the
pretrained student does well, and at most one *product* (two digits times one digit), which its role only guesses.
Splits are made by construction: a problem's numbers and operations are hashed, and the hash names the split, so no
arithmetic chain of one split, let alone a question, occurs in another.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
DATA = _HERE / "data" if (_HERE / "data").exists() else _HERE.parent / "data"  # an installed wheel, or a checkout
SPLITS = ("train", "validation", "test")
LARGEST = 99
PRODUCT_SHARE = 0.4

NAMES = ("Ana", "Ben", "Chen", "Dora", "Eli", "Fay", "Gus", "Hana", "Ivo", "June")
ITEMS = ("apples", "books", "coins", "cards", "shells", "stamps", "eggs", "pens", "nuts", "beads")
START = "{name} has {n} {items}."
START_PRODUCT = "{name} has {k} bags of {n} {items} each."
ADD = ("{name} buys {k} more.", "{name} finds {k} more.", "{name} gets {k} from {other}.")
SUBTRACT = ("{name} gives {k} to {other}.", "{name} loses {k}.", "{name} sells {k}.")
MULTIPLY = ("{name} then makes it {k} times as many.", "Now the number grows {k} times.")
DISTRACTOR = ("{other} has {d} {more_items}.", "{other} is {d} years old.")
QUESTION = "How many {items} does {name} have now?"


@dataclass(frozen=True)
class Step:
    """One operation on the running number: `left op right = result`, with op one of + - *."""

    left: int
    op: str
    right: int

    @property
    def result(self) -> int:
        return {"+": self.left + self.right, "-": self.left - self.right, "*": self.left * self.right}[self.op]

    def __str__(self) -> str:
        return f"{self.left}{self.op}{self.right}={self.result}"


@dataclass(frozen=True)
class Problem:
    """A word problem with its exact chain of steps.

    `split` is decided by the hash of the chain (see module docstring); `distractor` says that the question holds an
    irrelevant number.
    """

    question: str
    steps: tuple[Step, ...]
    distractor: bool = False

    @property
    def answer(self) -> str:
        return str(self.steps[-1].result)

    @property
    def has_product(self) -> bool:
        return any(s.op == "*" for s in self.steps)

    @property
    def split(self) -> str:
        return split_of(self.steps)

    def row(self) -> dict:
        """The JSONL row: question, answer, number of steps, product, distractor and the chain as text."""
        return {
            "question": self.question,
            "answer": self.answer,
            "steps": len(self.steps),
            "product": self.has_product,
            "distractor": self.distractor,
            "chain": " ".join(map(str, self.steps)),
        }


def split_of(steps: tuple[Step, ...]) -> str:
    """The split of a chain: 1 in 10 is test, 1 in 10 validation, the rest train, by SHA-256 of its numbers."""
    digest = hashlib.sha256(" ".join(map(str, steps)).encode()).digest()[0] % 10
    return {0: "test", 1: "validation"}.get(digest, "train")


def _chain(rng: random.Random, length: int, product_at: int | None) -> tuple[Step, ...] | None:
    """A random chain of `length` steps whose results all lie in 1..99, or None when the draw ran into a wall."""
    value = rng.randint(11, 49) if product_at == 0 else rng.randint(3, 60)
    steps: list[Step] = []
    for i in range(length):
        if i == product_at:
            if not 11 <= value <= 49 or value % 10 == 0:
                return None
            step = Step(value, "*", rng.randint(2, LARGEST // value))
        elif rng.random() < 0.5:
            step = Step(value, "+", rng.randint(2, 30))
        else:
            step = Step(value, "-", rng.randint(2, 30))
        if not 1 <= step.result <= LARGEST:
            return None
        steps.append(step)
        value = step.result
    return tuple(steps)


def _story(rng: random.Random, steps: tuple[Step, ...], distractor: bool) -> str:
    name, other = rng.sample(NAMES, 2)
    items, more_items = rng.sample(ITEMS, 2)
    fill = {"name": name, "other": other, "items": items, "more_items": more_items, "d": rng.randint(2, 60)}
    sentences, rest = [], steps
    if steps[0].op == "*":
        sentences.append(START_PRODUCT.format(n=steps[0].left, k=steps[0].right, **fill))
        rest = steps[1:]
    else:
        sentences.append(START.format(n=steps[0].left, **fill))
    for s in rest:
        sentences.append(rng.choice({"+": ADD, "-": SUBTRACT, "*": MULTIPLY}[s.op]).format(k=s.right, **fill))
    if distractor:
        sentences.insert(rng.randint(1, len(sentences)), rng.choice(DISTRACTOR).format(**fill))
    return " ".join(sentences + [QUESTION.format(**fill)])


def generate_problem(
    rng: random.Random, length: int, split: str, *, distractor: bool = False, product: bool | None = None
) -> Problem:
    """Draw one problem of `length` steps from `split`; `product` forces or forbids the product step.

    Raises ValueError for an unknown split or a length below 1.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; choose one of {', '.join(SPLITS)}")
    if length < 1:
        raise ValueError(f"a problem needs at least 1 step, got length={length}")
    with_product = rng.random() < PRODUCT_SHARE if product is None else product
    product_at = rng.randrange(length) if with_product else None
    while True:
        steps = _chain(rng, length, product_at)
        if steps and split_of(steps) == split:
            return Problem(_story(rng, steps, distractor), steps, distractor)


def generate_problems(
    seed: int, split: str, lengths: tuple[int, ...], n: int, *, distractor: bool = False
) -> list[Problem]:
    """`n` problems with distinct questions, cycling through `lengths`; the same seed gives the same list."""
    rng = random.Random(f"{seed}/{split}/{lengths}/{distractor}")
    problems: dict[str, Problem] = {}
    while len(problems) < n:
        p = generate_problem(rng, lengths[len(problems) % len(lengths)], split, distractor=distractor)
        problems.setdefault(p.question, p)
    return list(problems.values())


def write_jsonl(rows: Iterator[dict] | list[dict], path: Path) -> None:
    """One JSON object a line, UTF-8."""
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


TINY_SETS = {
    "train": ("train", (2, 3, 4), 1200, False),
    "validation": ("validation", (2, 3, 4), 300, False),
    "validation_harder": ("validation", (5, 6), 200, False),
    "validation_distractor": ("validation", (2, 3, 4), 200, True),
    "test": ("test", (2, 3, 4), 300, False),
    "test_harder": ("test", (5, 6), 300, False),
    "test_distractor": ("test", (2, 3, 4), 300, True),
}


# The test sets of seed 0 were looked at while this world was designed, so others were drawn for the figures.
SEEDS = {"train": 0, "validation": 0, "test": 1}


def write_tiny_sets(folder: Path = DATA / "problems") -> None:
    """Write the shipped JSONL files, one for each entry of `TINY_SETS`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (split, lengths, n, distractor) in TINY_SETS.items():
        problems = generate_problems(SEEDS[split], split, lengths, n, distractor=distractor)
        write_jsonl([p.row() for p in problems], folder / f"{name}.jsonl")


if __name__ == "__main__":
    write_tiny_sets()
