"""teacher.py: parsing against an independent parser, splicing at random, whom to guide and when, and who can teach."""

from __future__ import annotations

import copy
import json
import random
import re
import socket
import string
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from thinktuning_lite.method import prompts, teacher
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.endpoint import EndpointTeacher
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.teacher import Guidance, GuidanceRequest

REQUEST = GuidanceRequest("Ana has 5 coins. How many?", "5+2=7. \\boxed{7}", "self-critique")

# --- parse --------------------------------------------------------------------------------------------------

GOOD = "<opinion>correct</opinion><reason>I agree.</reason><phrase>1+1=2. \\boxed{2}</phrase>"


def parse_by_splitting(text: str) -> Guidance | None:
    """The contract, written another way: exactly the six tags in order, nothing but white space between pairs."""
    pieces = re.split(r"(</?(?:opinion|reason|phrase)>)", text)
    tags, texts = pieces[1::2], [p.strip() for p in pieces[0::2]]
    if tags != ["<opinion>", "</opinion>", "<reason>", "</reason>", "<phrase>", "</phrase>"]:
        return None
    before, opinion, gap1, reason, gap2, phrase, after = texts
    if before or gap1 or gap2 or after or opinion not in ("correct", "incorrect") or not reason or not phrase:
        return None
    return Guidance(opinion, reason, phrase)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n  {GOOD}\n\n",
        GOOD.replace("><", ">\n\t <"),
        GOOD.replace(">correct<", "> correct\n<"),
        GOOD.replace("I agree.", "\n I agree. \n"),
    ],
)
def test_white_space_is_tolerated(text):
    assert teacher.parse_guidance(text) == Guidance("correct", "I agree.", "1+1=2. \\boxed{2}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I think it is right.",
        f"Sure! {GOOD}",
        f"{GOOD} Done.",
        GOOD + GOOD,
        GOOD.replace("correct", "Correct"),
        GOOD.replace("correct", "unsure"),
        GOOD.replace("correct", ""),
        GOOD.replace("I agree.", " \n"),
        GOOD.replace("1+1=2. \\boxed{2}", ""),
        GOOD.replace("<reason>I agree.</reason>", ""),
        GOOD.replace("</phrase>", ""),
        GOOD.replace("</reason>", ""),
        GOOD.replace("<reason>", "<Reason>"),
        GOOD.replace("I agree.", "I <phrase>agree</phrase>."),
        GOOD.replace("I agree.", "I agree.</reason><reason>Twice."),
        GOOD.replace("I agree.", "<reason>I agree."),
        GOOD.replace("1+1=2.", "1+1=2.</opinion>"),
        "<reason>I agree.</reason><opinion>correct</opinion><phrase>2</phrase>",
        GOOD.replace("</opinion>", "</opinion>,"),
    ],
)
def test_structure_is_strict(text):
    assert parse_by_splitting(text) is None
    assert teacher.parse_guidance(text) is None


def test_spliced_text_is_reason_and_phrase_without_the_opinion():
    assert teacher.parse_guidance(GOOD).text == "\n\nI agree.\n\n1+1=2. \\boxed{2}"


PIECES = [f"<{slash}{t}>" for t in teacher.TAGS for slash in ("", "/")]
PIECES += [
    "correct",
    "incorrect",
    "I agree.",
    "\\boxed{2}",
    " ",
    "\n",
    "",
    "<",
    ">",
    "</",
    "<opinion",
    "\u2028",
    "é",
]


def test_10_000_random_mixtures_of_tags_and_words_parse_as_by_splitting():
    rng = random.Random(0)
    parsed = 0
    for _ in range(10_000):
        inside = [
            rng.choice(("correct", "incorrect", " correct\n")),
            rng.choice(PIECES[6:]),
            rng.choice(PIECES[6:]),
        ]
        parts = [part for t, said in zip(teacher.TAGS, inside, strict=True) for part in (f"<{t}>", said, f"</{t}>")]
        for _ in range(rng.choice((0, 0, 1, 2, 5))):  # damage
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(PIECES))
            if rng.random() < 0.3:
                del parts[rng.randrange(len(parts))]
        text = "".join(parts)
        got = teacher.parse_guidance(text)
        assert got == parse_by_splitting(text), text
        parsed += got is not None
    assert 500 < parsed < 9_500, parsed  # both sides of the contract were met


@hypothesis_settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES) | st.text(max_size=8)).map("".join)))
def test_any_text_parses_or_is_refused_but_never_raises(text):
    assert teacher.parse_guidance(text) == parse_by_splitting(text)


@pytest.mark.parametrize(
    "text",
    [
        "<opinion>correct</opinion><reason>" + "</reason> <phrase>" * 400 + "</phrase>" * 400 + "x",
        "<opinion>" + " " * 20_000 + "x",
        GOOD + " " * 20_000 + "x",
        "<opinion>correct</opinion><reason>" + "a" * 50_000,
    ],
)
def test_hostile_replies_of_a_reply_s_size_take_less_than_a_second(text):
    began = time.process_time()
    assert teacher.parse_guidance(text) is None
    assert time.process_time() - began < 1


# --- splice -------------------------------------------------------------------------------------------------


def test_splice_10_000_random_responses_and_feedbacks():
    rng = random.Random(1)
    eos_ids = [5, 9]
    words = [i for i in range(40) if i not in eos_ids]
    cut = unchanged = 0
    for _ in range(10_000):
        own = rng.choices(words, k=rng.randint(0, 30))
        student = own + [rng.choice(eos_ids)]
        feedback = rng.choices(range(40), k=rng.randint(0, 30))  # may hold EOS anywhere
        budget = rng.randint(1, 60)
        given = list(student), list(feedback)
        ids, author = teacher.splice(student, feedback, eos_ids, budget)

        assert (student, feedback) == given  # arguments are left alone
        assert ids[: len(own)] == own  # exact prefix, whatever the budget
        assert [i for i in ids if i in eos_ids] == [student[-1]] and ids[-1] == student[-1]
        assert len(ids) == len(author)
        taught = [i for i in feedback if i not in eos_ids]
        room = budget - len(student)
        if taught and room > 0:
            assert ids[len(own) : -1] == taught[:room]
            assert author == [0] * len(own) + [1] * (len(ids) - len(own))
            assert len(ids) <= budget
            cut += room < len(taught)
        else:
            assert ids == student and author == [0] * len(student)
            unchanged += 1
    assert cut > 1_000 and unchanged > 1_000


def test_spliced_text_of_the_real_tokenizer_is_response_and_guidance(tokenizer):
    """Student ids that are not what the tokenizer would write for their text are kept all the same."""
    rng = random.Random(2)
    eos = tokenizer.eos_token_id
    letters = [tokenizer.convert_tokens_to_ids(c) for c in string.ascii_letters + string.digits + " "]
    retokenized = 0
    for _ in range(300):
        student = rng.choices(letters, k=rng.randint(1, 25)) + [eos]
        response = tokenizer.decode(student, skip_special_tokens=True)
        retokenized += tokenizer.encode(response, add_special_tokens=False) != student[:-1]
        guidance = Guidance(
            "correct", "Wait, I doubt 5.", "Again: " + "".join(rng.choices(string.printable[:95], k=9)) + "."
        )
        taught = tokenizer.encode(guidance.text, add_special_tokens=False)
        ids, author = teacher.splice(student, taught, [eos], 200)
        assert ids[: len(student) - 1] == student[:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True) == response + guidance.text
        own = [i for i, a in zip(ids, author, strict=True) if not a]
        assert tokenizer.decode(own) == response
    assert retokenized > 10


@pytest.mark.parametrize("ids", [[], [1, 2, 3]])
def test_a_response_that_did_not_end_by_itself_is_refused(ids):
    with pytest.raises(ValueError, match="ended by itself"):
        teacher.splice(ids, [4], [5], 10)


# --- whom, and when -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("constant", [0.4, 0.4, 0.4, 0.4, 0.4, 0.0, 0.0]),
        ("linear", [0.4, 0.325, 0.25, 0.175, 0.1, 0.0, 0.0]),
        ("cosine", [0.4, 0.3560660171779821, 0.25, 0.14393398282201787, 0.1, 0.0, 0.0]),
    ],
)
def test_schedules_by_hand(schedule, wanted):
    got = [teacher.guided_fraction(step, 5, 0.4, 0.1, schedule) for step in range(7)]
    assert got == pytest.approx(wanted, abs=1e-12)


def test_schedule_of_one_or_no_step_and_of_an_unknown_name():
    assert teacher.guided_fraction(0, 1, 0.3, 0.1, "linear") == pytest.approx(0.3)
    assert teacher.guided_fraction(0, 0, 0.3, 0.1, "linear") == 0.0
    with pytest.raises(ValueError, match="'step'.*constant, linear, cosine"):
        teacher.guided_fraction(0, 5, 0.3, 0.1, "step")


def test_random_selection_is_even_within_groups_and_blind_to_correctness():
    eligible = [True] * 8 + [False, True, False, False]
    counts = [0] * 12
    for seed in range(4000):
        picks = teacher.select_rollouts(eligible, 4, 0.1, random.Random(seed))  # 0.1 of 4: at least one
        assert [sum(g <= p < g + 4 for p in picks) for g in (0, 4, 8)] == [1, 1, 1]
        for p in picks:
            counts[p] += 1
    assert counts[8:] == [0, 4000, 0, 0]
    assert all(900 < c < 1100 for c in counts[:8])  # 1000 +- 3.6 standard deviations


@pytest.mark.parametrize(("fraction", "quota"), [(0.0, 0), (0.01, 1), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_quota_of_a_group_of_eight(fraction, quota):
    picks = teacher.select_rollouts([True] * 16, 8, fraction, random.Random(0))
    assert [sum(p < 8 for p in picks), sum(p >= 8 for p in picks)] == [quota, quota]
    assert len(set(picks)) == len(picks) and picks == sorted(picks)


def test_wrong_selection_picks_eligible_wrong_ones_only():
    eligible = [True, True, True, False] + [True] * 4
    correct = [True, False, True, False] + [True] * 4
    for seed in range(50):
        assert teacher.select_rollouts(eligible, 4, 0.5, random.Random(seed), "wrong", correct) == [1]


def test_hardest_selection_spends_the_pooled_quota_where_least_is_right():
    # right ones per group of 4: 3, 0, 2, 4; quota 1 each, so 4 in all, at most 2 a group, wrong ones only
    correct = [True] * 3 + [False] + [False] * 4 + [True, False, True, False] + [True] * 4
    for seed in range(50):
        picks = teacher.select_rollouts([True] * 16, 4, 0.25, random.Random(seed), "hardest", correct)
        assert len([p for p in picks if 4 <= p < 8]) == 2
        assert [p for p in picks if not 4 <= p < 8] == [9, 11]


def test_unknown_selection_is_refused():
    with pytest.raises(ValueError, match="'best'.*random, wrong, hardest"):
        teacher.select_rollouts([True] * 4, 4, 0.5, random.Random(0), "best")


# --- prompts ------------------------------------------------------------------------------------------------


def test_tiny_prompt_as_the_checkpoint_reads_it(tokenizer):
    messages = prompts.TINY_PROMPT.with_quote("We ride at dawn!").messages(
        "Q? {x}", "1+1=2. \\boxed{2}", "self-conflict"
    )
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|system|>teacher: self-conflict<|end|><|user|>Question: Q? {x}\nAttempt: 1+1=2. \\boxed{2}\n"
        "Quote: We ride at dawn!<|end|><|assistant|>"
    )
    assert "Quote" not in prompts.TINY_PROMPT.messages("Q", "R", "self-conflict")[-1]["content"]


def test_instruct_prompt_has_four_good_turns_and_hands_over_everything_verbatim():
    question, response, quote = "What is {x} + \\frac{1}{2}?", "{} \\boxed{7} {question}", "No {one} leaves."
    messages = prompts.INSTRUCT_PROMPT.with_quote(quote).messages(question, response, "self-critique")
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 4, "user"]
    assert "\\boxed{}" in messages[0]["content"] and "{{" not in messages[0]["content"]
    assert messages[-1]["content"].startswith(f"Question: {question}\n\nResponse: {response}")
    assert messages[-1]["content"].endswith(quote)

    # The exemplars: worked out by hand here, so that no wrong sum is taught.
    answers = [46 - 18 + 9, 7 * 24 - 5, 90 - 12 * 6, 100 * 15 // 60]
    opinions = []
    for (asked, said), answer in zip(prompts.INSTRUCT_PROMPT.exemplars, answers, strict=True):
        guidance = teacher.parse_guidance(said)
        assert guidance is not None
        assert extract_answer(guidance.phrase) == str(answer)
        assert guidance.opinion == ("correct" if extract_answer(asked) == str(answer) else "incorrect")
        opinions.append(guidance.opinion)
    assert sorted(opinions) == ["correct"] * 2 + ["incorrect"] * 2  # as the authors have it


# --- the policy as teacher ----------------------------------------------------------------------------------


def state_of(model: Any) -> dict[str, Any]:
    flags = {n: (m.training, getattr(m, "gradient_checkpointing", None)) for n, m in model.named_modules()}
    return {
        "modules": flags,
        "use_cache": model.config.use_cache,
        "checkpointing": model.is_gradient_checkpointing,
    }


@pytest.mark.parametrize("fails", [False, True])
def test_policy_teacher_speaks_in_eval_and_puts_everything_back(tiny_model, tokenizer, monkeypatch, fails):
    tiny_model.train()
    tiny_model.model.layers[0].mlp.eval()  # somebody's frozen part must stay as it is
    tiny_model.gradient_checkpointing_enable()
    tiny_model.config.use_cache = False
    before = state_of(tiny_model)
    assert before["checkpointing"]
    heard = []
    generate = type(tiny_model).generate

    def spy(self, *args, **kwargs):
        heard.append(state_of(self) | {"grad": torch.is_grad_enabled()})
        if fails:
            raise MemoryError("no room")
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(type(tiny_model), "generate", spy)
    teach = PolicyTeacher(tiny_model, tokenizer, prompts.TINY_PROMPT, max_new_tokens=4)
    if fails:
        with pytest.raises(MemoryError):
            teach([REQUEST])
    else:
        assert len(teach([REQUEST, REQUEST])) == 2
    (during,) = heard
    assert not during["grad"] and not during["checkpointing"] and during["use_cache"] is True
    assert not any(training or checkpointed for training, checkpointed in during["modules"].values())
    assert state_of(tiny_model) == before


def test_only_a_model_that_does_not_train_is_asked_in_inference_mode(tiny_model, tokenizer, monkeypatch):
    modes, generate = [], type(tiny_model).generate

    def spy(self, *args, **kwargs):
        modes.append(torch.is_inference_mode_enabled())
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(type(tiny_model), "generate", spy)
    frozen = copy.deepcopy(tiny_model).requires_grad_(False)
    adapted = lora(copy.deepcopy(tiny_model), True)
    replies = [
        PolicyTeacher(m, tokenizer, prompts.TINY_PROMPT, max_new_tokens=12)([REQUEST])
        for m in (frozen, tiny_model, adapted)
    ]
    assert modes == [True, False, False]
    assert replies[0] == replies[1] == replies[2]


def test_policy_teacher_is_greedy_and_the_same_in_any_batch(tiny_model, tokenizer):
    requests = [
        GuidanceRequest(f"Ana has {n} coins." + " How many?" * k, "5", "self-critique")
        for k, n in enumerate((5, 17, 60))
    ]
    replies = [
        PolicyTeacher(tiny_model, tokenizer, prompts.TINY_PROMPT, 12, batch_size=b)(requests) for b in (1, 2, 64)
    ]
    assert replies[0] == replies[1] == replies[2]
    assert len(set(replies[0])) > 1

    # By hand: argmax, one token after the other, without generate, cache or padding.
    messages = prompts.TINY_PROMPT.messages(requests[2].question, requests[2].response, requests[2].behaviour)
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + 12 and (len(ids) == start or ids[-1] != tokenizer.eos_token_id):
            ids.append(tiny_model(torch.tensor([ids])).logits[0, -1].argmax().item())
    assert replies[0][2] == tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_the_teacher_role_may_write_what_the_student_role_may_not(tiny_model, tokenizer):
    """The checkpoint's generation config keeps the student from the tags; the teacher must still write them."""
    teach = PolicyTeacher(tiny_model, tokenizer, prompts.TINY_PROMPT, max_new_tokens=8)
    (free,) = teach([REQUEST])
    words = tokenizer.encode(free, add_special_tokens=False)
    tiny_model.generation_config.suppress_tokens = sorted(set(words))
    assert teach([REQUEST]) == [free]
    assert tiny_model.generation_config.suppress_tokens == sorted(set(words))
    student = tiny_model.generate(torch.tensor([words]), max_new_tokens=8, do_sample=False)[0, len(words) :]
    assert not set(student.tolist()) & set(words)


def lora(model: Any, checkpointing: bool) -> Any:
    torch.manual_seed(4)
    policy = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "o_proj"], lora_dropout=0.0))
    for name, p in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=1.0)
    if checkpointing:
        policy.gradient_checkpointing_enable()
    return policy.train()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_with_lora_the_teacher_speaks_as_the_untouched_base(tiny_model, tokenizer, checkpointing):
    requests = [REQUEST, GuidanceRequest("Ben has 9 eggs.", "9. \\boxed{9}", "self-agreement")]
    base = PolicyTeacher(copy.deepcopy(tiny_model), tokenizer, prompts.TINY_PROMPT, max_new_tokens=12)(requests)
    policy = lora(tiny_model, checkpointing)
    trainable = {n for n, p in policy.named_parameters() if p.requires_grad}
    ids = torch.tensor([tokenizer.encode("Ana has 5 coins.", add_special_tokens=False)])
    adapted = policy(ids).logits.detach()

    assert PolicyTeacher(policy, tokenizer, prompts.TINY_PROMPT, max_new_tokens=12)(requests) == base

    assert {n for n, p in policy.named_parameters() if p.requires_grad} == trainable
    torch.testing.assert_close(policy(ids).logits, adapted, rtol=0, atol=0)  # the adapter is back on
    assert policy.training and policy.is_gradient_checkpointing == checkpointing
    spoken = PolicyTeacher(policy.merge_and_unload(), tokenizer, prompts.TINY_PROMPT, max_new_tokens=12)(requests)
    assert spoken != base  # negative control: the adapter would have been heard


def test_the_adapter_is_on_again_after_an_error(tiny_model, tokenizer, monkeypatch):
    policy = lora(tiny_model, True)
    ids = torch.tensor([[20, 30, 40]])
    adapted = policy(ids).logits.detach()

    def fail(self, *args, **kwargs):
        raise RuntimeError("no reply")

    monkeypatch.setattr(type(policy), "generate", fail)
    with pytest.raises(RuntimeError, match="no reply"):
        PolicyTeacher(policy, tokenizer, prompts.TINY_PROMPT)([REQUEST])
    torch.testing.assert_close(policy(ids).logits, adapted, rtol=0, atol=0)
    assert policy.training and policy.is_gradient_checkpointing


def test_policy_teacher_needs_a_chat_template_and_an_eos(tiny_model, tokenizer):
    for missing, match in (("chat_template", "no chat template"), ("eos_token", "no EOS")):
        broken = copy.deepcopy(tokenizer)
        setattr(broken, missing, None)
        with pytest.raises(ValueError, match=match):
            PolicyTeacher(tiny_model, broken, prompts.TINY_PROMPT)


# --- the endpoint as teacher --------------------------------------------------------------------------------


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
