# Made from 00_start_here.ipynb by python -m thinktuning_lite.lessons.stamp, to read its changes: edit the notebook.

# %% [markdown]
# <!-- badge --><a href="https://colab.research.google.com/github/OWNER/thinktuning_lite/blob/main/notebooks/00_start_here.ipynb"><img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open in Colab"></a>
#
# # Start here: a student that guesses, and a teacher with the same weights
#
# **Claim.** A language model of 0.9 million parameters gets most problems with a product wrong. Asked in another role, *the
# same weights* mend most of its wrong attempts. Yet the student gives the first token of such a second thought a median
# probability below one in ten thousand. You will have measured all three in a minute or two.
#
# **You need to know** Python, and that a language model samples one token after another from a probability distribution.
# No reinforcement learning.
#
# **Time:** 0.3 min, 0.7 GB of memory, on 2 CPU cores without a GPU (measured by the run)

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

# %% [markdown]
# ## The idea in one picture
#
# GRPO (group relative policy optimisation) samples a *group* of rollouts (complete responses) to one question, rewards each by its final answer, and pushes up what did better than the
# group's mean. If all of them are wrong, there is nothing better to push up. **ThinkTuning** (RRV et al., EMNLP 2025,
# [arXiv 2508.07616](https://arxiv.org/abs/2508.07616)) lets a teacher of the student's own size read one of the rollouts and
# write a reflection and a new solution after it. The finished rollout takes the original's place in its group.

# %%
from thinktuning_lite.views import plots

plots.idea()

# %% [markdown]
# ## The walk
#
# Each notebook opens and runs by itself. The last column was measured by the run whose outputs you see.
#
# | notebook | what you see | CPU, minutes |
# |---|---|---|
# | [00_start_here](00_start_here.ipynb) | the student, its failure, the teacher, one guided rollout | 0.3 min |
# | [01_grpo](01_grpo.ipynb) | from a rollout to a gradient; a GRPO loop from scratch; what GRPO cannot do | 2.5 min |
# | [02_teacher_guidance](02_teacher_guidance.ipynb) | the teacher's prompt, parsing, splicing, what guidance does to a group, what it costs | 0.7 min |
# | [03_advantage_aware_shaping](03_advantage_aware_shaping.ipynb) | how to learn from tokens that the student did not sample | 3.2 min |
# | [04_train_lora_4bit](04_train_lora_4bit.ipynb) | the same trainer on a real instruct model, 4-bit with LoRA | 5.9 min |
# | [05_evaluation](05_evaluation.ipynb) | the field's evaluator, twelve methods, intervals, over-thinking | 1.2 min |
# | [06_movie_quote](06_movie_quote.ipynb) | instilling a behaviour nobody would find by sampling | 5.7 min |
# | [07_beyond](07_beyond.ipynb) | the paper's wishes, its limits and its relatives, tried; what gains, what does not | 2.6 min |
#
# **Hardware.** All eight need two CPU cores and the tiny checkpoint that ships with the project, nothing else: no GPU, no
# account, no download. 04 to 06 also hold cells for one GPU (a free Colab T4; 24 GB; more); these are **not measured yet**,
# so no minutes are given for them.

# %% [markdown]
# ## The student solves, and fails
#
# The checkpoint is an ordinary `LlamaForCausalLM`, only small. Its student role was pretrained on careless solutions: sums
# mostly right, products *guessed*. (That is a made-up world, so that checking helps; see `data/tiny_classroom/README.md`.)

# %%
from thinktuning_lite import load_classroom

model, tokenizer = load_classroom()
print(f"{type(model).__name__}: {model.num_parameters():,} parameters, {len(tokenizer)} tokens")

# %% tags=["check"]
#@title Check: fewer than a million parameters
assert model.num_parameters() < 1_000_000

# %%
from thinktuning_lite.classroom.sample import load_tiny_set
from thinktuning_lite.lessons.runtime import steps

problems = load_tiny_set("validation")[: steps(64, 48)]
example = next(problem for problem in problems if problem["product"])
print(example["question"], "\nRight: ", example["chain"])

# %% [markdown]
# A **group** is $G = 8$ responses to one question $q$, sampled from the policy (the model, $\pi_\theta$) at temperature 1, each with a reward:
#
# $$y_1, \dots, y_G \sim \pi_\theta(\cdot \mid q), \qquad r_i = \begin{cases}1 & \text{if the } \texttt{\textbackslash boxed\{\}} \text{ answer of } y_i \text{ is right}\\ 0 & \text{otherwise}\end{cases}$$

# %% [markdown]
# By hand first, on four responses to the example of which only the third ends on the right answer, 36:

# %%
four_answers = ["24", "34", "36", "58"]
four_rewards = [1.0 if answer == "36" else 0.0 for answer in four_answers]
print(four_rewards, "mean", sum(four_rewards) / 4)

# %% [markdown]
# In code, one group after the other in a flat list: `ids` holds $N = 8 \times$ (number of questions) lists of token ids,
# `rewards` the $N$ numbers. Here is the whole test bench, and the group of the question above.

# %%
from thinktuning_lite.classroom.sample import respond, score

GROUP = 8
asked = [problem for problem in problems for _ in range(GROUP)]
ids = respond(model, tokenizer, [row["question"] for row in asked], seed=0)
texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
scores = score(texts, [len(i) for i in ids], [row["answer"] for row in asked])
rewards = [float(right) for right in scores.correct]

# %%
start_of_group = asked.index(example)
for i in range(start_of_group, start_of_group + GROUP):
    print("✓" if rewards[i] else "✗", texts[i])


# %% [markdown]
# Which problems fail? Those with a product.

# %%
def share(values):
    values = list(values)
    return sum(values) / len(values)


with_product = share(r for r, row in zip(rewards, asked) if row["product"])
without = share(r for r, row in zip(rewards, asked) if not row["product"])
print(f"right of {len(rewards)} rollouts: ", end="")
print(f"{without:.0%} without a product, {with_product:.0%} with one")

# %% tags=["check"]
#@title Check: most problems with a product fail, most without succeed
assert with_product < 0.5 < without

# %% [markdown]
# ### Exercise 1 (★☆☆, 4 min)
#
# Where did it slip? Errors are carried on: after one wrong equation, the next may be right in itself and lead nowhere. Write
# `first_wrong(text)`, which returns the first equation of a solution (as text, `"12*3=26"`) that is wrong *in itself*, or `None`.
# `re.findall(r"(\d+)([+*-])(\d+)=(-?\d+)", text)` gives you the equations' parts.

# %% tags=["exercise"]
import re


def first_wrong(text):
    ...  # your code
    return ...


# %% tags=["exercise-check"]
from thinktuning_lite.lessons.checks import start

start.first_wrong(first_wrong)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import re
#
#
# def first_wrong(text):
#     for left, op, right, said in re.findall(r"(\d+)([+*-])(\d+)=(-?\d+)", text):
#         a, b = int(left), int(right)
#         if {"+": a + b, "-": a - b, "*": a * b}[op] != int(said):
#             return f"{left}{op}{right}={said}"
#     return None
# ```
#
# </details>

# %% [markdown]
# ### Exercise 2 (★☆☆, 3 min)
#
# A group teaches only if its rewards differ. Write `useful_groups(groups)`: the share of groups (lists of rewards) whose
# rewards are *not* all equal.

# %% tags=["exercise"]
def useful_groups(groups):
    return ...  # your code


# %% tags=["exercise-check"]
start.useful_groups(useful_groups)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def useful_groups(groups):
#     return sum(min(group) != max(group) for group in groups) / len(groups)
# ```
#
# </details>

# %%
groups = [rewards[i : i + GROUP] for i in range(0, len(rewards), GROUP)]
lost = share(not any(group) for group in groups)
won = share(all(group) for group in groups)
print(f"groups without one right rollout: {lost:.0%}; without one wrong rollout: {won:.0%}")

# %% tags=["check"]
#@title Check: there are groups without one right rollout
assert lost > 0

# %% [markdown]
# ## The second thought that never comes
#
# Could the student not just check its answer? Its solution ends with `\boxed{n}` and then the end-of-sequence token. A second
# thought would begin with a blank line there, one token in this vocabulary. Its probability is one row of a softmax:
#
# $$p(\text{blank line} \mid q, y) = \operatorname{softmax}\bigl(f_\theta(q, y)_T\bigr)_{\text{blank line}}, \qquad f_\theta(q, y) \in \mathbb{R}^{T \times V}$$
#
# with $T$ the tokens of prompt and response and $V$ the vocabulary. By hand, for a vocabulary of four tokens:

# %%
import math

four_logits = {"end": 9.0, "space": 2.0, "digit": 1.0, "blank line": -4.0}
total = sum(math.exp(logit) for logit in four_logits.values())
print({token: f"{math.exp(logit) / total:.1e}" for token, logit in four_logits.items()})

# %% [markdown]
# 13 below the largest logit is two in a million: a softmax never says 0, but it can say *hardly ever*. The function below gives
# the probability of *every* token of a continuation after a chat prompt; the last one is ours.

# %%
import torch


@torch.no_grad()
def token_probabilities(messages, ids):
    # Probability of each of `ids` (T numbers) after the chat `messages` and the ids before it: (T,)
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    before = tokenizer.encode(prompt, add_special_tokens=False)
    logits = model(torch.tensor([before + ids])).logits[0, len(before) - 1 : -1]
    return logits.softmax(-1).gather(1, torch.tensor(ids).unsqueeze(1)).squeeze(1)


# %%
[BLANK_LINE] = tokenizer.encode("\n\n", add_special_tokens=False)
EOS = tokenizer.eos_token_id


def student_messages(i):
    return [{"role": "user", "content": asked[i]["question"]}]


def at_the_end(messages, i, token):
    # Probability of `token` where rollout i ended
    return token_probabilities(messages, ids[i][:-1] + [token])[-1].item()


# %%
ended = [i for i in range(0, len(ids), GROUP) if ids[i][-1] == EOS]  # one rollout of each question
student_p = [at_the_end(student_messages(i), i, BLANK_LINE) for i in ended]
stop_p = [at_the_end(student_messages(i), i, EOS) for i in ended]

# %% [markdown]
# Is it that the model *cannot* reflect? The same weights also know a prompt with the system message "check your work". The
# same solutions, the same token, only that message in front:

# %%
from thinktuning_lite.classroom.turns import checker_messages

checker_p = [
    at_the_end(checker_messages(asked[i]["question"]), i, BLANK_LINE) for i in ended
]
plots.log_probability_strip(
    {"the student": student_p, "asked to check": checker_p},
    "probability of a blank line after the answer",
)

# %% tags=["check"]
#@title Check: below 1 in 10,000 for the student, above 1 in 2 for the checker
from statistics import median

assert median(student_p) < 1e-4 and median(checker_p) > 0.5 and median(stop_p) > 0.9


# %% [markdown]
# The ability is in the weights, behind a token that the student role does not sample. Reinforcement learning rewards
# what was sampled.

# %% [markdown]
# ### Exercise 3 (★★☆, 4 min)
#
# Write `seen_once(p, n)`: the chance that `n` independent rollouts show an event of probability `p` at least once.

# %% tags=["exercise"]
def seen_once(p, n):
    return ...  # your code


# %% tags=["exercise-check"]
start.seen_once(seen_once)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def seen_once(p, n):
#     return 1 - (1 - p) ** n
# ```
#
# </details>

# %%
rare = median(student_p)
needed = math.log(0.5) / math.log1p(-rare)
print(f"At p = {rare:.1e}, {needed:,.0f} rollouts for an even chance of one:")
print(f"{needed / 128:,.0f} steps of 128 rollouts.")
print(f"Sampled above: {len(texts)} rollouts,", sum(scores.reflection), "with a word of reflection")
print(*[text for text, says in zip(texts, scores.reflection) if says], sep="\n", end="")

# %% tags=["check"]
#@title Check: more than 50 steps of 128 rollouts; fewer than 2 % reflect
assert needed > 128 * 50 and share(scores.reflection) < 0.02

# %% [markdown]
# ## The same weights as teacher
#
# Now a third prompt. The *teacher role* gets the question, the student's attempt and the name of a behaviour, and replies
# with an opinion, a reason in the first person, and a phrase that works the problem out to a final answer. Notebook 02 opens
# every part of this; here is one reply in full, to the first wrong attempt at our example.

# %%
attempt = r"23*4=82. \boxed{82}"
reason = "Wait, 23*4=82 looks wrong to me."
phrase = r"Again: 20*4=80. 3*4=12. 80+12=92. \boxed{92}"
print(attempt, reason, phrase, sep="\n\n")  # a guided rollout

# %% [markdown]
# That is the form, written by hand. Now the model writes it.

# %%
from thinktuning_lite import PolicyTeacher
from thinktuning_lite.method.prompts import BEHAVIOURS, TINY_PROMPT
from thinktuning_lite.method.teacher import GuidanceRequest

teacher = PolicyTeacher(model, tokenizer, TINY_PROMPT, max_new_tokens=160)


def request(i, behaviour):
    return GuidanceRequest(asked[i]["question"], texts[i], behaviour)


# %%
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.grading import is_correct


def mended(guidance, answer):
    return guidance is not None and is_correct(extract_answer(guidance.phrase), answer)


# %%
from thinktuning_lite.method.teacher import parse_guidance

whole = [i for i in range(len(ids)) if ids[i][-1] == EOS]
failed = [i for i in whole if asked[i]["product"] and not rewards[i]][:16]
first_replies = zip(failed, teacher([request(i, "self-conflict") for i in failed]))
chosen, reply = next(
    (i, r) for i, r in first_replies if mended(parse_guidance(r), asked[i]["answer"])
)
print("Question:", asked[chosen]["question"], "\nAttempt: ", texts[chosen], "\nTeacher: ", reply)

# %% [markdown]
# One success proves little. The teacher reads one attempt at each question (right or wrong, it is not told):

# %%
requests = [request(i, BEHAVIOURS[n % 4]) for n, i in enumerate(ended)]
guidance = [parse_guidance(r) for r in teacher(requests)]
ends_right = {i: mended(g, asked[i]["answer"]) for i, g in zip(ended, guidance)}

student_right, teacher_right = share(rewards[i] for i in ended), share(ends_right.values())
wrong = [i for i in ended if not rewards[i]]
mends = share(ends_right[i] for i in wrong)
print(f"right: {student_right:.0%} of the attempts, {teacher_right:.0%} after the teacher")
print(f"of {len(wrong)} wrong attempts it mends {mends:.0%}")

# %% tags=["check"]
#@title Check: the teacher mends more than half of the wrong attempts
assert teacher_right > student_right + 0.2 and mends > 0.5

# %% [markdown]
# **Splice.** The student's tokens without their EOS, then the teacher's reason and phrase, then EOS. Every token keeps its
# author: those underlined with dashes the teacher wrote, the others the student sampled. The darker a token, the less likely the
# *student* finds it; the number is the probability that it gives the token.

# %%
from thinktuning_lite.method.teacher import splice

said = parse_guidance(reply)
taught = tokenizer.encode(said.text, add_special_tokens=False)
spliced, author = splice(ids[chosen], taught, [EOS], max_length=320)
spliced_p = token_probabilities(student_messages(chosen), spliced).tolist()

# %%
entry = author.index(1)
later = median(spliced_p[entry + 1 :])
print(f"first taught token: p = {spliced_p[entry]:.1e}; median of those after it: {later:.2f}")
plots.token_strip(
    [tokenizer.decode([i]) for i in spliced], spliced_p, author, "one guided rollout"
)

# %% tags=["check"]
#@title Check: the first taught token is a blank line and rare; the rollout ends on the right answer
assert spliced[entry] == BLANK_LINE and spliced_p[entry] < 1e-2
final_text = tokenizer.decode(spliced, skip_special_tokens=True)
assert extract_answer(final_text) == asked[chosen]["answer"]

# %% [markdown]
# One door is shut. Behind it the student knows its way: once the first taught token stands there, it finds nearly all the others likely. How to push such a token, for which no importance ratio exists, is the subject of notebook 03.

# %% tags=["check"]
#@title Check: half of the taught tokens after the first have p > 0.5
assert later > 0.5


# %% [markdown]
# ### Exercise 4 (★☆☆, 3 min)
#
# Guided rollouts count in the group's mean reward. Write `expected_reward(s, t, G, k)`: the expected mean reward of a group of
# `G` rollouts of which `k` are guided, when an own rollout is right with probability `s` and a guided one with probability `t`.

# %% tags=["exercise"]
def expected_reward(s, t, G, k):
    return ...  # your code


# %% tags=["exercise-check"]
start.expected_reward(expected_reward)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def expected_reward(s, t, G, k):
#     return ((G - k) * s + k * t) / G
# ```
#
# </details>

# %%
one_guided = ((GROUP - 1) * student_right + teacher_right) / GROUP
print(f"mean reward of a group of {GROUP} before any training: {student_right:.2f}")
print(f"with one guided: {one_guided:.2f}")

# %% [markdown]
# So a reward curve under guidance is not the student's progress. Judge a run by what is left when the teacher is gone.

# %% [markdown]
# ## Quiz
#
# Decide before you open a line: each says what is right or wrong about its choice.

# %%
from thinktuning_lite.lessons.quiz import show_quiz

show_quiz("00")

# %% [markdown]
# ## Where the code is
#
# | here | in the package, `thinktuning_lite/` |
# |---|---|
# | `load_classroom` | `classroom/load.py`; the script that made the checkpoint is `classroom/make.py` |
# | `respond`, `score`, `load_tiny_set` | `classroom/sample.py`; the problems themselves are `classroom/problems.py` |
# | `extract_answer`, `is_correct` | `method/answers.py`, `method/grading.py` |
# | `PolicyTeacher`, its prompts | `method/policy_teacher.py`, `method/prompts.py` |
# | `parse_guidance`, `splice` | `method/teacher.py` |
# | `idea`, `token_strip`, `log_probability_strip` | `views/plots/` |
# | `start.first_wrong` and the other checks | `lessons/checks/start.py` |
#
# Next: [01_grpo](01_grpo.ipynb), from such a group to a gradient.
