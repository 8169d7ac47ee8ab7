"""A real OpenAI-compatible server: the shipped checkpoint behind `transformers serve`, on the loopback."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thinktuning_lite.classroom.load import TINY_CLASSROOM, load_classroom
from thinktuning_lite.classroom.problems import generate_problems
from thinktuning_lite.classroom.turns import student_turn
from thinktuning_lite.method.endpoint import EndpointTeacher
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import BEHAVIOURS, TINY_PROMPT
from thinktuning_lite.method.teacher import GuidanceRequest, NoReply, parse_guidance

TOKENS = 160


@contextmanager
def served(model: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """`transformers serve`, until it says that it is well: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_teacher_behind_a_server_says_what_the_teacher_in_the_process_says(tmp_path):
    rng = random.Random(0)
    requests = [
        GuidanceRequest(p.question, student_turn(rng, p), BEHAVIOURS[i % 4])
        for i, p in enumerate(generate_problems(0, "validation", (1, 2, 3), 12))
    ]
    model, tokenizer = load_classroom()
    here = PolicyTeacher(model, tokenizer, TINY_PROMPT, TOKENS)(requests)
    assert sum(parse_guidance(reply) is not None for reply in here) > 6

    # The checkpoint's own config keeps the student from the tags; the teacher may write them.
    free = {"suppress_tokens": [], "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    with served(TINY_CLASSROOM, tmp_path / "server.log") as (url, process):
        teach = EndpointTeacher(
            url, str(TINY_CLASSROOM), TINY_PROMPT, max_new_tokens=TOKENS, parallel=2,
            extra_body={"generation_config": json.dumps(free)},
        )  # fmt: skip
        assert teach(requests) == here

        process.kill()
        process.wait()
        teach.retries = 1
        gone = teach(requests[:3])
    assert all(isinstance(reply, NoReply) and "could not be reached" in reply.reason for reply in gone)
