"""SmolLM2-135M as teacher with the general prompt: well-formed replies before and after the constraint, and its cost a token.

    python benchmarks/smol_form.py [--replies 64] [--tokens 96] [--out data/logs/smol/form.json]

Seconds are of the processor. Half of the responses that it comments on are right, the others off by one.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from thinktuning_lite.method.form import FormConstraint
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import BEHAVIOURS, INSTRUCT_PROMPT
from thinktuning_lite.method.teacher import GuidanceRequest, parse_guidance
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.sums import last_number, sum_rows


def requests(rows: list[dict]) -> list[GuidanceRequest]:
    """Right and wrong solutions in turns, each behaviour in its turn."""
    wrong = [r["solution"].replace(f"= {r['answer']} ", f"= {int(r['answer']) - 1} ") for r in rows]
    said = [r["solution"] if i % 2 else w for i, (r, w) in enumerate(zip(rows, wrong, strict=True))]
    return [
        GuidanceRequest(r["question"], s, BEHAVIOURS[i % 4]) for i, (r, s) in enumerate(zip(rows, said, strict=True))
    ]


def measure(teacher: PolicyTeacher, rows: list[dict]) -> dict[str, Any]:
    began = time.process_time()
    replies = teacher(requests(rows))
    seconds = time.process_time() - began
    found = [parse_guidance(reply) for reply in replies]
    tokens = sum(len(teacher.tokenizer.encode(reply)) for reply in replies)
    return {
        "well-formed": sum(g is not None for g in found),
        "opinion right": sum(g is not None and (g.opinion == "correct") == bool(i % 2) for i, g in enumerate(found)),
        "phrase right": sum(
            g is not None and last_number(g.phrase) == r["answer"] for g, r in zip(found, rows, strict=True)
        ),
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "examples": replies[:4],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "data/logs/smol/form.json")
    options = parser.parse_args()
    model, tokenizer = load_policy("smol", quantization="none", dtype=torch.float32)
    rows = sum_rows("validation")[: options.replies]
    report: dict[str, Any] = {"replies": len(rows), "tokens at most": options.tokens}
    spent, asked, restrict = 0.0, 0, FormConstraint.restrict

    def timed(self: FormConstraint, of: list[int], said: list[int] | None, logits: torch.Tensor) -> None:
        nonlocal spent, asked
        began = time.process_time()
        restrict(self, of, said, logits)
        spent, asked = spent + time.process_time() - began, asked + len(of)

    FormConstraint.restrict = timed
    for name, keeps in (("free", False), ("kept", True)):
        report[name] = measure(PolicyTeacher(model, tokenizer, INSTRUCT_PROMPT, options.tokens, keeps_form=keeps), rows)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(report[name]), flush=True)
    report["constraint, ms a token"] = round(1000 * spent / max(1, asked), 3)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
