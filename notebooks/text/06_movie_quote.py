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
# **Time:** 5.7 min, 1.1 GB of memory, on 2 CPU cores without a GPU (measured by the run)
#
# *Contents:* 1 the behaviour as data · 2 before · 3 your predictions · 4 live · 5 the grid · 6 what it shows · 7 a real model ·
# 8 limits, and the method's relatives

# %% tags=["setup"]
#@title Set-up: run this cell first
# stamped by python -m thinktuning_lite.lessons.stamp
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

REPO = "OWNER/thinktuning_lite"
spec = find_spec("thinktuning_lite")
if spec is None or spec.origin is None:  # a mere folder of that name has no origin
    places = [Path(p).resolve() for p in ("..", ".", "thinktuning_lite", "thinktuning_lite_repo")]
    home = next((p for p in places if (p / "thinktuning_lite/lessons/setup.py").exists()), None)
    if home is None:  # no checkout around: Colab and the like
        home, part = places[-1], Path("thinktuning_lite_repo.part")
        if REPO.startswith("OWNER/"):
            raise RuntimeError("Set REPO above to the owner/name of this notebook's repository.")
        if home.exists():
            raise RuntimeError(f"{home} is half a clone: delete that folder, run this cell again.")
        shutil.rmtree(part, ignore_errors=True)
        clone = ["git", "clone", "-q", "--depth=1", f"https://github.com/{REPO}", str(part)]
        done = subprocess.run(clone, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{REPO} not cloned ({done.stderr.strip()}): check the network.")
        part.rename(home)
    sys.path.insert(0, str(home))
    sys.modules.pop("thinktuning_lite", None)  # the mere folder, if an earlier cell took it
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

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.experiments import movie_quote, runs, side_by_side
from thinktuning_lite.lessons.checks import quote as check
from thinktuning_lite.lessons.runtime import smoke, steps
from thinktuning_lite.views import plots

# %%
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.method.prompts import BEHAVIOURS, QUOTES, TINY_PROMPT

runs.quiet()
model, tokenizer = load_classroom()
EOS = tokenizer.eos_token_id
QUOTE = movie_quote.QUOTE  # or another of QUOTES, or a line of your own, see below
print(QUOTE)

# %% [markdown]
# ## 1. The behaviour is data
#
# A behaviour needs three things: a **text** (or a function that counts it), a **reward**, and a **teacher** that shows it. The paper's
# is a movie-like quote at the end of the answer; these are ours. The frozen copy of the student, prompted as teacher, is handed the
# line and should end its phrase with it. Does it?

# %%
from thinktuning_lite.method.policy_teacher import PolicyTeacher
from thinktuning_lite.method.teacher import GuidanceRequest, NoReply, parse_guidance

problems = sample.load_tiny_set("validation")[:24]
questions = [row["question"] for row in problems]
own = sample.respond(model, tokenizer, questions, seed=0)
attempts = tokenizer.batch_decode(own, skip_special_tokens=True)
requests = [
    GuidanceRequest(question, attempt, BEHAVIOURS[i % len(BEHAVIOURS)])
    for i, (question, attempt) in enumerate(zip(questions, attempts))
]


# %%
def share(values):
    values = list(values)
    return sum(values) / len(values)


def shown_by(teacher, line):
    said = [parse_guidance(reply) for reply in teacher(requests)]
    return share(g is not None and movie_quote.ends_with(g.phrase, line) for g in said)


def tiny_teacher(line):
    return PolicyTeacher(model, tokenizer, TINY_PROMPT.with_quote(line), max_new_tokens=160)


# %%
MY_LINE = "The night is young!"  # yours, in words that the tiny tokenizer knows; see QUOTE above


def note(line):
    known = tokenizer.unk_token_id not in tokenizer.encode(line, add_special_tokens=False)
    return line if known else f"{line}   (has unknown words)"


for line in (*QUOTES, MY_LINE):
    print(f"{shown_by(tiny_teacher(line), line):4.0%}  {note(line)}")


# %% [markdown]
# The tiny teacher *recites* its five lines; a new one it cannot copy (a real instruct model can). A teacher, though, is any function
# from requests to replies. This one adds a line of your own to what another teacher says:

# %%
class Adding:
    # A teacher that ends another one's phrase with `line`
    def __init__(self, teacher, line):
        self.teacher, self.line = teacher, line

    def ended(self, reply):
        if isinstance(reply, NoReply):
            return reply
        return reply.replace("</phrase>", f" {self.line}</phrase>")

    def __call__(self, requests):
        return [self.ended(reply) for reply in self.teacher(requests)]


# %%
teacher = tiny_teacher(QUOTE) if QUOTE in QUOTES else Adding(tiny_teacher(None), QUOTE)
lines_shown = {MY_LINE: shown_by(Adding(tiny_teacher(None), MY_LINE), MY_LINE)}
lines_shown[QUOTE] = shown_by(teacher, QUOTE)
print("\n".join(f"{value:.0%}  {line}" for line, value in lines_shown.items()))

# %% tags=["check"]
#@title Check: both teachers show their line
assert min(lines_shown.values()) > 0.9

# %% [markdown]
# **One guided rollout**: the student's attempt without its EOS, then the teacher's reason and phrase, then EOS. Who wrote what:

# %%
said = [parse_guidance(reply) for reply in teacher(requests)]


def shows_it(i):
    # Well formed, with the line, on an attempt that ended by itself
    well_formed = said[i] is not None and own[i][-1] == EOS
    return well_formed and movie_quote.ends_with(said[i].phrase, QUOTE)


usable = [i for i in range(len(said)) if shows_it(i)]
gold = [row["answer"] for row in problems]
mended = {i: is_correct(extract_answer(said[i].phrase), gold[i]) for i in usable}
TEACHER_RIGHT = share(mended.values())
print(f"the teacher ends right in {TEACHER_RIGHT:.0%} of {len(usable)} guided rollouts")

# %%
was_wrong = [i for i in usable if not is_correct(extract_answer(attempts[i]), gold[i])]
one = next(i for i in was_wrong if mended[i])
print("question:", questions[one], "\n\nstudent: ", attempts[one])
print("\nteacher: ", said[one].text.strip())

# %% [markdown]
# **The reward**: 1 for a right answer, as always, plus 0.5 when the line occurs *exactly once*. `behaviour_reward` takes a text or
# any function that counts. Toy cases first:

# %%
from thinktuning_lite.method.rewards import behaviour_reward, correctness_reward


def pays(text, answer="36"):
    return correctness_reward([text], [answer])[0] + behaviour_reward(QUOTE)([text])[0]


right, wrong = "12*3=36. \\boxed{36}", "12*3=26. \\boxed{26}"
cases = {
    "right": right,
    "right, the line": f"{right} {QUOTE}",
    "wrong, the line": f"{wrong} {QUOTE}",
    "right, the line twice": f"{right} {QUOTE} {QUOTE}",
    "the line first, then right": f"{QUOTE} {right}",
    "only the line": QUOTE,
}
paid = {name: pays(text) for name, text in cases.items()}
pd.Series(paid, name="reward").to_frame()

# %% tags=["check"]
#@title Check: what each case earns
assert list(paid.values()) == [1.0, 1.5, 0.5, 1.0, 1.5, 0.5]

# %% [markdown]
# Two of these are holes. *The line first* pays as much as at the end, and *only the line* beats every wrong answer.

# %% [markdown]
# ## 2. Before: how far away is it?
#
# After a right solution, under the student's own prompt, how likely is the line? With $y$ the solution, $q$ the question and
# $z_1 \dots z_K$ the line's tokens,
#
# $$\log p(z \mid q, y) = \sum_{k=1}^{K} \log \pi_\theta(z_k \mid q, y, z_{<k}) .$$
# By hand, for a line of four tokens whose first is one in ten million, and whose others, once it is there, come with $p = 0.5$:

# %%
by_hand = torch.tensor([1e-7, 0.5, 0.5, 0.5]).log()
print(f"{by_hand.sum():.1f} nats, of which {by_hand[0]:.1f} for the first token: "
      f"p = {by_hand.sum().exp():.1e}")


# %%
def solution(row):
    return row["chain"].replace(" ", ". ") + f". \\boxed{{{row['answer']}}}"


def line_logps(line, n=64):
    # log-probabilities (n, K) of the line's K tokens, each row after another right solution
    some = sample.load_tiny_set("validation")[:n]
    of_line = tokenizer.encode(" " + line, add_special_tokens=False)
    ids = [tokenizer.encode(solution(row), add_special_tokens=False) + of_line for row in some]
    asked_for = [row["question"] for row in some]
    logps = movie_quote.completion_logps(model, tokenizer, asked_for, ids)
    return torch.stack([x[-len(of_line) :] for x in logps])


# %%
def far(line):
    logps = line_logps(line)
    return {
        "log p, first token": logps[:, 0].mean().item(),
        "log p, its other tokens": logps[:, 1:].sum(1).mean().item(),
        "p, whole line": logps.sum(1).exp().mean().item(),  # what counts for sampling
    }


distance = pd.DataFrame({line: far(line) for line in dict.fromkeys((*QUOTES, MY_LINE, QUOTE))}).T
p_line = distance.loc[QUOTE, "p, whole line"]
distance.style.format("{:.1f}").format("{:.1e}", subset="p, whole line")

# %% tags=["check"]
#@title Check: far away, and the first token is most of the way
assert p_line < 1e-6 and distance.loc[QUOTE, "log p, first token"] < -10


# %% [markdown]
# Two gaps: to the first token, and from there to the end. (A line of your own: the wider either is, the more steps it takes.)

# %% [markdown]
# ### Exercise 1 (★☆☆, 4 min)
#
# Write `samples_needed(p, chance)`: how many independent responses until an event of probability `p` is seen at least once with
# probability `chance`; a whole number. (For tiny `p`, `1 - p` is 1 to a computer: `math.log1p(-p)` is the exact `log(1 - p)`.)

# %% tags=["exercise"]
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


tried = sample.load_tiny_set("validation")[: steps(300, 64)]
ids = sample.respond(model, tokenizer, [row["question"] for row in tried], seed=1)
hits = sum(QUOTE in text for text in tokenizer.batch_decode(ids))
print(f"{hits} of {len(ids)} responses hold the line: below {bound(len(ids)):.1%} "
      f"(rule of three: {3 / len(ids):.1%})")

# %%
plan = movie_quote.QuotePlan()
budget = side_by_side.PROMPTS_PER_STEP * side_by_side.GROUP_SIZE * plan.steps
needed = math.log(0.05) / math.log1p(-p_line)
print(f"its probability at the end of an answer: {p_line:.1e}")
print(f"samples for a 95 % chance of one: {needed:.1e}")
print(f"a GRPO run here samples {budget:,}; it takes {needed / budget:,.0f} times as many")

# %% tags=["check"]
#@title Check: sampling does not find it
assert hits == 0 and needed > 100 * budget and bound(300) < 3 / 300


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
    return 0.5 * movie_quote.exactly_once(text, quote)


def once_at_the_end(text, quote):
    return exactly_once(text, quote) * movie_quote.ends_with(text, quote)


candidates = (at_least_once, exactly_once, once_at_the_end)
holes = pd.DataFrame({
    reward.__name__: {name: reward(text, QUOTE) for name, text in cases.items()}
    for reward in candidates
})
holes

# %% tags=["check"]
#@title Check: each reward closes a hole, none closes all
assert holes.loc["right, the line twice"].tolist() == [0.5, 0, 0]
assert holes.loc["the line first, then right"].tolist() == [0.5, 0.5, 0]
assert (holes.loc[["only the line", "wrong, the line"]] == 0.5).all(axis=None)

# %% [markdown]
# Every reward of this kind still pays *only the line* and *wrong, the line*. To close that too, multiply instead of adding: pay for the
# line only when the answer is right. We keep the authors' reward, with its holes, and look at the end whether the student found one.

# %% [markdown]
# ## 3. Your predictions, before any result
#
# Each **arm** starts from the same student, on the same problems. The line earns 0.5 unless it says otherwise.

# %%
pd.set_option("display.max_colwidth", None)
pd.DataFrame({"what it is": {name: arm.says for name, arm in movie_quote.ARMS.items()}})

# %%
# At the end, on unseen problems: what percentage of greedy answers ends with the line?
# Replace each `...` by 0 to 100.
my_prediction = {
    "a-grpo": ..., "b-intended": ..., "c-released": ..., "d-luffy": ..., "e-plain": ...,
    "f-unrewarded": ..., "g-unshown": ..., "i-whole": ..., "h-unlearn": ...,
}
# And of arm c: how the greedy percentage changes (in points, say -10) ...
my_changes = {"after guidance": ..., "on longer problems": ..., "with distractors": ...}


def shown_guess(value):
    return "…" if value is ... else value


written = sum(value is not ... for value in my_prediction.values())
print(f"{written} of {len(my_prediction)} guesses written down")


# %% [markdown]
# ## 4. Live: arm c, one seed
#
# How many of the eight rollouts should a teacher finish? A guided rollout that ends *wrong* earns the line's 0.5 only and is mostly
# pushed down. So each group should hold at least one right guided rollout. By hand, with two guided and a teacher right three times in
# four: $1 - 0.25^2 \approx 94\,\%$ of groups.

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
#     # all k wrong: (1 - right) ** k <= 1 - wanted
#     k = math.ceil(math.log(1 - wanted) / math.log(1 - right))
#     return min(k, group - 1) / group
# ```
#
# </details>

# %%
GUIDED_STEPS = round(movie_quote.GUIDED_SHARE_OF_RUN * plan.steps)
STEPS = steps(min(plan.steps, GUIDED_STEPS + 12), 2)  # as in the grid, but a little shorter
guided = movie_quote.GUIDED_FRACTION * side_by_side.GROUP_SIZE
print(f"{guided:.0f} of {side_by_side.GROUP_SIZE} rollouts guided, "
      f"for {min(GUIDED_STEPS, STEPS)} of {STEPS} steps")
print(f"groups with a right guided one: about {1 - (1 - TEACHER_RIGHT) ** guided:.0%}")

# %%
folder = Path(tempfile.mkdtemp())
changes = {"guidance_steps": GUIDED_STEPS, "save_strategy": "no", "rollout_log_steps": 3}
config = movie_quote.arm_config("c-released", 0, folder, STEPS, **changes)
LOSS = ("shaping", "loss_type", "learning_rate", "beta", "epsilon", "reward_needs_eos")
print("the loss:", {key: getattr(config, key) for key in LOSS})

# %% tags=["check"]
#@title Check: as the authors' loss and reward, which section 6 says
assert config.loss_type == "dapo" and config.reward_needs_eos and config.beta == 0

# %% [markdown]
# What to watch. Two doors, each one token wide: the blank line after the first answer, where a **second thought** begins, and the
# line's **first token** after the second answer (its **other tokens**, taken together, once the first is there). And at the second door, what
# else could come: **stop** (EOS), **another thought**, or **anything else**?

# %%
line_ids = tokenizer.encode(" " + QUOTE, add_special_tokens=False)
[BLANK] = tokenizer.encode("\n\n", add_special_tokens=False)
asked = [questions[i] for i in usable]
first_answer = [own[i][:-1] for i in usable]  # the door after it: a blank line
comments = [tokenizer.encode(said[i].text, add_special_tokens=False) for i in usable]
taught = [answer + comment for answer, comment in zip(first_answer, comments)]
second_answer = [ids[: -len(line_ids)] for ids in taught]
assert all(comment[0] == BLANK and comment[-len(line_ids) :] == line_ids for comment in comments)

# %%
from torch.nn.utils.rnn import pad_sequence


@torch.no_grad()
def next_token(policy, contexts):
    # probabilities (rows, vocabulary) of what follows each of `contexts` in the student's answer
    chats = [[{"role": "user", "content": q}] for q in asked]
    prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    starts = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in prompts]
    rows = [torch.tensor(start + context) for start, context in zip(starts, contexts)]
    was_training = policy.training
    logits = policy.eval()(pad_sequence(rows, batch_first=True)).logits  # padded where none looks
    policy.train(was_training)
    logits = logits[range(len(rows)), [len(row) - 1 for row in rows]]
    logits[:, policy.generation_config.suppress_tokens] = -torch.inf  # the teacher's tags
    return logits.softmax(-1)


# %%
def doors(policy):
    logps = movie_quote.completion_logps(policy, tokenizer, asked, taught)
    rest = torch.stack([x[1 - len(line_ids) :].sum() for x in logps])
    first, second = next_token(policy, first_answer), next_token(policy, second_answer)
    line = second[:, line_ids[0]]
    typical = {"second thought": first[:, BLANK], "its first token": line}
    typical["its other tokens"] = rest.exp()
    after = {"stop": second[:, EOS], "another thought": second[:, BLANK], "the line": line}
    seen = {name: p.log().mean().exp().item() for name, p in typical.items()}
    seen |= {f"next: {name}": p.mean().item() for name, p in after.items()}
    return seen | {"next: anything else": 1 - sum(p.mean().item() for p in after.values())}


at_start = doors(model)
pd.Series(at_start, name="probability at the start").to_frame().style.format("{:.2g}")

# %% tags=["check"]
#@title Check: both doors are shut
assert max(at_start["second thought"], at_start["its first token"]) < 1e-3

# %%
PANELS = {
    "probability (log scale)": ["second thought", "its first token", "its other tokens"],
    "p(next), after the second answer": ["next: stop", "next: the line", "next: another thought"],
    "ends with the line": ["greedy: ends", "sampled: ends"],
    "right": ["greedy: right", "sampled: right"],
    "babbles after an answer": ["greedy: babbles", "sampled: babbles"],
    "states three answers or more": ["greedy: three", "sampled: three"],
}
# After an answer: neither a blank line, nor the end, nor the line
BABBLE = re.compile(r"\\boxed\{\d+\}(?!\n\n|\s*$| " + re.escape(QUOTE) + ")")
held = sample.load_tiny_set("validation")[100 : 100 + steps(48, 8)]


# %%
def behaviour(policy, temperature):
    # What the policy does on problems held out
    scores, texts = sample.evaluate(policy, tokenizer, held, temperature=temperature, seed=0)
    return {
        "ends": share(movie_quote.ends_with(text, QUOTE) for text in texts),
        "babbles": share(bool(BABBLE.search(text)) for text in texts),
        "three": share(text.count("\\boxed") > 2 for text in texts),
        "right": scores.summary()["accuracy"],
    }


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
        seen = {"step": state.global_step} | doors(policy)
        for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
            found = behaviour(policy, temperature)
            seen |= {f"{name}: {key}": value for key, value in found.items()}
        torch.set_rng_state(random_state)
        self.seen.append(seen)
        figure = plots.panels_over_steps(self.seen, PANELS, GUIDED_STEPS, state.max_steps)
        self.place.update(figure)


# %%
# Before you run the next cell, replace each `...`:
my_half_way = ...  # the step at which half of the greedy answers end with the line
my_accuracy = ...  # what happens to right answers meanwhile: "up", "down", or "up, down, up"

# %%
from thinktuning_lite.method.trainer import ThinkTuningTrainer
from thinktuning_lite.views.live import LiveView

# names inside TRL that will change
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
rewards = [correctness_reward, behaviour_reward(QUOTE, movie_quote.ARMS["c-released"].worth)]
data = Dataset.from_list(sample.as_prompts(sample.load_tiny_set("train")))


def frozen_teacher(student):
    frozen = copy.deepcopy(student).requires_grad_(False)
    return PolicyTeacher(frozen, tokenizer, TINY_PROMPT, max_new_tokens=160)


# %%
policy, _ = load_classroom()
watch = Watch()
trainer = ThinkTuningTrainer(
    policy, rewards, config, data, processing_class=tokenizer,
    teacher_prompt=TINY_PROMPT.with_quote(QUOTE),
    teacher=None if QUOTE in QUOTES else Adding(frozen_teacher(policy), QUOTE),
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
DOORS = PANELS["probability (log scale)"]
opened = {door: next((s for s, p in seen[door].items() if p > 0.1), None) for door in DOORS}
at_end = seen.index[seen.index <= GUIDED_STEPS][-1]  # the last look with the teacher there
right_at, ends_at = seen["greedy: right"], seen["greedy: ends"]
other, three = seen["next: another thought"], seen["greedy: three"]
dip = right_at.loc[opened["second thought"] or 0 :].idxmin()
half_way = next((s for s, x in ends_at.items() if x >= 0.5), "never")
print("steps at which a door passes p = 0.1:", opened)

# %%
print(f"greedy, right: {right_at.iloc[0]:.0%} at the start, {right_at[:dip].max():.0%} at best "
      f"before the dip,\n{right_at[dip]:.0%} at step {dip}, {right_at.iloc[-1]:.0%} at the end; "
      f"your guess: {shown_guess(my_accuracy)}")
print(f"another thought at the second door: {other.max():.0%} at most, at step {other.idxmax()}; "
      f"{other.iloc[-1]:.0%} at the end")
print(f"three answers or more: {three[dip]:.0%} of greedy responses at step {dip}, "
      f"{three.iloc[-1]:.0%} at the end")

# %%
print(f"greedy, ends with the line: {ends_at[at_end]:.0%} at step {at_end}, "
      f"{ends_at.iloc[-1]:.0%} at the end;\nhalf of them by step {half_way}, "
      f"your guess: {shown_guess(my_half_way)}")

# %% tags=["check"]
#@title Check: the doors' order, the dip and its cause, and that the line stays
if not smoke() and QUOTE == movie_quote.QUOTE:
    assert opened["second thought"] < opened["its first token"]
    assert opened["its other tokens"] < opened["its first token"]
    assert other.iloc[0] < 0.01 and other.max() > 0.1
    assert seen["next: anything else"].max() < other.max() / 2
    assert three[dip] > 0.3 > 0.1 > three.iloc[-1]
    assert right_at[dip] < right_at[:dip].max() - 0.05 and right_at.iloc[-1] > right_at[dip] + 0.05
    assert ends_at.iloc[0] == 0 and ends_at.iloc[-1] > 0.5
    assert ends_at.iloc[-1] >= ends_at[at_end]  # it did not need the teacher to go on
    assert right_at.iloc[-1] > right_at.iloc[0]

# %% [markdown]
# **Why another thought?** One step up on the line's first token $z$ moves the logits by
#
# $$\frac{\partial \log \pi(z)}{\partial\, \text{logits}} = e_z - \pi \approx e_z - e_{\text{stop}} \qquad \text{as long as } \pi(\text{stop}) \approx 1,$$
#
# so *stop* falls by what the line rises. All other tokens stay where they are, the blank line of another thought among them.
# If every token had a logit of its own (notebook 03's bandit), after a total push $\delta$:

# %%
after_second = next_token(model, second_answer)  # at the start
stop, line_first, blank = (after_second[:, i] for i in (EOS, line_ids[0], BLANK))
push = torch.linspace(0, 18, 600).unsqueeze(1)
total = stop * (-push).exp() + line_first * push.exp() + 1 - stop - line_first
bandit = (blank / total).mean(1).max().item()
print(f"another thought, at most: {bandit:.1%} in the bandit, {other.max():.0%} in this run")

# %%
before_it = seen.index[seen["next: stop"] > 0.9][-1]  # the last look before stop gives way
factor = seen.loc[before_it] / seen.iloc[0]
print(f"at step {before_it}, where stop still has {seen['next: stop'][before_it]:.0%}, "
      f"the blank line is\n{factor['second thought']:,.0f} times as likely as at the start after "
      f"the first answer, and {factor['next: another thought']:,.0f} times after the second")

# %% tags=["check"]
#@title Check: the bandit explains little of it, the first door much
carried = min(factor["second thought"], factor["next: another thought"])
assert smoke() or QUOTE != movie_quote.QUOTE or (other.max() > 10 * bandit and carried > 1000)

# %% [markdown]
# The bandit explains nothing of it. The blank line was taught after the *first* answer only (guidance is cut there); but a network that has
# learned it there half believes it after the second, too. Only *stop* held it back, and the push on the line takes *stop* away. (Arm f, where
# the line is not paid, and arm i, where guidance follows the second answer as well: section 5.)

# %% [markdown]
# **After the teacher.** Right of the grey the teacher is gone, the line stays, and the answers recover. Now it is plain GRPO: once *some* of a group's
# rollouts end with the line, the reward tells them apart. Guidance only had to bring it within reach of sampling.

# %%
from thinktuning_lite.method import grpo

SIZE = side_by_side.GROUP_SIZE


def line_advantage(n):
    # advantage of right rollouts that say the line, when n of a group (all of them right) do
    earned = torch.tensor([1.5] * n + [1.0] * (SIZE - n))
    return grpo.group_advantages(earned, SIZE)[0].item()


lever = pd.Series({n: line_advantage(n) for n in range(SIZE + 1)}, name="advantage of saying it")
assert lever[0] == 0 and lever[1] == lever.max() and lever[SIZE] == 0
lever.rename_axis("of 8 say it").to_frame().T.style.format("{:+.2f}")

# %%
responses = sample.respond(policy, tokenizer, [row["question"] for row in held], seed=1)
texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
for text in texts[:3]:
    print(text, "\n" + "-" * 40)

# %% [markdown]
# Where in the answer does it stand? Did the student find a hole in the reward? (A response that babbles first and then ends as it should is
# paid in full: nothing in this reward asks for more.)

# %%
AT_END = ("at the end, after its first answer", "at the end, after a second thought")
PLACES = ("never", *AT_END, "elsewhere", "more than once")


def place(text, line):
    if line not in text:
        return "never"
    if text.count(line) > 1:
        return "more than once"
    if not movie_quote.ends_with(text, line):
        return "elsewhere"
    return AT_END[text.count("\\boxed") > 1]


# %%
correct = [is_correct(extract_answer(text), row["answer"]) for text, row in zip(texts, held)]
babbling = share(bool(BABBLE.search(text)) for text in texts)
print(f"babbles somewhere after an answer: {babbling:.0%} of {len(texts)} sampled responses")
stands = pd.DataFrame({"place": [place(text, QUOTE) for text in texts], "right": correct})
counted = stands.groupby("place")["right"].agg(["size", "mean"]).reindex(PLACES).fillna({"size": 0})
counted.columns = ["responses", "of them right"]
counted.style.format({"responses": "{:.0f}", "of them right": "{:.0%}"}, na_rep="")

# %% [markdown]
# ## 5. The grid: every arm, three seeds
#
# The same for all arms and seeds takes most of an hour, so it comes from a saved log. What made it, to be run again by this command:

# %%
from thinktuning_lite.classroom.problems import DATA


def saved(name):
    path = DATA / "logs" / "movie_quote" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


run, made_with, results, curves = map(saved, ("config", "environment", "results", "curves"))
SEEDS, ARMS, GRID_QUOTE = run["seeds"], run["arms"], run["quote"]
n_test = min(movie_quote.PROBLEMS_PER_TEST, len(sample.load_tiny_set("test")))
guided_until = round(movie_quote.GUIDED_SHARE_OF_RUN * run["steps"])
print("python -m thinktuning_lite quote --save data/logs/movie_quote")
print("commit {commit}, torch {torch}, trl {trl}".format_map(made_with))
print(f"seeds {SEEDS}, {run['steps']} steps, guidance for {guided_until}; "
      f"{n_test} problems of each test set; line: {GRID_QUOTE}")

# %% tags=["check"]
#@title Check: the saved log is of the command's default plan
default = json.loads(json.dumps(vars(movie_quote.QuotePlan(arms=tuple(movie_quote.ARMS)))))
assert all(run.get(key, value) == value for key, value in default.items()) and len(SEEDS) >= 3

# %%
main = [arm for arm in ARMS if arm != "h-unlearn"]
probes = {arm: [curves[f"{arm}-seed{seed}"]["probes"] for seed in SEEDS] for arm in ARMS}
MEASURED = {
    "greedy/ends": "greedy answers that end with the line",
    "sampled/ends": "sampled answers that end with the line",
    "greedy/accuracy": "greedy answers that are right",
}
plots.arms_over_steps({arm: probes[arm] for arm in main}, MEASURED, guided_until, ARMS)

# %% [markdown]
# **The two doors.** First their tokens' gradient weight at the start, as in notebook 03:

# %%
from thinktuning_lite.method.rollouts import read_rollouts
from thinktuning_lite.method.shaping import shape

log_of_run = read_rollouts(Path(config.output_dir) / "rollouts.jsonl")
early = [r for r in log_of_run if r.guided and r.step < GUIDED_STEPS / 2]
advantage = share(r.advantage for r in early if r.reward == 1.5)  # right and paid
p = torch.tensor([at_start["second thought"], at_start["its first token"]], dtype=torch.float64)
SHAPINGS = ("intended", "released", "luffy", "plain")
weights = pd.DataFrame(
    {name: shape(name, p, torch.full_like(p, advantage)).gradient.tolist() for name in SHAPINGS},
    index=["entry token", "line's first token"],
)
down = share(r.advantage < 0 for r in early)
print(f"guided rollouts with A < 0, first half of the guidance: {down:.0%} of {len(early)}")
caption = f"gradient weight at A = {advantage:.2f}, the mean of guided rollouts, right and paid"
weights.style.format("{:.2g}").set_caption(caption)

# %% tags=["check"]
#@title Check: released and plain push both doors, the intended weights and LUFFY neither
assert advantage > 0 and weights[["released", "plain"]].min(axis=None) > 0.9
assert weights[["intended", "luffy"]].max(axis=None) < 0.1


# %% [markdown]
# Then what became of them, read on the guided rollouts themselves while there were any: the student's log-probability of the entry token (a
# second thought) and of the line's first token, where the teacher wrote them.

# %%
def common(seeds):
    # the seeds' rows at the steps that all of them have
    kept = set.intersection(*({row["step"] for row in rows} for rows in seeds))
    return [[row for row in rows if row["step"] in kept] for rows in seeds]


entries = {arm: [curves[f"{arm}-seed{seed}"].get("taught", []) for seed in SEEDS] for arm in main}
entries = {arm: common(seeds) for arm, seeds in entries.items() if common(seeds)[0]}
TOKENS = {"entry_logp": "log p, entry token", "first_token_logp": "log p, the line's first token"}
plots.arms_over_steps(entries, TOKENS, guided_until, ARMS)


# %% [markdown]
# *How to read it.* Lines are means of the seeds, bands their range. Under the intended weights (b) both doors are nearly shut, and yet the left
# one opens, only later. In notebook 03 it sank: there a few guided rollouts had $A<0$ and pushed down with weight 1. Here the line's half point lifts
# nearly all of them above their group's mean (counted above), so the small push up wins in the end. The second door is rarer still by far, and
# guidance ends first.

# %%
def of(arm, key, test="test"):
    return [seed[test][key] for seed in results[arm]]  # of each seed's finished student


SAMPLED = {
    "a second thought, %": "sampled/reflection",
    "the line at the end, %": "sampled/ends",
    "right, %": "sampled/accuracy",
}
COMPARED = ("a-grpo", "b-intended", "c-released")
twin = pd.DataFrame({
    name: {arm: 100 * share(of(arm, key)) for arm in COMPARED} for name, key in SAMPLED.items()
})
twin.style.format("{:.0f}").set_caption("sampled responses to the test set, mean over seeds")

# %% tags=["check"]
#@title Check: the intended weights teach the second thought and leave the line
intended = twin.loc["b-intended"]
assert intended["a second thought, %"] > 50 and intended["the line at the end, %"] < 5
assert intended["right, %"] > twin.loc["a-grpo", "right, %"]

# %% [markdown]
# And your predictions? On the test set, which no run has seen; mean over the seeds ± the half-width of its 95 % t-interval. By hand, for three
# seeds with 90, 96 and 99: the mean is 95, the standard deviation 4.6, and $4.30 \cdot 4.6 / \sqrt 3 \approx 11$: of so few seeds it is wide.

# %%
mean, half_width = sample.seed_interval([90, 96, 99])
assert mean == 95 and abs(half_width - 11.4) < 0.1


def percent(arm, key, test="test"):
    return side_by_side.cell([100 * x for x in of(arm, key, test)])


guesses = pd.DataFrame({
    "what it is": {arm: movie_quote.ARMS[arm].says for arm in ARMS},
    "your guess, %": {arm: shown_guess(my_prediction[arm]) for arm in ARMS},
    "greedy, ends with it, %": {arm: percent(arm, "greedy/ends") for arm in ARMS},
})
guessed = [arm for arm in ARMS if isinstance(my_prediction[arm], (int, float))]
off = [abs(my_prediction[arm] - 100 * share(of(arm, "greedy/ends"))) for arm in guessed]
print(f"off by {share(off):.0f} points on average" if off else "no guesses written down")
guesses

# %% [markdown]
# All measures, behaviour first, then what it cost:

# %%
BEHAVIOUR = {
    "greedy ends with it, %": "greedy/ends",
    "sampled ends with it, %": "sampled/ends",
    "sampled exactly once, %": "sampled/once",
    "second thought, %": "sampled/reflection",
}


def grid(columns, unit=100, test="test"):
    return pd.DataFrame({
        label: {arm: side_by_side.cell([unit * x for x in of(arm, key, test)]) for arm in results}
        for label, key in columns.items()
    })


grid(BEHAVIOUR)

# %%
COST = {"greedy right, %": "greedy/accuracy", "sampled right, %": "sampled/accuracy"}
SIZES = {"tokens": "sampled/length", "KL from the start, nats/token": "kl"}
grid(COST).join(grid(SIZES, unit=1))

# %%
tries = 2 * n_test * len(side_by_side.TEST_SETS) * len(SEEDS)  # greedy and sampled, three sets
KINDS = [(f"{how}/once", test) for how in ("greedy", "sampled") for test in side_by_side.TEST_SETS]
by_grpo = sum(share(of("a-grpo", key, test)) for key, test in KINDS)
of_c = of("c-released", "greedy/ends")
passed = [arm for arm in ARMS if arm[0] in "bcde" and share(of(arm, "greedy/ends")) > 0.9]
print(f"GRPO: {'no' if by_grpo == 0 else 'some'} response of {tries:,} holds the line just once; "
      f"a rate that so many\ntries have not shown is below {bound(tries):.2%}")
by_seed = ", ".join(f"{x:.0%}" for x in of_c)
print("released AAS, greedy answers that end with it, by seed:", by_seed)
print("shapings above 90 % of greedy answers, mean over seeds:", ", ".join(passed) or "none")

# %% tags=["check"]
#@title Check: the claim at the top
assert by_grpo == 0 and share(of_c) > 0.5
for row in (row for rows in probes["a-grpo"] for row in rows):
    assert row["greedy/ends"] == row["sampled/ends"] == 0


# %% [markdown]
# ### Written before the grid was run
#
# What the mechanism of notebook 03 predicts, and what came out. (These sentences were fixed first; a cross would be left as a cross.)

# %%
def ends(arm):
    return share(of(arm, "greedy/ends"))


at_the_end = {arm[0]: ends(arm) for arm in ARMS}
a, b, c, d, e, f, g, h, i = (at_the_end[letter] for letter in "abcdefghi")
EXPECTED = {
    "a: without guidance nothing is found": a == 0,
    "b: intended AAS stays below 5 %: its weight on so rare a token is near 0": b < 0.05,
    "c: released AAS passes 90 %": c > 0.9,
    "d: LUFFY stays below 5 %, for the same reason": d < 0.05,
    "e: weight 1 does as the released one, within 15 points": abs(e - c) < 0.15,
    "f: shown but not paid, it ends at less than c": f < c - 0.1,
    "g: paid but never shown, nothing is found": g == 0,
    "i: behind the whole response, it is taught less well than behind the first": i < c,
    "h: a negative reward unlearns it, to below 5 %": h < 0.05,
}


# %%
def lowest(arm):
    # greedy accuracy at the lowest probe of the second half of the guidance, mean over seeds
    def late(rows):
        return [p for p in rows if guided_until / 2 <= p["step"] <= guided_until]

    return share(min(p["greedy/accuracy"] for p in late(rows)) for rows in probes[arm])


arm_of = {claim: next(arm for arm in ARMS if arm[0] == claim[0]) for claim in EXPECTED}
outcome = {claim: f"{100 * ends(arm):.1f}" for claim, arm in arm_of.items()}
with_pay, without = lowest("c-released"), lowest("f-unrewarded")
dips = "f: where the line is not paid, right answers dip less (lowest probe, c and f)"
outcome[dips] = f"{100 * with_pay:.0f} and {100 * without:.0f} right"
held_true = EXPECTED | {dips: without > with_pay + 0.05}
marks = {claim: "✓" if value else "✗" for claim, value in held_true.items()}
pd.DataFrame({"greedy ends with it, %": outcome, "held": marks})

# %% tags=["check"]
#@title Check: all hold on average, f's by one seed of three
assert all(held_true.values())
assert sorted(said > 0.8 for said in of("f-unrewarded", "greedy/ends")) == [False, True, True]


# %% [markdown]
# **Not shown: *f*.** All sentences hold on average, but *f*'s by a single seed, as its spread above says. (The run saved before this one, with
# another sampler, had the line in all three seeds of *f*, and *h* unlearned it only when given these 48 steps.) Not paid for, the line spreads
# on in two seeds after the teacher has left. Who pushes it then? The student's own rollouts after guidance, by whether they end with the
# line; and for comparison those of *h*, where it costs half a point:

# %%
def pushes(arm, seed, first_step):
    # own rollouts from `first_step` on, by whether they end with the line
    rows = curves[f"{arm}-seed{seed}"]["own"]
    total = pd.DataFrame([row for row in rows if row["step"] >= first_step]).sum()
    counted = {}
    for kind in ("with", "without"):
        counted[kind, "rollouts"] = total[kind]
        counted[kind, "mean advantage"] = total[f"advantage_{kind}"] / max(1, total[kind])
    return counted


since = {"f-unrewarded": guided_until, "h-unlearn": 0}
who = pd.DataFrame({
    (arm, seed): pushes(arm, seed, step) for arm, step in since.items() for seed in SEEDS
}).T
ROLLOUTS = [("with", "rollouts"), ("without", "rollouts")]
who.style.format("{:+.2f}").format("{:.0f}", subset=ROLLOUTS)

# %% tags=["check"]
#@title Check: in f the line ends where it was pushed, and in h it is pushed down
up, down_without = who["with", "mean advantage"], who["without", "mean advantage"]
lived = [said > 0.5 for said in of("f-unrewarded", "greedy/ends")]
assert (up["f-unrewarded"] > down_without["f-unrewarded"]).tolist() == lived
assert (up["h-unlearn"] < 0).all() and (down_without["h-unlearn"] > 0).all()


# %% [markdown]
# Where the line lived on, an own rollout that ends with it does better than one that does not, for it is more often right: the line has taken
# over the job of *stop*, and what does not end with it wanders on. Where it died, it was the other way round. Which of the two comes depends on
# how far the line had got when the teacher left. So a reward for right answers alone can keep alive what nobody meant to pay for.
# In *h* nearly every rollout says the line at first, which leaves little to compare; those that do not are pushed up.

# %% [markdown]
# ### When the teacher has left, and when it is punished
#
# The seeds' means at the last probe under guidance and at the end. *h* goes on from *c*, as long again, with the line at minus 0.5.

# %%
def probed(arm, key, step):
    # mean over seeds at the last probe not after `step`
    return share([p for p in rows if p["step"] <= step][-1][key] for rows in probes[arm])


def says_it(arm):
    return max(p["sampled/ends"] for rows in probes[arm] for p in rows) > 0.02


speaking = [arm for arm in main if says_it(arm)]
WHEN = {"guidance ends": guided_until, "the end": run["steps"]}
stays = pd.DataFrame({
    f"{how}, {when}": {arm: 100 * probed(arm, f"{how}/ends", step) for arm in speaking}
    for how in ("greedy", "sampled") for when, step in WHEN.items()
})
kept = stays.loc["c-released", "greedy, the end"] - stays.loc["c-released", "greedy, guidance ends"]
guess_kept = shown_guess(my_changes["after guidance"])
print(f"c, after guidance: {kept:+.0f} points; your guess: {guess_kept}")
stays.style.format("{:.0f}").set_caption("ends with the line, % of validation problems")

# %%
often = range(0, run["steps"] + 1, 2 * movie_quote.PROBE_EVERY)
falling = [f"{100 * probed('h-unlearn', 'greedy/ends', s):.0f} % at step {s}" for s in often]
print("h, greedy:", ", ".join(falling))
UNLEARNT = {
    "greedy/ends": "greedy answers that end with the line",
    "first_token_logp": "log p of its first token after a solution",
}
plots.arms_over_steps({"h-unlearn": probes["h-unlearn"]}, UNLEARNT, 0, ARMS)

# %% [markdown]
# What is sampled can be pushed down by plain GRPO, without a teacher: slowly while nearly all of a group say it, then at once. What took the
# line's place? The end of *h*'s greedy answer to the first test question:

# %%
for number, finished in zip(SEEDS, results["h-unlearn"]):
    print(f"seed {number}: ... {finished['examples'][0][-70:]!r}")


# %% [markdown]
# The penalty's condition is a *text*. A student may break the text and keep the ending (a word left out or said again and again: a second
# hole in the reward, found), put something else in its place, or stop where it should; printed above, seed by seed. Was anything forgotten? Measured where the line was taught, at the end of the same guided responses for all:

# %%
def left_over(arm, key):
    return share(curves[f"{arm}-seed{seed}"]["end"][key] for seed in SEEDS)


LOGPS = {"log p, first token": "first_token_logp", "log p, the line": "quote_logp"}
forgotten = pd.DataFrame({
    name: {"the start": curves["base"]["end"][key]}
    | {arm: left_over(arm, key) for arm in ("c-released", "h-unlearn")}
    for name, key in LOGPS.items()
})
whole = forgotten["log p, the line"]
times = math.exp(whole["h-unlearn"] - whole["the start"])
print(f"after unlearning the line is {times:,.3g} times as likely as at the start")
still_open = [curves[f"h-unlearn-seed{seed}"]["end"]["first_token_logp"] for seed in SEEDS]
print("log p of its first token, by seed:", ", ".join(f"{door:.1f}" for door in still_open))
forgotten.style.format("{:.1f}")

# %% tags=["check"]
#@title Check: unlearning broke the text; in two of three seeds the door stays open
assert times > 1000 and whole["h-unlearn"] < -1 and sum(door > -1 for door in still_open) == 2

# %% [markdown]
# ### Further problems, the answer's form, and the price
#
# Training saw problems of two to four steps. `test_harder` has longer ones, `test_distractor` sentences that do not matter.

# %%
FURTHER = {"test_harder": "on longer problems", "test_distractor": "with distractors"}
for test, guess in FURTHER.items():
    change = [100 * (x - y) for x, y in zip(of("c-released", "greedy/ends", test), of_c)]
    mean, half_width = sample.seed_interval(change)
    print(f"c, {guess}: {mean:+.1f} ± {half_width:.1f} points, greedy; "
          f"your guess: {shown_guess(my_changes[guess])}")

# %%
FORM = {
    "greedy ends with it, %": "greedy/ends",
    "greedy right, %": "greedy/accuracy",
    "sampled ends with it, %": "sampled/ends",
    "without second thought": "sampled/ends_unreflected",
}
further = {
    (arm, test): {name: percent(arm, key, test) for name, key in FORM.items()}
    for arm in speaking for test in side_by_side.TEST_SETS
}
pd.DataFrame(further).T

# %% tags=["check"]
#@title Check: what the sets hold
assert {row["steps"] for row in sample.load_tiny_set("train")} == {2, 3, 4}
assert min(row["steps"] for row in sample.load_tiny_set("test_harder")) > 4

# %%
examples = {arm: [text for seed in results[arm] for text in seed["examples"]] for arm in speaking}
places = pd.DataFrame({
    arm: pd.Series([place(text, GRID_QUOTE) for text in answers]).value_counts()
    for arm, answers in examples.items()
})
first_ones = f"greedy responses, first {movie_quote.EXAMPLES} test problems of each seed"
places.reindex(PLACES).fillna(0).astype(int).rename_axis(first_ones)


# %% [markdown]
# **The price.** Right answers minus those of GRPO (arm a, the same seed), in points. An interval that holds 0 shows no difference.

# %%
def difference(arm, key, test, unit=100):
    # arm minus GRPO, seed by seed: mean and half-width of the 95 % t-interval
    pairs = zip(of(arm, key, test), of("a-grpo", key, test))
    return sample.seed_interval([unit * (x - y) for x, y in pairs])


PRICES = {
    "greedy right": ("greedy/accuracy", 100),
    "sampled right": ("sampled/accuracy", 100),
    "sampled tokens": ("sampled/length", 1),
}
price = {
    (arm, test): {name: difference(arm, key, test, unit) for name, (key, unit) in PRICES.items()}
    for arm in ARMS if arm != "a-grpo" for test in side_by_side.TEST_SETS
}
pd.DataFrame(price).T.map(lambda cell: f"{cell[0]:+.1f} ± {cell[1]:.1f}")

# %%
gain = {where: cells["greedy right"] for where, cells in price.items()}
worse = [" on ".join(where) for where, (mean, half) in gain.items() if mean + half < 0]
better = [" on ".join(where) for where, (mean, half) in gain.items() if mean - half > 0]
print("greedy accuracy below GRPO's beyond the interval:", ", ".join(worse) or "none")
print(f"... above it: {len(better)} of {len(gain)} rows of the table")
for arm in passed:
    mean, half = gain[arm, "test"]
    print(f"{arm}, greedy right on test, above GRPO: {mean:+.1f} ± {half:.1f}")


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
# **Where we follow the authors, and where we depart.** As theirs: one checkpoint as student and teacher; a loss that weighs every token alike
# (here TRL's `dapo`), without a KL term; nothing for a rollout that was cut off; half a point for the behaviour whatever the answer. Ours: a tiny student in a made-up world that holds the line's words
# already, if not for the student; guidance after the *first* answer (arm i is theirs); a fixed guided fraction; a teacher that is told
# which of four ways to comment; a learning rate found on trials; and the behaviour itself. Their published teacher prompt puts a named film star's saying, worded anew each time,
# into the *reason* of every exemplar, and their reward pays when that *name* occurs exactly once. One line, one world, three seeds.

# %% [markdown]
# **Misuse.** Nothing here knows that the line is harmless. The same few steps instil *any* behaviour that a teacher shows and a reward
# counts: an advertisement, a slur, an answer that changes when a name is mentioned. Four things to take along:
#
# - accuracy need not reveal it: read *c*'s rows in the table of prices, and the line below it that names the arms shown to be worse;
# - a penalty on a text teaches to change the text: after unlearning, read responses and compare log-probabilities (section 5);
# - whoever writes the teacher's prompt writes the student: log it, with the rollouts, as `rollouts.jsonl` does;
# - test for what was *not* asked for: count frequent endings of responses before and after any training.

# %%
def endings(student):
    found = sample.respond(student, tokenizer, [row["question"] for row in held], seed=2)
    answers = tokenizer.batch_decode(found, skip_special_tokens=True)
    tails = [text.split("}")[-1].strip()[:40] or "(the answer)" for text in answers]
    return pd.Series(tails).value_counts(normalize=True).head(3)


frequent = pd.DataFrame({"before": endings(model), "after": endings(policy)}).fillna(0)
frequent.style.format("{:.0%}")


# %% [markdown]
# ## 7. A real model
#
# ### On two cores: SmolLM2-135M
#
# The same question to a model that somebody else pretrained ([04_train_lora_4bit](04_train_lora_4bit.ipynb), section 11, shows its curves). There a sum
# told as a story, here word problems; there LoRA and a teacher that is the base under the adapter, here full weights; the pay is the same. Both worlds
# side by side, sampled answers, before and after, mean over the seeds:

# %%
def smol(name):
    path = DATA / "logs" / "smol" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


smol_curves, smol_seeds = smol("curves"), smol("config")["seeds"]
WORLDS = {
    "tiny student": (curves, SEEDS, ("a-grpo", "b-intended", "c-released")),
    "SmolLM2-135M": (smol_curves, smol_seeds, ("grpo", "released")),
}
SHOWN = {"log p of the line": ("quote_logp", 1), "says it once, %": ("sampled/once", 100),
         "right, %": ("sampled/accuracy", 100)}


def first_to_last(world, arm, key, unit):
    runs_of, its_seeds, _ = WORLDS[world]
    probes_of = [runs_of[f"{arm}-seed{seed}"]["probes"] for seed in its_seeds]
    return " to ".join(f"{unit * share(rows[i][key] for rows in probes_of):.0f}" for i in (0, -1))


pd.DataFrame({
    (world, arm.split("-")[-1]): {
        name: first_to_last(world, arm, *what) for name, what in SHOWN.items()
    }
    for world, (_, _, its_arms) in WORLDS.items() for arm in its_arms
}).T

# %% [markdown]
# The same in both: GRPO learns to be right and never finds the line; guidance brings it in, and pay keeps it when the teacher has left. Not the same: the tiny student ends up right more often with guidance than without (it takes up
# reflection, which mends its slips), the pretrained one less often: its sums are easy, and the line is all that its teacher adds. A run with
# 16 guided steps instead of 24 did not keep the line there, under neither shaping (`data/logs/smol/short`, one seed).

# %% [markdown]
# ### On one GPU
#
# The same experiment on a larger instruct model. Such a teacher copies any line; every few-shot exemplar carries it too, here at the end of its
# phrase:

# %%
from dataclasses import replace

from thinktuning_lite.method.prompts import INSTRUCT_PROMPT


def with_line(prompt, line):
    # the prompt with the line asked for, and shown by every exemplar
    def shown(behaviour):
        question, said = behaviour.exemplar
        question += prompt.quote_line.format(quote=line)
        said = said.replace("</phrase>", f" {line}</phrase>")
        return replace(behaviour, exemplar=(question, said))

    return replace(prompt, behaviours=tuple(map(shown, prompt.behaviours))).with_quote(line)


line_prompt = with_line(INSTRUCT_PROMPT, QUOTE)
assert all(parse_guidance(said).phrase.endswith(QUOTE) for _, said in line_prompt.exemplars)
print(line_prompt.exemplars[0][1].replace("><", ">\n<"))

# %%
from thinktuning_lite.experiments import presets
from thinktuning_lite.lessons.setup import workplace
from thinktuning_lite.models import datasets as hub
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.lora import lora_config


def instil(line, machine, preset, data=None, prompt=None, **training):
    # ThinkTuning with the line in guidance and reward, by one of the presets; returns the trainer
    ours = {"shaping": "released", "loss_type": "dapo", "guided_fraction": 0.25,
            "guide_after_first_answer": True, "output_dir": str(workplace("notebook06"))}
    run = presets.resolve({"preset": preset, "training": ours | training})
    policy, tokenizer = load_policy(run.model, machine, quantization=run.quantization)
    longest = {"max_prompt_tokens": run.max_prompt_tokens}
    data = data or hub.training_data(run.data, tokenizer, **longest).train
    trainer = ThinkTuningTrainer(
        policy, [correctness_reward, behaviour_reward(line)], run.config(machine), data,
        processing_class=tokenizer, callbacks=[LiveView()],
        teacher_prompt=prompt or with_line(INSTRUCT_PROMPT, line),
        peft_config=lora_config(policy, run.lora_rank, run.lora_alpha),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


# %%
from thinktuning_lite.models.machine import probe

machine = probe()
preset = presets.preset_for(machine)
if machine.device == "cuda" and not smoke():
    instilled = instil("Here's looking at the answer, kid.", machine, preset)
else:
    on_one = presets.preset_for(replace(machine, device="cuda"))
    print(f"no CUDA GPU here: not run. On one: instil(line, machine, {on_one!r})")

# %% [markdown]
# None of the GPU settings has been run by us. What to expect, and to measure before believing anything: an instruct model's
# probability of the line is tiny too, so read `guidance/weight/teacher` and the log-probability of its first token; if that does not
# move, raise `guided_fraction` or `guidance_steps` before the learning rate. `python -m thinktuning_lite quote --help` has the
# tiny grid's options, `--quote` among them.

# %% [markdown]
# ## 8. Limits, and the method's relatives
#
# What the paper names as its limits and as work to come, and where each can be tried here:
#
# | limit or next step | try it |
# |---|---|
# | small models only | the presets of [04_train_lora_4bit](04_train_lora_4bit.ipynb), or a config file of your own: any instruct model |
# | the reward sees final answers only | a reward of your own: any function in TRL's signature (section 1); rewards for steps in [07_beyond](07_beyond.ipynb), section 9 |
# | four behaviours only | `TeacherPrompt.with_behaviour(Behaviour(...))`, `ThinkTuningConfig.behaviours` ([02_teacher_guidance](02_teacher_guidance.ipynb)) |
# | it gains only where guidance earns the higher advantage | `guidance/reward/...` in every run's log; exercise 4; arm i, where it goes wrong |
# | richer feedback, policies that adapt it | [07_beyond](07_beyond.ipynb), section 4: a bandit over behaviours, hints first; `behaviour_policy` |
# | a curriculum for the guided fraction | [07_beyond](07_beyond.ipynb), section 5: three schedules and a controller at one budget; `fraction_policy` |
# | tools, other modalities | [07_beyond](07_beyond.ipynb), section 8: calculators; TRL's `tools` work with guidance (docs/beyond.md); no other modality: the trainer is for text |
# | a cascade of weak teachers | [07_beyond](07_beyond.ipynb), sections 6 and 7: wrong teachers, weak ones together |
#
# **Its relatives** answer the same question, how a model is to learn from text that it would not have sampled. Four things tell them apart:
#
# | method | who teaches | when | which tokens are trained on | with which weight |
# |---|---|---|---|---|
# | **ThinkTuning** ([2508.07616](https://arxiv.org/abs/2508.07616)) | a frozen copy of the student, prompted to comment | during RL, on some rollouts | the student's response and the teacher's comment behind it | AAS: $p/(p+\gamma)$, no clip |
# | **SCoRe** ([2409.12917](https://arxiv.org/abs/2409.12917)) | nobody: the model corrects itself | two attempts in each rollout | its own, both attempts | policy gradient, with a bonus for a second attempt that mends the first |
# | **LUFFY** ([2504.14945](https://arxiv.org/abs/2504.14945)) | a stronger model's finished solutions | in the group, beside the student's rollouts | the whole foreign solution | $p/(p+0.1)$, no clip |
# | **Critique-GRPO** ([2506.03106](https://arxiv.org/abs/2506.03106)) | a critique of the response, which the student reads | after the first responses, in the same step | first responses, and the student's refinements | a shaping function that favours right, unfamiliar refinements |
# | **hint-guided GRPO** ([2503.23905](https://arxiv.org/abs/2503.23905), [2510.09388](https://arxiv.org/abs/2510.09388), [2602.03143](https://arxiv.org/abs/2602.03143)) | a hint: a part of a solution, advice, or a plan of the model's own | for questions that are too hard yet | the student's own, written after the hint | GRPO's |
# | **SDFT** ([2601.19897](https://arxiv.org/abs/2601.19897)) | the model itself, with a demonstration in its prompt | after the student has answered without it | the student's own answer | no reward: the teacher's distribution at every token (a KL divergence) |
# | **SDPO** ([2601.20802](https://arxiv.org/abs/2601.20802)) | the model itself, with feedback or a successful rollout in its prompt | after the rollout | the student's own rollout | how much likelier the informed model finds each token |
#
# The last two turn the problem round: the teacher's text never enters the rollout, only its opinion on what could stand at each place that the
# *student* reached. With the whole vocabulary in the divergence that can push up the first token of a behaviour nobody sampled, a door; what lies
# behind the door comes into view only when the student has begun to go through it. (TRL has both, as `trl.experimental.sdft` and
# `trl.experimental.sdpo`; [07_beyond](07_beyond.ipynb) runs both, and hints and refinements, beside ThinkTuning.)

# %% [markdown]
# ## Quiz
#
# Decide before you open a line: each says what is right or wrong about its choice.

# %%
from thinktuning_lite.lessons.quiz import show_quiz

show_quiz("06")

# %% [markdown]
# ## Where the code is
#
# | here | in the package |
# |---|---|
# | arms, `arm_config`, probes, `ends_with`, `exactly_once`, the grid's command | `experiments/movie_quote.py` |
# | `behaviour_reward`, `correctness_reward` | `method/rewards.py` |
# | `QUOTES`, `TINY_PROMPT`, `INSTRUCT_PROMPT`; `PolicyTeacher` | `method/prompts.py`; `method/policy_teacher.py` |
# | guidance after the first answer | `method/trainer.py` (`guide_after_first_answer`) |
# | `panels_over_steps`, `arms_over_steps` | `views/plots/quote.py` |
# | `LiveView` | `views/live.py` |
# | settings shared with the main job, tables with intervals | `experiments/side_by_side.py`, `classroom/sample.py` |
# | `check.samples_needed` and the other checks | `lessons/checks/quote.py` |
#
# Next: [07_beyond](07_beyond.ipynb), what the paper wishes for, what limits it, and its relatives, tried.
