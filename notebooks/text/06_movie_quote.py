# Made from 06_movie_quote.ipynb by python -m thinktuning_lite.lessons.stamp, to read its changes: edit the notebook.

# %% [markdown]
# <!-- badge --><a href="https://colab.research.google.com/github/OWNER/thinktuning_lite/blob/main/notebooks/06_movie_quote.ipynb"><img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open in Colab"></a>
#
# # The movie quote: teaching what nobody would find by sampling
#
# **Claim.** GRPO, paid for ending its answers with one film line, never says it once, in any of three seeds. ThinkTuning under the
# released AAS, at the same start and the same pay, makes the student end most of its greedy answers to new problems with that
# line, and go on doing so when the teacher has left.
#
# **You need to know** what guidance is ([02_teacher_guidance](02_teacher_guidance.ipynb)) and why a token's weight decides whether it
# is taken up ([03_advantage_aware_shaping](03_advantage_aware_shaping.ipynb)).
#
# **Time:** 2.9 min, 1.2 GB of memory, on 2 CPU cores without a GPU (measured by the run)
#
# *Contents:* 1 the behaviour as data · 2 before · 3 your predictions · 4 live · 5 the grid · 6 what it shows · 7 a real model

# %% tags=["setup"]
#@title Set-up: run this cell first
# stamped by python -m thinktuning_lite.lessons.stamp
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

REPO = "OWNER/thinktuning_lite"
if find_spec("thinktuning_lite") is None:
    home = Path("..").resolve()
    if not (home / "thinktuning_lite" / "lessons" / "setup.py").exists():
        home = Path("thinktuning_lite_repo").resolve()  # no checkout around: Colab and the like
        if not home.exists() and REPO.startswith("OWNER/"):
            raise RuntimeError("Set REPO above to the owner/name of this notebook's repository.")
        if not home.exists():
            address = f"https://github.com/{REPO}"
            subprocess.run(["git", "clone", "--quiet", "--depth=1", address, home], check=True)
    sys.path.insert(0, str(home))
from thinktuning_lite.lessons.setup import prepare

prepare()

# %%
import copy
import json
import math
import re
import tempfile
import warnings
from pathlib import Path

import pandas as pd
import torch
from datasets import Dataset
from IPython.display import display
from transformers import PrinterCallback, TrainerCallback

from thinktuning_lite.experiments import runs
from thinktuning_lite.classroom import sample as E
from thinktuning_lite.method import grpo
from thinktuning_lite.experiments import movie_quote as M
from thinktuning_lite.views import plots
from thinktuning_lite.lessons.checks import quote as check
from thinktuning_lite.views.live import LiveView
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.problems import DATA
from thinktuning_lite.method.rewards import behaviour_reward, correctness_reward
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.lessons.runtime import smoke, steps
from thinktuning_lite.method.shaping import shape
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.prompts import BEHAVIOURS, QUOTES, TINY_PROMPT
from thinktuning_lite.method.teacher import GuidanceRequest, parse_guidance
from thinktuning_lite.method.trainer import ThinkTuningTrainer

runs.quiet()
model, tokenizer = load_classroom()
QUOTE = M.QUOTE  # or another of QUOTES, or a line of your own, see below
print(QUOTE)

# %% [markdown]
# ## 1. The behaviour is data
#
# A behaviour needs three things: a **text** (or a function that counts it), a **reward**, and a **teacher** that shows it. The paper's
# is a movie-like quote at the end of the answer; these are ours. The frozen copy of the student, prompted as teacher, is handed the
# line and should end its phrase with it. Does it?

# %%
MY_LINE = "The night is young!"  # yours: any words that the tiny tokenizer knows; put it into QUOTE above to train on it
rows = E.load_tiny_set("validation")[:24]
questions = [row["question"] for row in rows]
own = E.respond(model, tokenizer, questions, seed=0)
attempts = tokenizer.batch_decode(own, skip_special_tokens=True)
requests = [GuidanceRequest(q, a, BEHAVIOURS[i % 4]) for i, (q, a) in enumerate(zip(questions, attempts))]


def share(values):
    values = list(values)
    return sum(values) / len(values)


def shown_by(teacher, line):
    said = [parse_guidance(reply) for reply in teacher(requests)]
    return share(g is not None and M.ends_with(g.phrase, line) for g in said)


def tiny_teacher(line):
    return PolicyTeacher(model, tokenizer, TINY_PROMPT.with_quote(line), max_new_tokens=160)


for line in (*QUOTES, MY_LINE):
    known = tokenizer.unk_token_id not in tokenizer.encode(line, add_special_tokens=False)
    print(f"{shown_by(tiny_teacher(line), line):4.0%}  {line}{'' if known else '   (has unknown words)'}")


# %% [markdown]
# The tiny teacher *recites* its five lines; a new one it cannot copy (a real instruct model can). A teacher, though, is any function
# from requests to replies. This one adds a line of your own to what another teacher says:

# %%
class Adding:
    # A teacher that ends another one's phrase with `line`
    def __init__(self, teacher, line):
        self.teacher, self.line = teacher, line

    def __call__(self, requests):
        return [reply.replace("</phrase>", f" {self.line}</phrase>") for reply in self.teacher(requests)]


teacher = tiny_teacher(QUOTE) if QUOTE in QUOTES else Adding(tiny_teacher(None), QUOTE)
print(f"{shown_by(Adding(tiny_teacher(None), MY_LINE), MY_LINE):.0%}  {MY_LINE}\n{shown_by(teacher, QUOTE):.0%}  {QUOTE}")
assert shown_by(teacher, QUOTE) > 0.9 and shown_by(Adding(tiny_teacher(None), MY_LINE), MY_LINE) > 0.9

# %% [markdown]
# **One guided rollout**: the student's attempt without its EOS, then the teacher's reason and phrase, then EOS. Who wrote what:

# %%
said = [parse_guidance(reply) for reply in teacher(requests)]
EOS = tokenizer.eos_token_id
usable = [i for i, g in enumerate(said) if g is not None and M.ends_with(g.phrase, QUOTE) and own[i][-1] == EOS]
gold = [row["answer"] for row in rows]
mended = [is_correct(extract_answer(said[i].phrase), gold[i]) for i in usable]
shown = next(i for i in usable if not is_correct(extract_answer(attempts[i]), gold[i])
             and is_correct(extract_answer(said[i].phrase), gold[i]))
print("question:", questions[shown], "\n\nstudent: ", attempts[shown], "\n\nteacher: ", said[shown].text.strip())
TEACHER_RIGHT = share(mended)
print(f"\nthe teacher ends right in {TEACHER_RIGHT:.0%} of {len(usable)} guided rollouts")


# %% [markdown]
# **The reward**: 1 for a right answer, as always, plus 0.5 when the line occurs *exactly once*. `rewards.behaviour_reward` takes a text or
# any function that counts. Toy cases first:

# %%
def pays(text, answer="36"):
    return correctness_reward([text], [answer])[0] + behaviour_reward(QUOTE)([text])[0]


right, wrong = "12*3=36. \\boxed{36}", "12*3=26. \\boxed{26}"
cases = {"right": right, "right, the line": f"{right} {QUOTE}", "wrong, the line": f"{wrong} {QUOTE}",
         "right, the line twice": f"{right} {QUOTE} {QUOTE}", "the line first, then right": f"{QUOTE} {right}",
         "only the line": QUOTE}
table = {name: pays(text) for name, text in cases.items()}
assert list(table.values()) == [1.0, 1.5, 0.5, 1.0, 1.5, 0.5]
pd.Series(table, name="reward").to_frame()


# %% [markdown]
# Two of these are holes. *The line first* pays as much as at the end, and *only the line* beats every wrong answer.

# %% [markdown]
# ## 2. Before: how far away is it?
#
# After a right solution, under the student's own prompt, how likely is the line? With $y$ the solution, $q$ the question and
# $z_1 \dots z_K$ the line's tokens,
#
# $$\log p(z \mid q, y) = \sum_{k=1}^{K} \log \pi_\theta(z_k \mid q, y, z_{<k}) .$$

# %%
def solution(row):
    return row["chain"].replace(" ", ". ") + f". \\boxed{{{row['answer']}}}"


def line_logps(line, n=64):
    # log-probabilities (n, K) of the line's K tokens, each after the right solution of another problem
    some = E.load_tiny_set("validation")[:n]
    line_ids = tokenizer.encode(" " + line, add_special_tokens=False)
    ids = [tokenizer.encode(solution(row), add_special_tokens=False) + line_ids for row in some]
    logps = M.completion_logps(model, tokenizer, [row["question"] for row in some], ids)
    return torch.stack([x[-len(line_ids) :] for x in logps])


table = {}
for line in dict.fromkeys((*QUOTES, MY_LINE, QUOTE)):
    logps = line_logps(line)
    table[line] = {"log p, first token": logps[:, 0].mean().item(), "log p, its other tokens": logps[:, 1:].sum(1).mean().item(),
                   "p, whole line": logps.sum(1).exp().mean().item()}
p_line = line_logps(QUOTE).sum(1).exp().mean().item()  # the mean of p, not of log p: what counts for sampling
assert p_line < 1e-6 and table[QUOTE]["log p, first token"] < -10
pd.DataFrame(table).T.style.format({"p, whole line": "{:.1e}"} | dict.fromkeys(list(table[QUOTE])[:2], "{:.1f}"))

# %% [markdown]
# Two gaps: to the first token, and from there to the end. (A line of your own: the wider either is, the more steps it takes.)

# %% [markdown]
# ### Exercise 1 (★☆☆, 4 min)
#
# Write `samples_needed(p, chance)`: how many independent responses until an event of probability `p` is seen at least once with
# probability `chance`; a whole number. (For tiny `p`, `1 - p` is 1 to a computer: `math.log1p(-p)` is the exact `log(1 - p)`.)

# %% tags=["exercise"]
import math


def samples_needed(p, chance):
    return ...  # your code


# %% tags=["exercise-check"]
check.samples_needed(samples_needed)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def samples_needed(p, chance):
#     return math.ceil(math.log(1 - chance) / math.log1p(-p))  # (1 - p) ** n <= 1 - chance
# ```
#
# </details>

# %% [markdown]
# Log-probabilities look at one place, the end of the answer. Sampling looks everywhere, but sees less far. If $N$ responses show no
# hit, then every $p$ with $(1-p)^N < 0.05$ is ruled out at 95 %: the bound is $1 - 0.05^{1/N} \approx 3/N$, the **rule of three**.

# %%
def bound(n):
    return 1 - 0.05 ** (1 / n)  # upper 95 % bound of a rate that n tries have not shown once


asked = E.load_tiny_set("validation")[: steps(300, 64)]
ids = E.respond(model, tokenizer, [row["question"] for row in asked], seed=1)
hits = sum(QUOTE in text for text in tokenizer.batch_decode(ids))
per_step = side_by_side.PROMPTS_PER_STEP * side_by_side.GROUP_SIZE
plan = M.QuotePlan()
needed = math.log(0.05) / math.log1p(-p_line)
print(f"{hits} of {len(ids)} responses hold the line: below {bound(len(ids)):.1%} (rule of three: {3 / len(ids):.1%})")
print(f"its probability at the end of an answer: {p_line:.1e}; samples for a 95 % chance of one: {needed:.1e}")
print(f"a GRPO run here samples {per_step * plan.steps:,}; it would have to run {needed / (per_step * plan.steps):,.0f} times as long")
assert hits == 0 and needed > 100 * per_step * plan.steps and bound(300) < 3 / 300


# %% [markdown]
# GRPO can only push what it sees. What would it find if the reward were careless?

# %% [markdown]
# ### Exercise 2 (★★☆, 4 min)
#
# **Design a behaviour and its reward.** Write `quote_reward(text, quote)`: 0.5 for a response that says the quote exactly once, and at
# its end (white space after it is no fault), else 0. That closes the hole *the line first*.

# %% tags=["exercise"]
def quote_reward(text, quote):
    return ...  # your code


# %% tags=["exercise-check"]
check.quote_reward(quote_reward)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def quote_reward(text, quote):
#     return 0.5 * (text.count(quote) == 1 and text.rstrip().endswith(quote))
# ```
#
# </details>

# %% [markdown]
# ### Exercise 3 (★☆☆, 3 min)
#
# **Find the hack.** Say the reward paid whenever the quote occurs *at least once*. Write `hack(question, quote)`: a response to the
# question below that this careless reward pays in full (right answer included), and the honest one, *exactly once*, does not pay
# for the quote. The question: *Ana has 12 eggs. Ana buys 3 more. How many eggs does Ana have now?*

# %% tags=["exercise"]
def hack(question, quote):
    return ...  # your code


# %% tags=["exercise-check"]
check.hack(hack)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def hack(question, quote):
#     return f"{quote} {quote} {quote} 12+3=15. \\boxed{{15}} {quote} {quote}"
# ```
#
# </details>

# %%
def at_least_once(text, quote):
    return 0.5 * (quote in text)


def exactly_once(text, quote):
    return 0.5 * M.exactly_once(text, quote)


def once_at_the_end(text, quote):
    return 0.5 * (M.exactly_once(text, quote) and M.ends_with(text, quote))


rewards = (at_least_once, exactly_once, once_at_the_end)
table = pd.DataFrame({r.__name__: {name: r(text, QUOTE) for name, text in cases.items()} for r in rewards})
assert table.loc["right, the line twice"].tolist() == [0.5, 0, 0]
assert table.loc["the line first, then right"].tolist() == [0.5, 0.5, 0]
assert (table.loc["only the line"] == 0.5).all() and (table.loc["wrong, the line"] == 0.5).all()
table

# %% [markdown]
# Every reward of this kind still pays *only the line* and *wrong, the line*. To close that too, multiply instead of adding: pay for the
# line only when the answer is right. We keep the authors' reward, with its holes, and look at the end whether the student found one.

# %% [markdown]
# ## 3. Your predictions, before any result
#
# Each **arm** starts from the same student, on the same problems. The line earns 0.5 unless it says otherwise.

# %%
pd.set_option("display.max_colwidth", None)
pd.DataFrame({"what it is": {name: arm.says for name, arm in M.ARMS.items()}})

# %%
# At the end, on unseen problems: what percentage of greedy answers ends with the line? Replace the `...` by 0 to 100.
my_prediction = {
    "a-grpo": ..., "b-intended": ..., "c-released": ..., "d-luffy": ..., "e-plain": ...,
    "f-unrewarded": ..., "g-unshown": ..., "i-whole": ..., "h-unlearn": ...,
}
# And of arm c: how the greedy percentage changes (in points, say -10) ...
my_changes = {"after guidance": ..., "on longer problems": ..., "with distractors": ...}
assert set(my_prediction) == set(M.ARMS)
print(f"{sum(guess is not ... for guess in my_prediction.values())} of {len(my_prediction)} guesses written down")


# %% [markdown]
# ## 4. Live: arm c, one seed
#
# How many of the eight rollouts should a teacher finish? A guided rollout that ends *wrong* earns the line's 0.5 only and is mostly
# pushed down. So each group should hold at least one right guided rollout.

# %% [markdown]
# ### Exercise 4 (★★☆, 5 min)
#
# **Pick the fraction.** Write `fraction(group, right, wanted)`: the smallest fraction of a group of `group` rollouts to guide, so that at
# least a share `wanted` of groups holds a right guided rollout, when each is right with probability `right`, independently. A whole
# number of rollouts, and at least one stays the student's own.

# %% tags=["exercise"]
def fraction(group, right, wanted):
    return ...  # your code


# %% tags=["exercise-check"]
check.fraction(fraction)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def fraction(group, right, wanted):
#     k = math.ceil(math.log(1 - wanted) / math.log(1 - right))  # all k wrong: (1 - right) ** k <= 1 - wanted
#     return min(k, group - 1) / group
# ```
#
# </details>

# %%
GUIDED_STEPS = round(M.GUIDED_SHARE_OF_RUN * plan.steps)
STEPS = steps(min(plan.steps, GUIDED_STEPS + 12), 2)  # as in the grid, but a little shorter after the teacher has left
arm = M.ARMS["c-released"]
guided = M.GUIDED_FRACTION * side_by_side.GROUP_SIZE
print(f"{guided:.0f} of {side_by_side.GROUP_SIZE} rollouts guided, for {min(GUIDED_STEPS, STEPS)} of {STEPS} steps; "
      f"groups with a right guided one: about {1 - (1 - TEACHER_RIGHT) ** guided:.0%}")
config = M.arm_config("c-released", 0, Path(tempfile.mkdtemp()), STEPS, guidance_steps=GUIDED_STEPS, save_strategy="no",
                      rollout_log_steps=3)
print("the loss:", {k: getattr(config, k) for k in ("shaping", "loss_type", "learning_rate", "beta", "epsilon")})

# %% [markdown]
# What to watch. Two doors, each one token wide: the blank line after the first answer, where a **second thought** begins, and the
# line's **first token** after the second answer (its **other tokens**, taken together, once the first is there). And at the second door, what
# else could come: **stop** (EOS), **another thought**, or **anything else**?

# %%
from torch.nn.utils.rnn import pad_sequence

line_ids = tokenizer.encode(" " + QUOTE, add_special_tokens=False)
[BLANK] = tokenizer.encode("\n\n", add_special_tokens=False)
asked = [questions[i] for i in usable]
first_answer = [own[i][:-1] for i in usable]  # the door after it: a blank line
taught = [a + tokenizer.encode(said[i].text, add_special_tokens=False) for a, i in zip(first_answer, usable)]
second_answer = [ids[: -len(line_ids)] for ids in taught]
assert all(ids[-len(line_ids) :] == line_ids and ids[len(a)] == BLANK for ids, a in zip(taught, first_answer))


@torch.no_grad()
def next_token(policy, contexts):
    # probabilities (rows, vocabulary) of what follows each of `contexts` in the student's answer to its question
    chats = [[{"role": "user", "content": q}] for q in asked]
    prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    rows = [torch.tensor(tokenizer.encode(p, add_special_tokens=False) + c) for p, c in zip(prompts, contexts)]
    was_training = policy.training
    logits = policy.eval()(pad_sequence(rows, batch_first=True)).logits  # padded on the right, where no token looks
    policy.train(was_training)
    logits = logits[range(len(rows)), [len(row) - 1 for row in rows]]
    logits[:, policy.generation_config.suppress_tokens] = -torch.inf  # the teacher's tags, which no student can sample
    return logits.softmax(-1)


# %%
def doors(policy):
    rest = torch.stack([x[1 - len(line_ids) :].sum() for x in M.completion_logps(policy, tokenizer, asked, taught)])
    first, second = next_token(policy, first_answer), next_token(policy, second_answer)
    after = {"stop": second[:, EOS].mean(), "another thought": second[:, BLANK].mean(), "the line": second[:, line_ids[0]].mean()}
    after["anything else"] = 1 - sum(after.values())
    typical = {"second thought": first[:, BLANK], "its first token": second[:, line_ids[0]], "its other tokens": rest.exp()}
    return {name: p.log().mean().exp().item() for name, p in typical.items()} | {f"next: {k}": v.item() for k, v in after.items()}


assert max(list(doors(model).values())[:2]) < 1e-3
pd.Series(doors(model), name="probability at the start").to_frame().style.format("{:.2g}")

# %%
PANELS = {
    "probability (log scale)": ["second thought", "its first token", "its other tokens"],
    "p(next), after the second answer": ["next: stop", "next: the line", "next: another thought"],
    "ends with the line": ["greedy: ends", "sampled: ends"],
    "right": ["greedy: right", "sampled: right"],
    "babbles after an answer": ["greedy: babbles", "sampled: babbles"],
    "states three answers or more": ["greedy: three", "sampled: three"],
}
BABBLE = re.compile(r"\\boxed\{\d+\}(?!\n\n|\s*$| " + re.escape(QUOTE) + ")")  # neither blank line, nor end, nor the line
held = E.load_tiny_set("validation")[100 : 100 + steps(48, 8)]


def behaviour(policy):
    # What the policy does on problems held out, greedily and sampled at temperature 1
    out = {}
    for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        scores, texts = E.evaluate(policy, tokenizer, held, temperature=temperature, seed=0)
        out |= {f"{name}: ends": share(M.ends_with(t, QUOTE) for t in texts),
                f"{name}: once": share(M.exactly_once(t, QUOTE) for t in texts),
                f"{name}: babbles": share(bool(BABBLE.search(t)) for t in texts),
                f"{name}: three": share(t.count("\\boxed") > 2 for t in texts),
                f"{name}: right": scores.summary()["accuracy"]}
    return out


# %%
class Watch(TrainerCallback):
    # Looks at the student every few steps and redraws what it saw
    def __init__(self, every=4):
        self.every, self.seen = every, []
        self.place = display("starting ...", display_id=True)

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self.look(model, state)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.look(model, state)

    def look(self, policy, state):
        random_state = torch.get_rng_state()  # looking must not change what the run samples next
        self.seen.append({"step": state.global_step} | doors(policy) | behaviour(policy))
        torch.set_rng_state(random_state)
        self.place.update(plots.panels_over_steps(self.seen, PANELS, GUIDED_STEPS, state.max_steps))


# %%
# Before you run the next cell, replace each `...`:
my_half_way = ...  # the step at which half of the greedy answers end with the line
my_accuracy = ...  # what happens to right answers meanwhile: "up", "down", or "up, down, up"

# %%
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # names inside TRL that will change
watch = Watch()
rewards = [correctness_reward, behaviour_reward(QUOTE, arm.worth)]
policy, _ = load_classroom()
frozen = PolicyTeacher(copy.deepcopy(policy).requires_grad_(False), tokenizer, TINY_PROMPT, max_new_tokens=160)
trainer = ThinkTuningTrainer(
    policy, rewards, config, Dataset.from_list(E.as_prompts(E.load_tiny_set("train"))), processing_class=tokenizer,
    teacher_prompt=TINY_PROMPT.with_quote(QUOTE), teacher=None if QUOTE in QUOTES else Adding(frozen, QUOTE),
    callbacks=[watch, LiveView(samples=2)],
)
trainer.remove_callback(PrinterCallback)
_ = trainer.train()

# %% [markdown]
# *How to read it.* Grey: the teacher is there. The doors open one after the other; the line's other tokens are no obstacle. Then the
# dip, where fewer answers are right. The second panel shows what happens there: *stop* gives way, and before the line has grown enough to
# take its place, **another thought** does. The student goes on to a third answer, which is mostly nonsense, and the last answer counts.

# %%
seen = pd.DataFrame(watch.seen).set_index("step")
opened = {door: next((s for s, p in seen[door].items() if p > 0.1), None) for door in PANELS["probability (log scale)"]}
at_end = seen.index[seen.index <= GUIDED_STEPS][-1]  # the last look with the teacher there
dip = seen["greedy: right"].loc[opened["second thought"] or 0 :].idxmin()
right, ends_with_it, other = seen["greedy: right"], seen["greedy: ends"], seen["next: another thought"]
half_way = next((s for s, x in ends_with_it.items() if x >= 0.5), "never")
print("steps at which a door passes p = 0.1:", opened)
print(f"greedy, right: {right.iloc[0]:.0%} at the start, {right[:dip].max():.0%} at best before the dip, {right[dip]:.0%} at "
      f"step {dip}, {right.iloc[-1]:.0%} at the end; your guess: {my_accuracy}".replace("Ellipsis", "…"))
print(f"another thought at the second door: {other.max():.0%} at most, at step {other.idxmax()}; {other.iloc[-1]:.0%} at the end")
print(f"three answers or more: {seen['greedy: three'][dip]:.0%} of greedy responses at step {dip}, {seen['greedy: three'].iloc[-1]:.0%} at the end")
print(f"greedy, ends with the line: {ends_with_it[at_end]:.0%} at step {at_end}, {ends_with_it.iloc[-1]:.0%} at the end; "
      f"half of them by step {half_way}, your guess: {my_half_way}".replace("Ellipsis", "…"))
if not smoke() and QUOTE == M.QUOTE:
    assert opened["second thought"] < opened["its first token"] and opened["its other tokens"] < opened["its first token"]
    assert other.iloc[0] < 0.01 and other.max() > 0.1 and seen["next: anything else"].max() < other.max() / 2
    assert seen["greedy: three"][dip] > 0.3 > 0.1 > seen["greedy: three"].iloc[-1]
    assert right[dip] < right[:dip].max() - 0.05 and right.iloc[-1] > right[dip] + 0.05
    assert ends_with_it.iloc[0] == 0 and ends_with_it.iloc[-1] > 0.5
    assert ends_with_it.iloc[-1] >= ends_with_it[at_end]  # it did not need the teacher to go on
    assert right.iloc[-1] > right.iloc[0]

# %% [markdown]
# **Why another thought?** One step up on the line's first token $z$ moves the logits by
#
# $$\frac{\partial \log \pi(z)}{\partial\, \text{logits}} = e_z - \pi \approx e_z - e_{\text{stop}} \qquad \text{as long as } \pi(\text{stop}) \approx 1,$$
#
# so *stop* falls by what the line rises. All other tokens stay where they are, the blank line of another thought among them.
# If every token had a logit of its own (notebook 03's bandit), after a total push $\delta$:

# %%
p = next_token(model, second_answer)  # at the start
stop, line, blank = p[:, EOS], p[:, line_ids[0]], p[:, BLANK]
push = torch.linspace(0, 18, 600).unsqueeze(1)
bandit = (blank / (stop * (-push).exp() + line * push.exp() + 1 - stop - line)).mean(1).max().item()
print(f"another thought, at most: {bandit:.1%} in the bandit, {other.max():.0%} in this run")
before = seen.index[seen["next: stop"] > 0.9][-1]  # the last look before stop gives way
factor = {door: seen[door][before] / seen[door].iloc[0] for door in ("second thought", "next: another thought")}
print(f"at step {before}, where stop still has {seen['next: stop'][before]:.0%}, the blank line is {factor['second thought']:,.0f} times as likely "
      f"as at the start\nafter the first answer, and {factor['next: another thought']:,.0f} times after the second")
logged = list(read_rollouts(Path(config.output_dir) / "rollouts.jsonl"))
assert smoke() or QUOTE != M.QUOTE or (other.max() > 10 * bandit and min(factor.values()) > 1000)


# %% [markdown]
# The bandit explains nothing of it. The blank line was taught after the *first* answer only (guidance is cut there); but a network that has
# learned it there half believes it after the second, too. Only *stop* held it back, and the push on the line takes *stop* away. (Arm f, where
# the line is not paid, and arm i, where guidance follows the second answer as well: section 5.)

# %% [markdown]
# **After the teacher.** Right of the grey the teacher is gone, the line stays, and the answers recover. Now it is plain GRPO: once *some* of a group's
# rollouts end with the line, the reward tells them apart. Guidance only had to bring it within reach of sampling.

# %%
def line_advantage(n):
    # advantage of right rollouts that say the line, when n of 8 (all of them right) do
    rewards = torch.tensor([1.5] * n + [1.0] * (side_by_side.GROUP_SIZE - n))
    return grpo.group_advantages(rewards, side_by_side.GROUP_SIZE)[0].item()


table = pd.Series({n: line_advantage(n) for n in range(side_by_side.GROUP_SIZE + 1)}, name="advantage of saying it")
assert table[0] == 0 and table[1] == table.max() and table[side_by_side.GROUP_SIZE] == 0
table.rename_axis("of 8 say it").to_frame().T.style.format("{:+.2f}")

# %%
ids = E.respond(policy, tokenizer, [row["question"] for row in held], seed=1)
texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
for text in texts[:3]:
    print(text, "\n" + "-" * 40)

# %% [markdown]
# Where in the answer does it stand? Did the student find a hole in the reward? (A response that babbles first and then ends as it should is
# paid in full: nothing in this reward asks for more.)

# %%
PLACES = ("never", "at the end, after its first answer", "at the end, after a second thought", "elsewhere", "more than once")


def place(text, line):
    if line not in text:
        return PLACES[0]
    if text.count(line) > 1:
        return PLACES[4]
    if not M.ends_with(text, line):
        return PLACES[3]
    return PLACES[1] if text.count("\\boxed") == 1 else PLACES[2]


correct = [is_correct(extract_answer(t), row["answer"]) for t, row in zip(texts, held)]
print(f"babbles somewhere after an answer: {share(bool(BABBLE.search(t)) for t in texts):.0%} of {len(texts)} sampled responses")
table = pd.DataFrame({"place": [place(t, QUOTE) for t in texts], "right": correct}).groupby("place")["right"].agg(["size", "mean"])
table.reindex(PLACES).fillna({"size": 0}).rename(columns={"size": "responses", "mean": "of them right"}).style.format(
    {"responses": "{:.0f}", "of them right": "{:.0%}"}, na_rep="")

# %% [markdown]
# ## 5. The grid: every arm, three seeds
#
# The same for all arms and seeds takes most of an hour, so it comes from a saved log. What made it, to be run again by this command:

# %%
LOG = DATA / "logs" / "movie_quote"
run, made_with, results, curves = (
    json.loads((LOG / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "environment", "results", "curves"))
SEEDS, ARMS, GRID_QUOTE = run["seeds"], run["arms"], run["quote"]
as_default = json.loads(json.dumps(vars(M.QuotePlan(arms=tuple(M.ARMS)))))
options = "".join(f" --{k.replace('_', '-')} {' '.join(map(str, v)) if isinstance(v, list) else json.dumps(v)}"
                  for k, v in run.items() if v != as_default[k])
n_test = min(M.PROBLEMS_PER_TEST, len(E.load_tiny_set("test")))
guided_until = round(M.GUIDED_SHARE_OF_RUN * run["steps"])
print(f"python -m thinktuning_lite quote{options} --save data/logs/movie_quote")
print(f"commit {made_with['commit']}, torch {made_with['torch']}, trl {made_with['trl']}; seeds {SEEDS}, {run['steps']} steps, "
      f"guidance for {guided_until}; {n_test} problems of each test set")
print("line:", GRID_QUOTE)


# %%
def of(arm, key, test="test"):
    return [seed[test][key] for seed in results[arm]]  # the measure `key` of each seed's finished student


main = [a for a in ARMS if a != "h-unlearn"]
probes = {a: [curves[f"{a}-seed{s}"]["probes"] for s in SEEDS] for a in ARMS}
plots.arms_over_steps({a: probes[a] for a in main}, {
    "greedy/ends": "greedy answers that end with the line", "sampled/ends": "sampled answers that end with the line",
    "greedy/accuracy": "greedy answers that are right"}, guided_until, ARMS)

# %% [markdown]
# **The two doors.** First their tokens' gradient weight at the start, as in notebook 03:

# %%
p = torch.tensor([doors(model)[name] for name in ("second thought", "its first token")], dtype=torch.float64)
A = share(r.advantage for r in logged if r.guided and r.reward == 1.5 and r.step < GUIDED_STEPS / 2)  # of paid guided rollouts
table = pd.DataFrame({n: shape(n, p, torch.full_like(p, A)).gradient.tolist() for n in ("intended", "released", "luffy", "plain")},
                     index=["entry token", "line's first token"])
early = [r.advantage for r in logged if r.guided and r.step < GUIDED_STEPS / 2]
print(f"guided rollouts with A < 0, first half of the guidance: {share(a < 0 for a in early):.0%} of {len(early)}")
assert A > 0 and table[["released", "plain"]].min(axis=None) > 0.9 and table[["intended", "luffy"]].max(axis=None) < 0.1
table.style.format("{:.2g}").set_caption(f"gradient weight at A = {A:.2f}, the mean of guided rollouts that were right and paid")


# %% [markdown]
# Then what became of them, read on the guided rollouts themselves while there were any: the student's log-probability of the entry token (a
# second thought) and of the line's first token, where the teacher wrote them.

# %%
def common(seeds):
    # the seeds' rows at the steps that all of them have
    kept = set.intersection(*({row["step"] for row in rows} for rows in seeds))
    return [[row for row in rows if row["step"] in kept] for rows in seeds]


taught_of = {a: common([curves[f"{a}-seed{s}"].get("taught", []) for s in SEEDS]) for a in main}
taught_of = {a: seeds for a, seeds in taught_of.items() if seeds[0]}
plots.arms_over_steps(taught_of, {"entry_logp": "log p, entry token", "first_token_logp": "log p, the line's first token"},
                      guided_until, ARMS)

# %% [markdown]
# *How to read it.* Lines are means of the seeds, bands their range. Under the intended weights (b) both doors are nearly shut, and yet the left
# one opens, only later. In notebook 03 it sank: there a few guided rollouts had $A<0$ and pushed down with weight 1. Here the line's half point lifts
# nearly all of them above their group's mean (counted above), so the small push up wins in the end. The second door is rarer still by far, and
# guidance ends first.

# %%
columns = {"a second thought, %": "sampled/reflection", "the line at the end, %": "sampled/ends", "right, %": "sampled/accuracy"}
table = pd.DataFrame({name: {a: 100 * share(of(a, key)) for a in ("a-grpo", "b-intended", "c-released")}
                      for name, key in columns.items()})
assert table.loc["b-intended", "a second thought, %"] > 50 and table.loc["b-intended", "the line at the end, %"] < 5
assert table.loc["b-intended", "right, %"] > table.loc["a-grpo", "right, %"]
table.style.format("{:.0f}").set_caption("sampled responses to the test set, mean over seeds")


# %% [markdown]
# And your predictions? On the test set, which no run has seen:

# %%
def percent(arm, key, test="test"):
    return side_by_side.cell([100 * x for x in of(arm, key, test)])


def known(guess):
    return isinstance(guess, (int, float))


table = pd.DataFrame({"what it is": {a: M.ARMS[a].says for a in ARMS},
                      "your guess, %": {a: my_prediction[a] if known(my_prediction[a]) else "…" for a in ARMS},
                      "greedy, ends with it, %": {a: percent(a, "greedy/ends") for a in ARMS}})
off = [abs(my_prediction[a] - 100 * share(of(a, "greedy/ends"))) for a in ARMS if known(my_prediction[a])]
print(f"your guesses are off by {share(off):.0f} points on average" if off else "no guesses written down")
table

# %% [markdown]
# Mean over the seeds ± the half-width of its 95 % t-interval (of so few seeds: wide). All measures:

# %%
COLUMNS = {"greedy/ends": (100, "greedy ends with it, %"), "sampled/ends": (100, "sampled ends with it, %"),
           "sampled/once": (100, "sampled exactly once, %"), "greedy/accuracy": (100, "greedy right, %"),
           "sampled/accuracy": (100, "sampled right, %"), "sampled/reflection": (100, "second thought, %"),
           "sampled/length": (1, "tokens"), "kl": (1, "KL from the start, nats/token")}


def grid(test):
    return pd.DataFrame({label: {a: side_by_side.cell([unit * x for x in of(a, key, test)]) for a in results}
                         for key, (unit, label) in COLUMNS.items()})


grid("test")

# %%
tries = sum(n_test * 2 * len(side_by_side.TEST_SETS) for _ in SEEDS)  # greedy and sampled, three sets, all seeds
said_it = {a: sum(share(of(a, f"{how}/once", t)) for how in ("greedy", "sampled") for t in side_by_side.TEST_SETS) for a in ARMS}
c = of("c-released", "greedy/ends")
passed = [a for a in ARMS if a[0] in "bcde" and share(of(a, "greedy/ends")) > 0.9]
print(f"GRPO: {'no' if said_it['a-grpo'] == 0 else 'some'} response of {tries:,} holds the line just once; a rate that so many tries "
      f"have not shown is below {bound(tries):.2%}")
print(f"released AAS: greedy answers that end with it, by seed: {', '.join(f'{x:.0%}' for x in c)}")
print("shapings above 90 % of greedy answers, mean over seeds:", ", ".join(passed) or "none")
assert said_it["a-grpo"] == 0 and all(p["greedy/ends"] == p["sampled/ends"] == 0 for rows in probes["a-grpo"] for p in rows)
assert share(c) > 0.5 and len(SEEDS) >= 3


# %% [markdown]
# ### Written before the grid was run
#
# What the mechanism of notebook 03 predicts, and what came out. (These sentences were fixed first; a cross is left as a cross.)

# %%
def ends(arm, how="greedy", test="test"):
    return share(of(arm, f"{how}/ends", test))


def lowest(arm):
    # greedy accuracy at the lowest probe of the second half of the guidance, mean over seeds
    return share(min(p["greedy/accuracy"] for p in rows if guided_until / 2 <= p["step"] <= guided_until) for rows in probes[arm])


expected = {
    "a: without guidance nothing is found": ends("a-grpo") == 0,
    "b: intended AAS stays below 5 %: its weight on so rare a token is near 0": ends("b-intended") < 0.05,
    "c: released AAS passes 90 %": ends("c-released") > 0.9,
    "d: LUFFY stays below 5 %, for the same reason": ends("d-luffy") < 0.05,
    "e: weight 1 does as the released one, within 15 points": abs(ends("e-plain") - ends("c-released")) < 0.15,
    "f: shown but not paid, it ends at less than c": ends("f-unrewarded") < ends("c-released") - 0.1,
    "g: paid but never shown, nothing is found": ends("g-unshown") == 0,
    "i: behind the whole response, it is taught less well than behind the first answer": ends("i-whole") < ends("c-released"),
    "h: a negative reward unlearns it, to below 5 %": ends("h-unlearn") < 0.05,
}
outcome = {claim: f"{100 * ends(next(a for a in ARMS if a[0] == claim[0])):.1f}" for claim in expected}
no_dip = "f: where the line is not paid, right answers dip less (lowest probe, c and f)"
outcome[no_dip] = f"{100 * lowest('c-released'):.0f} and {100 * lowest('f-unrewarded'):.0f} right"
expected[no_dip] = lowest("f-unrewarded") > lowest("c-released") + 0.05
pd.DataFrame({"greedy ends with it, %": outcome, "held": {k: "✓" if v else "✗" for k, v in expected.items()}})


# %% [markdown]
# **The cross.** Not paid for, the line still spreads in *f* after the teacher has left. Who pushes it then? The student's own rollouts
# after guidance, all seeds, by whether they end with the line; and for comparison those of *h*, where it costs half a point. (*h*'s sentence
# held only once its run was twice as long: the first one ended at step 24, of which more below.)

# %%
def pushes(arm, first_step):
    # own rollouts from `first_step` on, all seeds, by whether they end with the line: how many, and their mean advantage
    logged = [row for s in SEEDS for row in curves[f"{arm}-seed{s}"]["own"] if row["step"] >= first_step]
    total = pd.DataFrame(logged).sum()
    return {(kind, name): value for kind in ("with", "without") for name, value in (
        ("rollouts", total[kind]), ("mean advantage", total[f"advantage_{kind}"] / max(1, total[kind])))}


table = pd.DataFrame({a: pushes(a, step) for a, step in (("f-unrewarded", guided_until), ("h-unlearn", 0))}).T
assert table["with", "mean advantage"]["f-unrewarded"] > 0.05 > -0.2 > table["without", "mean advantage"]["f-unrewarded"]
assert table["with", "mean advantage"]["h-unlearn"] < 0 < table["without", "mean advantage"]["h-unlearn"]
table.style.format("{:+.2f}").format("{:.0f}", subset=[("with", "rollouts"), ("without", "rollouts")])


# %% [markdown]
# Not paid for, an own rollout that ends with the line still does better than one that does not, for it is more often right: the line has taken
# over the job of *stop*, and what does not end with it wanders on. So a reward for right answers alone keeps alive what
# nobody meant to pay for. In *h* nearly every rollout says the line at
# first, which leaves little to compare; those that do not are pushed up.

# %% [markdown]
# ### When the teacher has left, and when it is punished
#
# The seeds' means at the last probe under guidance and at the end. *h* goes on from *c*, as long again, with the line at minus 0.5.

# %%
def probed(arm, key, step):
    # mean over seeds at the last probe not after `step`
    return share([p for p in rows if p["step"] <= step][-1][key] for rows in probes[arm])


shown = [a for a in main if max(p["sampled/ends"] for rows in probes[a] for p in rows) > 0.02] or ["c-released"]
table = pd.DataFrame({a: {f"{how}, {when}": 100 * probed(a, f"{how}/ends", step) for how in ("greedy", "sampled")
                          for when, step in (("guidance ends", guided_until), ("the end", run["steps"]))} for a in shown}).T
display(table.style.format("{:.0f}").set_caption("ends with the line, % of validation problems"))
kept = table["greedy, the end"]["c-released"] - table["greedy, guidance ends"]["c-released"]
print(f"c, after guidance: {kept:+.0f} points; your guess: {my_changes['after guidance']}".replace("Ellipsis", "…"))
print("h, greedy:", ", ".join(f"{100 * probed('h-unlearn', 'greedy/ends', s):.0f} % at step {s}"
                              for s in range(0, run["steps"] + 1, 2 * M.PROBE_EVERY)))
display(plots.arms_over_steps({"h-unlearn": probes["h-unlearn"]}, {
    "greedy/ends": "greedy answers that end with the line",
    "first_token_logp": "log p of its first token after a solution"}, 0, ARMS))

# %% [markdown]
# What is sampled can be pushed down by plain GRPO, without a teacher: slowly while nearly all of a group say it, then at once. What took the
# line's place? The end of *h*'s greedy answer to the first test question:

# %%
for s, seed in zip(SEEDS, results["h-unlearn"]):
    print(f"seed {s}: ... {seed['examples'][0][-70:]!r}")


# %% [markdown]
# The penalty's condition is a *text*. The student breaks the text, by a word left out or said twice, and keeps the ending (or, in one seed, falls
# to babbling): a second hole in the reward, found. Was anything forgotten? Measured where the line was taught, at the end of the same guided responses for all:

# %%
def left_over(arm, key):
    return share(curves[f"{arm}-seed{s}"]["end"][key] for s in SEEDS)


table = pd.DataFrame({name: {"the start": curves["base"]["end"][key]} | {a: left_over(a, key) for a in ("c-released", "h-unlearn")}
                      for name, key in (("log p, first token", "first_token_logp"), ("log p, the line", "quote_logp"))})
factor = math.exp(table["log p, the line"]["h-unlearn"] - table["log p, the line"]["the start"])
print(f"after unlearning the line is {factor:,.0f} times as likely as at the start" if factor > 1 else
      f"after unlearning the line is {1 / factor:,.1f} times less likely than at the start")
assert factor > 1000 and table["log p, first token"]["h-unlearn"] > -1 > table["log p, the line"]["h-unlearn"]
table.style.format("{:.1f}")

# %% [markdown]
# ### Further problems, the answer's form, and the price
#
# Training saw problems of two to four steps. `test_harder` has longer ones, `test_distractor` sentences that do not matter.

# %%
lengths = {test: {row["steps"] for row in E.load_tiny_set(test)} for test in ("train", "test_harder")}
assert lengths["train"] == {2, 3, 4} and min(lengths["test_harder"]) > 4
for test, guess in (("test_harder", "on longer problems"), ("test_distractor", "with distractors")):
    change, half_width = E.seed_interval([100 * (x - y) for x, y in zip(of("c-released", "greedy/ends", test), c)])
    print(f"c, {guess}: {change:+.1f} ± {half_width:.1f} points, greedy; your guess: {my_changes[guess]}".replace("Ellipsis", "…"))
columns = {"greedy ends with it, %": "greedy/ends", "greedy right, %": "greedy/accuracy",
           "sampled ends with it, %": "sampled/ends", "of these without a second thought, points": "sampled/ends_unreflected"}
pd.DataFrame({(a, t): {name: percent(a, key, t) for name, key in columns.items()} for a in shown for t in side_by_side.TEST_SETS}).T

# %%
examples = {a: [text for seed in results[a] for text in seed["examples"]] for a in shown}
table = pd.DataFrame({a: pd.Series([place(t, GRID_QUOTE) for t in texts]).value_counts() for a, texts in examples.items()})
table.reindex(PLACES).fillna(0).astype(int).rename_axis(f"greedy responses, first {M.EXAMPLES} test problems of each seed")


# %% [markdown]
# **The price.** Right answers minus those of GRPO (arm a, the same seed), in points. An interval that holds 0 shows no difference.

# %%
def difference(a, b, key, test="test"):
    # a minus b, seed by seed: mean and half-width of the 95 % t-interval, in points
    return E.seed_interval([100 * (x - y) for x, y in zip(of(a, key, test), of(b, key, test))])


keys = {"greedy right": "greedy/accuracy", "sampled right": "sampled/accuracy", "sampled tokens": "sampled/length"}
rows = {}
for a in (a for a in ARMS if a != "a-grpo"):
    for t in side_by_side.TEST_SETS:
        cells = {name: difference(a, "a-grpo", key, t) for name, key in keys.items()}
        cells["sampled tokens"] = tuple(x / 100 for x in cells["sampled tokens"])
        rows[a, t] = cells
table = pd.DataFrame({k: {n: f"{m:+.1f} ± {h:.1f}" for n, (m, h) in cells.items()} for k, cells in rows.items()}).T
worse = [f"{a} on {t}" for (a, t), cells in rows.items() if sum(cells["greedy right"]) < 0]
better = [f"{a} on {t}" for (a, t), cells in rows.items() if cells["greedy right"][0] - cells["greedy right"][1] > 0]
print("greedy accuracy below GRPO's beyond the interval:", ", ".join(worse) or "none")
print("... above it:", f"{len(better)} of {len(rows)} rows of the table")
for a in passed:
    gain, half_width = rows[a, "test"]["greedy right"]
    print(f"{a}, greedy right on test, above GRPO: {gain:+.1f} ± {half_width:.1f}")
table


# %% [markdown]
# ## 6. What this shows, and what it does not
#
# **It shows** that guided tokens can carry a behaviour over a gap that sampling cannot cross, and that reinforcement learning then does
# the rest. The gap is a door or two, each one token wide; what lies behind is learned within a few steps.
#
# **It does not show thinking.** A rare string is not a thought. The line says nothing about the problem. Its reward holds it in
# place, or, not paid for (*f*), that it does the job of *stop*. That a model *says* "wait" after guidance is the same kind of fact; whether it *checks* is measured by right answers
# (notebook 05), never by words.
#
# **Why the released AAS and not the intended one?** To a token as rare as these doors the authors' *formula* gives the weight
# $p/\gamma$, nearly nothing; their *code*'s clamp makes it about 1 (table above). If the paper's result rests on the code, it rests
# on that. We cannot know; we can only say which we ran. Nor did the intended weights do nothing: they taught the second thought and left
# the line. Which of the two is the better bargain is for the table of prices to say.
#
# **Where we depart from the authors.** A tiny student in a made-up world that holds the line's words already, if not for the student;
# guidance after the *first* answer (arm i is theirs); a loss that weighs every token alike (`dapo`); a fixed guided fraction; a
# learning rate found on trials. One line, one world, three seeds.

# %% [markdown]
# **Misuse.** Nothing here knows that the line is harmless. The same few steps instil *any* behaviour that a teacher shows and a reward
# counts: an advertisement, a slur, an answer that changes when a name is mentioned. Four things to take along:
#
# - accuracy need not reveal it: in the table of prices *c* is more often right than GRPO on the test set, and nowhere shown to be worse;
# - a penalty on a text teaches to change the text: after unlearning, read responses and compare log-probabilities (section 5);
# - whoever writes the teacher's prompt writes the student: log it, with the rollouts, as `rollouts.jsonl` does;
# - test for what was *not* asked for: count frequent endings of responses before and after any training.

# %%
def endings(policy):
    ids = E.respond(policy, tokenizer, [row["question"] for row in held], seed=2)
    texts = [t.split("}")[-1].strip() or "(the answer)" for t in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    return pd.Series(texts).value_counts(normalize=True).head(3)


pd.DataFrame({"before": endings(model), "after": endings(policy)}).fillna(0).style.format("{:.0%}")

# %% [markdown]
# ## 7. A real model on one GPU
#
# The same experiment on an instruct model. Such a teacher copies any line; every few-shot exemplar carries it too, as in the authors'
# run:

# %%
from dataclasses import replace

from thinktuning_lite.method.prompts import INSTRUCT_PROMPT


def with_line(prompt, line):
    # the prompt with the line asked for, and shown by every exemplar
    shown = [(asked + prompt.quote_line.replace("{quote}", line), said.replace("</phrase>", f" {line}</phrase>"))
             for asked, said in prompt.exemplars]
    behaviours = tuple(replace(b, exemplar=pair) for b, pair in zip(prompt.behaviours, shown))
    return replace(prompt, behaviours=behaviours).with_quote(line)


prompt = with_line(INSTRUCT_PROMPT, QUOTE)
assert all(parse_guidance(said).phrase.endswith(QUOTE) for _, said in prompt.exemplars)
print(prompt.exemplars[0][1])

# %%
from thinktuning_lite.models import datasets as datasets_public
from thinktuning_lite.experiments import presets
from thinktuning_lite.experiments import train
from thinktuning_lite.models.lora import lora_config
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.machine import probe


def instil(line, machine, preset, data=None, prompt=None, **training):
    # ThinkTuning with the line in guidance and reward, by one of train.py's presets; returns the trainer
    ours = {"shaping": "released", "loss_type": "dapo", "guided_fraction": 0.25, "guide_after_first_answer": True,
            "output_dir": "../runs/notebook06"}
    run = presets.resolve({"preset": preset, "training": ours | training})
    policy, tokenizer = load_policy(run.model, machine, quantization=run.quantization)
    data = data or datasets_public.training_data(run.data, tokenizer, max_prompt_tokens=run.max_prompt_tokens).train
    trainer = ThinkTuningTrainer(
        policy, [correctness_reward, behaviour_reward(line)], run.config(machine), data, processing_class=tokenizer,
        teacher_prompt=prompt or with_line(INSTRUCT_PROMPT, line),
        peft_config=lora_config(policy, run.lora_rank, run.lora_alpha), callbacks=[LiveView()])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


machine = probe()
preset = presets.preset_for(machine)
if machine.device == "cuda" and not smoke():
    trainer = instil("Here's looking at the answer, kid.", machine, preset)
else:
    print(f"no CUDA GPU here: not run. On one: instil(line, machine, {presets.preset_for(replace(machine, device='cuda'))!r})")

# %% [markdown]
# None of the GPU settings has been run by us. What to expect, and to measure before believing anything: an instruct model's
# probability of the line is tiny too, so read `guidance/weight/teacher` and the log-probability of its first token; if that does not
# move, raise `guided_fraction` or `guidance_steps` before the learning rate. `python -m thinktuning_lite quote --help` has the
# tiny grid's options, `--quote` among them.

# %% [markdown]
# ## Where the code is
#
# | here | in the package |
# |---|---|
# | arms, `train_arm`, probes, `ends_with`, `exactly_once`, the grid's command | `movie_quote.py` |
# | `behaviour_reward`, `correctness_reward` | `rewards.py` |
# | `QUOTES`, `TINY_PROMPT`, `INSTRUCT_PROMPT`, `PolicyTeacher` | `teacher.py` |
# | guidance after the first answer | `trainer.py` (`guide_after_first_answer`) |
# | `panels_over_steps`, `arms_over_steps` | `plots.py` |
# | `LiveView` | `live.py` |
# | settings, tables with intervals, saved logs | `classroom.py` |
# | `check.samples_needed` and the other checks | `checks/quote.py` |
#
# This is the last notebook of the walk. Back to the map: [00_start_here](00_start_here.ipynb).
