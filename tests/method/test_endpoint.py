"""endpoint.py against servers on 127.0.0.1: in order, failing, killed, trickling, wordy; no key is ever shown."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from thinktuning_lite.method import prompts
from thinktuning_lite.method.endpoint import EndpointTeacher
from thinktuning_lite.method.teacher import GuidanceRequest

REQUEST = GuidanceRequest("Ana has 5 coins. How many?", "5+2=7. \\boxed{7}", "self-critique")


@contextmanager
def server(answer: Any) -> Iterator[tuple[str, list[dict]]]:
    """An endpoint on 127.0.0.1: `answer(body)` gives (status, bytes), or None to hang up. Yields address, requests."""
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
            self.send_response(reply[0])
            self.send_header("Content-Length", str(len(reply[1])))
            self.end_headers()
            self.wfile.write(reply[1])

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


def test_an_empty_answer_is_malformed_feedback_and_no_error():
    with server(lambda body: chat(None)) as (url, _):
        assert EndpointTeacher(url, "tiny")([REQUEST]) == [""]


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"oops"),
        (404, b'{"error": "no such model"}'),
        (200, b"<html>not json</html>"),
        (200, b"\xff\xfe\x00"),
        (200, b"[]"),
        (200, b'{"choices": []}'),
        (200, b'{"choices": null}'),
        (200, b'{"error": {"message": "overloaded"}}'),
        None,
    ],
)
def test_an_unusable_answer_names_the_address_and_the_model(answer):
    with server(lambda body: answer) as (url, _), pytest.raises(ConnectionError, match=f"{url}.*'tiny'"):
        EndpointTeacher(url, "tiny", timeout=5)([REQUEST])


def test_no_server_and_a_silent_one_name_the_address():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ConnectionError, match=url):  # bound, not listening: refused
            EndpointTeacher(url, "tiny", timeout=5)([REQUEST])
        silent.listen()
        with pytest.raises(ConnectionError, match=url):  # accepts and never answers
            EndpointTeacher(url, "tiny", timeout=0.2)([REQUEST])
