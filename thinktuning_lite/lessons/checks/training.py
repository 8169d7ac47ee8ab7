"""Checks of the exercises in notebook 04_train_lora_4bit."""

from __future__ import annotations

from collections.abc import Callable
from math import isclose
from typing import Any

from thinktuning_lite.lessons.checks import Result, exercise, hint, passed

UNSOLVED = "Not solved yet: replace the `...` with your answer."


def _unsolved(value: Any) -> bool:
    return value is None or value is ...


@exercise
def nf4_bytes(answer: Callable[[int], float]) -> Result:
    """Exercise 1: bytes of n weights in NF4, with the one-byte scale of every 64."""
    said = answer(6400)
    if _unsolved(said):
        return hint(UNSOLVED)
    if isclose(said, 3200):
        return hint("3,200 bytes is the 4 bits of each weight alone: every 64 weights share a scale of one byte more.")
    if isclose(said, 25700) or isclose(said, 25600):
        return hint("A byte has 8 bits: 4 bits are half a byte, not 4 bytes.")
    if isclose(said, 3600):
        return hint("3,600: that is a float32 scale for every block. With double quantization a scale has one byte.")
    if isclose(said, 9600):
        return hint("9,600: the scale is one byte for 64 weights, not one byte for each weight.")
    if not isclose(said, 3300):
        return hint(f"6,400 weights: 3,200 bytes of codes and 100 scales of one byte, 3,300; you return {said:,.0f}.")
    if not isclose(answer(64), 33):
        return hint("Right for 6,400 weights only: write it in terms of n.")
    return passed("0.516 bytes a weight, against 2 in bf16: 3.9 times less, for the layers inside the blocks.")


@exercise
def lora_parameters(answer: Callable[[int, int, int], int]) -> Result:
    """Exercise 2: trainable parameters that LoRA of rank r adds to one linear layer."""
    said = answer(128, 384, 16)
    if _unsolved(said):
        return hint(UNSOLVED)
    if said == 128 * 384:
        return hint("That is the layer itself, which is frozen: count B (outputs x r) and A (r x inputs).")
    if said == 128 * 384 * 16:
        return hint("inputs x outputs x r: A and B are two thin matrices, and neither is inputs x outputs large.")
    if said in (16 * 128, 16 * 384):
        return hint("That is one of the two matrices: there is A (r x inputs) and B (outputs x r).")
    if said == 16 * 16 * (128 + 384) or said == 16 * 128 * 16 * 384:
        return hint("The sizes of A and B add up; their product is what the forward computes, and is never stored.")
    if said != 16 * (128 + 384):
        return hint(f"128 inputs, 384 outputs, r = 16: A has 2,048, B 6,144, in all 8,192; you return {said:,}.")
    if answer(10, 20, 3) != 90:
        return hint("Right for one layer only: 10 inputs, 20 outputs and r = 3 give 90.")
    return passed("r (inputs + outputs): linear in the width, where the layer itself is quadratic.")


@exercise
def cache_bytes(answer: Callable[[int, int, int, int, int], int]) -> Result:
    """Exercise 3: bytes of the KV cache of `rows` rollouts of `tokens` tokens in bf16."""
    said = answer(28, 8, 128, 1536, 8)
    right = 2 * 28 * 8 * 128 * 1536 * 8 * 2
    if _unsolved(said):
        return hint(UNSOLVED)
    if said == right // 2:
        return hint("Half of it: either the 2 bytes of a bf16 number are missing, or that keys *and* values are kept.")
    if said == right // 4:
        return hint("A quarter of it: keys and values are both kept, and a bf16 number has 2 bytes.")
    if said == right // 8:
        return hint("That is the cache of one rollout: there are `rows` of them at a time.")
    if said == right // 28:
        return hint("That is one layer: every layer keeps its own keys and values.")
    if said == 2 * right:
        return hint("Twice too much: a bf16 number has 2 bytes, not 4.")
    if said != right:
        return hint(f"28 layers, 8 heads of 128, 1,536 tokens, 8 rows: {right:,} bytes; you return {said:,}.")
    if answer(2, 1, 4, 3, 1) != 96:
        return hint("Right for Llama-3.2-3B only: write it in terms of the arguments.")
    return passed("1.4 GB for 8 rollouts of a 3B model, which is why G x length decides what fits, not the adapter.")


@exercise
def accumulation(answer: Callable[[int, int, int, int], int]) -> Result:
    """Exercise 4: micro-batches to accumulate for a step of so many prompts."""
    said = answer(128, 5, 4, 2)
    if _unsolved(said):
        return hint(UNSOLVED)
    if said == 16:
        return hint("16 counts prompts: a step trains on prompts x group rollouts.")
    if said == 160:
        return hint("160 is right for one process: here 2 share the work.")
    if said == 40 or said == 20:
        return hint("Each process has its own micro-batch: 2 processes take 2 x 4 rollouts at a time, no more.")
    if said == 320:
        return hint("320: the micro-batch of each process counts as well: 2 x 4 rollouts at a time.")
    if said != 80:
        return hint(f"128 prompts x 5 rollouts = 640, in 2 x 4 at a time: 80 micro-batches; you return {said}.")
    if answer(8, 8, 16, 1) != 4:
        return hint("Right for the paper's step only: 8 prompts x 8 rollouts in 16 at a time on one process are 4.")
    return passed("gradient_accumulation_steps: the memory of a micro-batch, the gradient of the whole step.")
