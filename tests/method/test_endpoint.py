"""endpoint.py against servers on 127.0.0.1: in order, failing, killed, trickling, wordy; no key is ever shown."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import GUIDANCE
from peft import LoraConfig
from transformers import TrainerCallback

from thinktuning_lite.method import prompts
from thinktuning_lite.method.endpoint import EndpointTeacher
from thinktuning_lite.method.teacher import Guidance, GuidanceRequest, NoReply, parse_guidance

REQUEST = GuidanceRequest("Ana has 5 coins. How many?", "5+2=7. \\boxed{7}", "self-critique")


@contextmanager
def server(answer: Any) -> Iterator[tuple[str, list[dict]]]:
    """An endpoint on 127.0.0.1: `answer(body)` gives (status, bytes[, seconds a byte]), or None to hang up.

    Yields its address and the requests seen.
    """
    seen: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
            reply = answer(body)
            if reply is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, content, *pause = reply
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("retry-after-ms", "1")  # the client's own pauses begin at half a second
            self.end_headers()
            for i in range(len(content)) if pause else ():
                time.sleep(pause[0])
                self.wfile.write(content[i : i + 1])
                self.wfile.flush()
            if not pause:
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}/v1", seen
    finally:
        httpd.shutdown()
        httpd.server_close()


def chat(content: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


def test_endpoint_answers_in_order_and_is_asked_as_agreed():
    def echo(body):
        time.sleep(random.random() / 50)  # replies overtake each other
        return chat("re: " + body["messages"][-1]["content"])

    with server(echo) as (url, seen):
        teach = EndpointTeacher(url + "/", "tiny", prompts.TINY_PROMPT, api_key="k", max_new_tokens=33)
        replies = teach([GuidanceRequest(f"Q{i}é", "R", "self-conflict") for i in range(20)])
    assert replies == [f"re: Question: Q{i}é\nAttempt: R" for i in range(20)]
    assert {s["path"] for s in seen} == {"/v1/chat/completions"}
    assert seen[0]["headers"]["Authorization"] == "Bearer k"
    body = seen[0]["body"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0, 33)
    assert [m["role"] for m in body["messages"]] == ["system", "user"]


def test_of_a_request_the_server_sees_no_more_than_is_agreed(monkeypatch):
    """Above all no key out of the environment."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "sk-of-another-service")
    with server(lambda body: chat("fine")) as (url, seen):
        teach = EndpointTeacher(url, "tiny", extra_body={"chat_template_kwargs": {"enable_thinking": False}})
        assert teach([REQUEST]) == ["fine"] and teach([]) == []
    assert "sk-of-another-service" not in str(seen)
    assert seen[0]["body"]["chat_template_kwargs"] == {"enable_thinking": False}


def test_no_more_requests_are_in_flight_than_allowed():
    flying, most, lock = 0, 0, threading.Lock()

    def slow(body):
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(0.02)
        with lock:
            flying -= 1
        return chat("fine")

    with server(slow) as (url, _):
        assert EndpointTeacher(url, "tiny", parallel=3)([REQUEST] * 12) == ["fine"] * 12
    assert most == 3


@pytest.mark.parametrize("content", ["", "a reply"])
def test_a_text_is_a_text_also_when_empty_or_in_parts(content):
    parts = [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": content}]
    for said in (content, parts):
        with server(lambda body, said=said: chat(said)) as (url, _):
            assert EndpointTeacher(url, "tiny")([REQUEST]) == [content]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, b"oops"), "answered 500: oops"),
        ((404, b'{"error": "no such model"}'), "answered 404.*no such model"),
        ((400, b'{"error": {"message": "maximum context length is 2048 tokens"}}'), "maximum context length is 2048"),
        ((429, b'{"message": "slow down"}'), "answered 429.*slow down"),
        ((200, b"<html>not json</html>"), "no chat completion"),
        ((200, b"\xff\xfe\x00"), "no chat completion"),
        ((200, b"[]"), "no chat completion"),
        ((200, b'"text"'), "no chat completion"),
        ((200, b'{"choices": []}'), "no chat completion"),
        ((200, b'{"choices": null}'), "no chat completion"),
        ((200, b'{"choices": [{}]}'), "no chat completion"),
        ((200, b'{"choices": [{"message": {}, "finish_reason": "stop"}]}'), "no chat completion.*no text.*stop"),
        ((200, b'{"choices": [{"message": {"content": [7]}}]}'), "no chat completion"),
        ((200, b'{"choices": [{"message": {"content": {"text": "x"}}}]}'), "no chat completion.*no text"),
        ((200, b'{"error": {"message": "overloaded"}}'), "no chat completion"),
        (None, "could not be reached.*is the server up"),
    ],
)
def test_one_unusable_answer_is_one_reply_less_with_its_reason(answer, said):
    def moody(body):
        return answer if "bad" in body["messages"][-1]["content"] else chat("fine")

    requests = [REQUEST, GuidanceRequest("bad", "R", None), REQUEST]
    with server(moody) as (url, _):
        replies = EndpointTeacher(url, "tiny", retries=1, timeout=20)(requests)
    assert replies[0] == replies[2] == "fine"
    assert isinstance(replies[1], NoReply)
    assert re.search(rf"{re.escape(url)} \(model 'tiny'\).*{said}", replies[1].reason)
    assert len(replies[1].reason) < 600


def test_nobody_there_and_a_silent_server():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        (refused,) = EndpointTeacher(url, "tiny", retries=0)([REQUEST])  # bound, not listening
        assert url in refused.reason and "is the server up?" in refused.reason
        silent.listen()
        (ignored,) = EndpointTeacher(url, "tiny", timeout=0.3)([REQUEST])  # accepts and never answers
        assert url in ignored.reason and "within 0.3 seconds" in ignored.reason


def test_a_server_that_trickles_is_given_up_at_the_time_limit():
    """Each byte comes soon enough for a socket's time limit; the whole would take minutes."""
    whole = chat("x" * 5000)
    began = time.monotonic()
    with server(lambda body: (*whole, 0.05) if "slow" in str(body) else chat("fine")) as (url, _):
        slow, fine = EndpointTeacher(url, "tiny", timeout=1)([GuidanceRequest("slow", "R", None), REQUEST])
        assert time.monotonic() - began < 60  # the whole answer takes 250 s
    assert "within 1 seconds" in slow.reason and fine == "fine"


def test_an_endpoint_that_fails_3_of_10_calls_answers_or_says_why_each_time():
    rng, lock = random.Random(0), threading.Lock()
    troubles = [(500, b"oops"), (429, b"busy"), (503, b"later"), (200, b"<html>"), (200, b'{"choices": []}')]
    drawn = []

    def moody(body):
        with lock:
            trouble = rng.choice(troubles) if rng.random() < 0.3 else None
            drawn.append(trouble)
        return trouble or chat("re: " + body["messages"][-1]["content"].split()[1])

    with server(moody) as (url, _):
        replies = EndpointTeacher(url, "tiny")([GuidanceRequest(f"Q{i}", "R", None) for i in range(100)])
    failed = [r for r in replies if isinstance(r, NoReply)]
    assert all(r == f"re: Q{i}" for i, r in enumerate(replies) if r not in failed)
    assert all("answered" in r.reason for r in failed)
    wrong = sum(t is not None for t in drawn)
    assert wrong > 25 and 2 < len(failed) < wrong  # troubles of passage were tried again


def test_a_server_killed_in_the_middle_costs_its_replies_and_nothing_else():
    served = threading.Event()

    def dies(body):
        if served.is_set():
            return None
        served.set()
        return chat("fine")

    with server(dies) as (url, _):
        teach = EndpointTeacher(url, "tiny", parallel=1, retries=0)
        replies = teach([REQUEST] * 4)
    assert replies[0] == "fine" and [type(r) for r in replies[1:]] == [NoReply] * 3
    gone = teach([REQUEST] * 2)  # nobody listens there any more
    assert all("could not be reached" in r.reason for r in gone)


def test_a_server_that_wants_max_completion_tokens_gets_them_and_is_asked_so_from_then_on():
    def modern(body):
        if "max_tokens" in body:
            said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, json.dumps({"error": {"message": said}}).encode()
        return chat(f"at most {body['max_completion_tokens']}")

    with server(modern) as (url, seen):
        teach = EndpointTeacher(url, "tiny", max_new_tokens=33)
        assert teach([REQUEST] * 3) == ["at most 33"] * 3
        before = len(seen)
        assert teach([REQUEST]) == ["at most 33"] and len(seen) == before + 1


def test_a_server_whose_template_has_no_system_role_gets_it_in_the_user_turn():
    def gemma(body):
        if body["messages"][0]["role"] == "system":
            return 400, b'{"error": "System role not supported"}'
        return chat(body["messages"][0]["content"])

    with server(gemma) as (url, _):
        (reply,) = EndpointTeacher(url, "tiny", prompts.TINY_PROMPT)([REQUEST])
    assert reply.startswith("teacher: self-critique\n\nQuestion: Ana")


KEY = "sk-a-secret-of-mine"


def test_the_key_is_in_no_log_and_no_reason(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    echo = {"error": f"Incorrect API key provided: {KEY}"}
    with server(lambda body: (401, json.dumps(echo).encode())) as (url, seen):
        teach = EndpointTeacher(url, "tiny", api_key=KEY + "\n")
        (reply,) = teach([REQUEST])
    assert seen[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    assert "Incorrect API key provided: [key]" in reply.reason
    assert url in caplog.text  # something was logged
    assert KEY not in caplog.text and KEY not in repr(teach)


@pytest.mark.parametrize("key", [KEY + " x", KEY + "\nX: y", KEY + "é"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key):
    with pytest.raises(ValueError, match="api_key") as error:
        EndpointTeacher("http://localhost:1/v1", "tiny", api_key=key)
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("localhost:8000/v1", "must look like"),
        ("", "must look like"),
        (f"http://me:{KEY}@localhost/v1", "pass the key as api_key"),
        (f"http://localhost/v1?key={KEY}", "pass the key as api_key"),
    ],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(url, match):
    with pytest.raises(ValueError, match=match) as error:
        EndpointTeacher(url, "tiny")
    assert KEY not in str(error.value)


def test_it_also_teaches_where_an_event_loop_runs_already():
    """As in Jupyter."""

    async def cell() -> list:
        return teach([REQUEST])

    with server(lambda body: chat("fine")) as (url, _):
        teach = EndpointTeacher(url, "tiny")
        assert asyncio.run(cell()) == ["fine"]


# --- in training --------------------------------------------------------------------------------------------

LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.0)


def test_a_run_whose_endpoint_fails_3_of_10_calls_makes_every_step_and_counts_them(build):
    rng, lock, failed = random.Random(1), threading.Lock(), []

    def moody(body):
        with lock:
            failed.append(rng.random() < 0.3)
            return (500, b"oops") if failed[-1] else chat(GUIDANCE)

    with server(moody) as (url, _), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        teacher = EndpointTeacher(url, "tiny", prompts.TINY_PROMPT, retries=0)
        trainer = build(teacher, guided_fraction=0.5, max_steps=10, rollout_log_steps=1, peft_config=LORA)
        trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == 10 and len(failed) == 20 and 2 < sum(failed) < 12
    assert sum(row["guidance/failures"] for row in rows) == pytest.approx(sum(failed) / 2)
    assert sum(row["guidance/fraction"] for row in rows) == pytest.approx((20 - sum(failed)) / 4)
    assert any("answered 500: oops" in str(w.message) for w in caught)


SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        reply = json.dumps({"choices": [{"message": {"content": sys.argv[1]}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)
    def log_message(self, *args):
        pass
httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(httpd.server_port, flush=True)
httpd.serve_forever()
"""


def test_a_server_killed_in_training_costs_no_step_already_made(build):
    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                process.kill()
                process.wait()

    command = [sys.executable, "-c", SERVER, GUIDANCE]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        teacher = EndpointTeacher(url, "tiny", prompts.TINY_PROMPT, retries=0)
        trainer = build(teacher, guided_fraction=0.25, max_steps=20, peft_config=LORA)
        trainer.add_callback(Kill())
        with pytest.raises(RuntimeError, match="could not be reached"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    steps = trainer.state.global_step
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert [row["guidance/failures"] for row in rows] == [0, 0] + [1] * (steps - 2)
    assert (Path(trainer.args.output_dir) / f"checkpoint-{steps}").exists()


# ---------------------------------------------------------------- the form


FORMED = json.dumps({"opinion": "incorrect", "reason": "I doubt it.", "phrase": "It is 7."})


def test_json_is_asked_for_and_becomes_tags():
    with server(lambda body: chat(FORMED)) as (url, seen):
        [reply] = EndpointTeacher(url, "some", max_new_tokens=100, keeps_form="json")([REQUEST])
    assert parse_guidance(reply) == Guidance("incorrect", "I doubt it.", "It is 7.")
    properties = seen[0]["body"]["response_format"]["json_schema"]["schema"]["properties"]
    assert properties["opinion"]["enum"] == ["correct", "incorrect"]
    assert properties["reason"]["maxLength"] + properties["phrase"]["maxLength"] == 200


def test_an_expression_is_asked_for_and_what_the_user_adds_goes_along():
    with server(lambda body: chat(GUIDANCE)) as (url, seen):
        teach = EndpointTeacher(url, "some", keeps_form="regex", extra_body={"top_k": 1})
        assert teach([REQUEST]) == [GUIDANCE]
    body = seen[0]["body"]
    assert body["top_k"] == 1 and re.fullmatch(body["structured_outputs"]["regex"], GUIDANCE)


def test_a_server_that_takes_no_lengths_is_asked_without():
    def answer(body):
        if "maxLength" in json.dumps(body):
            return 400, b"In context=('properties', 'reason'), 'maxLength' is not permitted"
        return chat(FORMED)

    with server(answer) as (url, seen):
        [reply] = EndpointTeacher(url, "some", keeps_form="json", retries=0)([REQUEST])
    assert parse_guidance(reply) and len(seen) == 2


def test_a_json_reply_that_was_cut_is_malformed_not_an_end():
    with server(lambda body: chat(FORMED[:30])) as (url, _):
        [reply] = EndpointTeacher(url, "some", keeps_form="json")([REQUEST])
    assert isinstance(reply, str) and parse_guidance(reply) is None


def test_an_unknown_way_to_ask_is_refused():
    with pytest.raises(ValueError, match="keeps_form='xml': choose one of json, regex"):
        EndpointTeacher("http://localhost:1/v1", "some", keeps_form="xml")
