# Made from 01_grpo.ipynb by python -m thinktuning_lite.lessons.stamp, to read its changes: edit the notebook.

# %% [markdown]
# <!-- badge --><a href="https://colab.research.google.com/github/OWNER/thinktuning_lite/blob/main/notebooks/01_grpo.ipynb"><img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open in Colab"></a>
# # 01 · GRPO: from a rollout to a gradient
#
# **Claim.** In a minute or two on two CPU cores, a GRPO loop of under a hundred lines, all that it calls included, makes a small language model
# right several points more often, and among the thousands of responses it samples before, during and after, not one goes back over
# its answer.
#
# **You need to know** what a language model's next-token probability is and what `loss.backward()` does. Of reinforcement
# learning you need nothing. [00_start_here](00_start_here.ipynb) shows the student that is trained here.
#
# **Time:** 2.5 min, 1.8 GB of memory, on 2 CPU cores without a GPU (measured by the run)

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
import math
import random
import re

import pandas as pd
import torch

from thinktuning_lite.lessons.checks import grpo as check
from thinktuning_lite.lessons.runtime import smoke, steps
from thinktuning_lite.method import grpo
from thinktuning_lite.views import plots

# %%
from transformers.utils import logging as transformers_logging

from thinktuning_lite import load_classroom
from thinktuning_lite.classroom.sample import load_tiny_set

transformers_logging.disable_progress_bar()
student, tokenizer = load_classroom()
train_rows, validation_rows = load_tiny_set("train"), load_tiny_set("validation")

# %% [markdown]
# ## 1 · One question, eight answers
#
# GRPO asks the same question several times. Each answer is a **rollout** (completion), sampled at temperature 1; all
# rollouts of one question are a **group** of size $G$. The program that checks the final answer gives each rollout a
# **reward**: 1 if right, else 0. No other judge is involved.
#
# | symbol | meaning |
# |---|---|
# | $G$, $N$ | rollouts of one question; rollouts in a batch ($N$ = questions × $G$) |
# | $P$, $T$ | tokens of the longest prompt, of the longest completion |
# | `ids`, `attention` | $(N, P+T)$: prompts padded on the left, completions on the right; 0 where padded |
# | `mask` | $(N, T)$: 1 on the tokens of a completion, its end-of-turn token included |

# %%
from dataclasses import dataclass


@dataclass
class Rollouts:
    """`questions` x `group` completions: ids and attention (N, P + T), mask (N, T), N texts."""

    ids: torch.Tensor
    attention: torch.Tensor
    mask: torch.Tensor
    texts: list[str]


# %%
def prompt_batch(questions):
    """The chat prompts as the model reads them, padded on the left: input_ids, attention_mask."""
    chats = [[{"role": "user", "content": question}] for question in questions]
    prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    settings = dict(padding=True, padding_side="left", add_special_tokens=False)
    return tokenizer(prompts, return_tensors="pt", **settings)


# %%
@torch.no_grad()
def sample(policy, questions, group=8, max_new_tokens=64):
    """`group` completions of each question at temperature 1, one question's next to each other."""
    prompts = prompt_batch([question for question in questions for _ in range(group)])
    as_it_is = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0)  # nothing cut off
    ids = policy.generate(**prompts, max_new_tokens=max_new_tokens, **as_it_is)
    completions = ids[:, prompts["input_ids"].shape[1] :]
    ends = (completions == tokenizer.eos_token_id).long()
    mask = (ends.cumsum(1) - ends == 0).long()  # up to the first end-of-turn token, and it
    attention = torch.cat([prompts["attention_mask"], mask], 1)
    texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
    return Rollouts(ids, attention, mask, texts)


# %% [markdown]
# The reward, by hand on four texts to a question whose answer is 40; what counts is the *last* box, and no box is no answer:

# %%
four_texts = [
    r"24*2=48. 48-8=40. \boxed{40}", r"\boxed{42}", r"\boxed{42} No: \boxed{40}", "24*2=48. 48-8",
]
boxes = [re.findall(r"\\boxed\{(.*?)\}", text) for text in four_texts]
print(boxes, "->", [1.0 if box[-1:] == ["40"] else 0.0 for box in boxes])

# %%
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.grading import is_correct


def reward(texts, answers):
    """(N,) 1.0 where the final answer, the content of the last \\boxed{}, is right, else 0.0."""
    right = [is_correct(extract_answer(t), a) for t, a in zip(texts, answers, strict=True)]
    return torch.tensor([float(r) for r in right])


# %%
torch.manual_seed(0)
asked = train_rows[:8]
rollouts = sample(student, [row["question"] for row in asked])
answers = [row["answer"] for row in asked for _ in range(8)]
rewards = reward(rollouts.texts, answers)

# %%
right = rewards.view(8, 8).sum(1)  # of each group's eight
g = int((right - 3).abs().argmin())  # a group in which about three are right
group = slice(8 * g, 8 * g + 8)
print(asked[g]["question"], "->", asked[g]["answer"], "\n")
for text, r in zip(rollouts.texts[group], rewards[group]):
    print(f"reward {r:.0f}   {text}")

# %%
from thinktuning_lite import correctness_reward

assert rewards.tolist() == correctness_reward(rollouts.texts, answers)  # the package's is the same

# %%
mixed = (right > 0) & (right < 8)
print("right of eight, for each of the 8 questions:", right.int().tolist())
print(f"{mixed.float().mean():.0%} of the groups hold both right and wrong answers")

# %% tags=["check"]
#@title Check: some groups are mixed, and no completion is over the budget
assert mixed.any() and (rollouts.mask.sum(1) <= 64).all()

# %% [markdown]
# ## 2 · Advantage: better or worse than the rest of the group
#
# A reward of 1 says little: on an easy question every answer earns it. The **group-relative advantage** compares a rollout
# with the others of its group:
#
# $$A_i = \frac{r_i - \operatorname{mean}(r_1,\dots,r_G)}{\operatorname{std}(r_1,\dots,r_G) + \varepsilon},\qquad \varepsilon = 10^{-4}$$
#
# The group's mean plays the part that a learned value function plays in PPO, for free. Convention, once and for all: std is the
# *sample* standard deviation (divided by $G-1$), as in TRL. **Dr. GRPO** leaves the division out. By hand, one right of four:

# %%
four = [1.0, 0.0, 0.0, 0.0]
mean = sum(four) / 4  # 0.25
std = math.sqrt(sum((r - mean) ** 2 for r in four) / (4 - 1))  # 0.5
print(mean, std, [(r - mean) / std for r in four])


# %%
def advantages(rewards, group, eps=1e-4):
    """(N,) rewards, groups in a row -> (N,) group-relative advantages."""
    groups = rewards.view(-1, group)
    return ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + eps)).flatten()


A = advantages(rewards, 8)
assert torch.equal(A, grpo.group_advantages(rewards, 8))  # the package's is the same
plots.group_bars(rewards[group].tolist(), A[group].tolist())

# %% tags=["check"]
#@title Check: what one rollout gains the others of its group pay
assert A.view(8, 8).sum(1).abs().max() < 1e-5

# %% [markdown]
# Toy cases first, before any model is involved. *All truncated* means that no rollout reached its final answer within the
# token budget: nothing to extract, every reward 0.

# %%
cases = {"one right of four": [1, 0, 0, 0], "one wrong": [1, 1, 1, 0], "all right": [1, 1, 1, 1]}
toys = {name: torch.tensor(r, dtype=torch.float) for name, r in cases.items()}
cut = sample(student, [asked[0]["question"]], group=4, max_new_tokens=5)
toys["all truncated"] = reward(cut.texts, [asked[0]["answer"]] * 4)


# %%
def signed(values):
    return " ".join(f"{v:+.2f}" for v in values)


def dr_grpo(rewards):
    return grpo.group_advantages(rewards, 4, scale="none")


pd.DataFrame({
    "rewards": {name: signed(r) for name, r in toys.items()},
    "GRPO": {name: signed(advantages(r, 4)) for name, r in toys.items()},
    "Dr. GRPO": {name: signed(dr_grpo(r)) for name, r in toys.items()},
})

# %% tags=["check"]
#@title Check: equal rewards, no comparison: advantage 0, whatever the reward was
for name in ("all right", "all truncated"):
    assert torch.equal(advantages(toys[name], 4), torch.zeros(4))

# %% [markdown]
# The two conventions matter more than they look. With the population std (divided by $G$) every advantage would be
# $\sqrt{G/(G-1)}$ times as large, which is like another learning rate. $\varepsilon$ changes nothing for 0/1 rewards, but it keeps
# rewards that differ by noise from being blown up to full size.

# %%
one = torch.tensor([1.0, 0, 0, 0])
with_eps, without = advantages(one, 4)[0], advantages(one, 4, eps=0.0)[0]
print(f"0/1 rewards:  A = {with_eps:.4f} with eps, {without:.4f} without")

noise = torch.tensor([0.50000, 0.50002, 0.50001, 0.50003], dtype=torch.float64)
small, full = advantages(noise, 4).max(), advantages(noise, 4, eps=0.0).max()
print(f"noise of 1e-5: A = {small:.2f} with eps, {full:.2f} without")

# %% tags=["check"]
#@title Check: the two standard deviations, and what epsilon does
sample_std, population_std = one.std(), one.std(correction=0)
assert math.isclose(sample_std, 0.5)
assert math.isclose(population_std, math.sqrt(3) / 4, rel_tol=1e-6)
assert math.isclose(sample_std / population_std, math.sqrt(4 / 3), rel_tol=1e-6)
assert abs(with_eps / without - 1) < 1e-3 and small < 0.2 * full

# %%
plots.advantage_by_rightness(group_size=8)


# %% [markdown]
# ### Exercise 1 (★★☆, 5 min)
#
# $k$ of $G$ rollouts are right, $0<k<G$, rewards are 0/1, $\varepsilon = 0$. Write the advantage of a *right* one as a formula, without building the
# group. (Mean, then the sum of squares, then the sample std.)

# %% tags=["exercise"]
def advantage_of_right(k, group_size):
    ...  # your code


# %% tags=["exercise-check"]
check.advantage_of_right(advantage_of_right)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# The squares sum to $k(1-\frac kG)^2 + (G-k)(\frac kG)^2 = \frac{k(G-k)}{G}$.
#
# ```python
# def advantage_of_right(k, group_size):
#     std = math.sqrt(k * (group_size - k) / (group_size * (group_size - 1)))
#     return (1 - k / group_size) / std
# ```
# </details>

# %% [markdown]
# ## 3 · From advantage to gradient
#
# The policy gradient says: raise the log-probability of what went better than expected, lower that of what went worse. Every
# token of a rollout carries its rollout's advantage. In code the weight of a token is written as an **importance ratio**
#
# $$\rho_{i,t} = \frac{\pi_\theta(y_{i,t}\mid x, y_{i,<t})}{\pi_{\text{old}}(y_{i,t}\mid x, y_{i,<t})},\qquad
# \ell_{i,t} = -\rho_{i,t}\,A_i,$$
#
# where $x$ is the question (with its prompt) and $\pi_\text{old}$ the policy that sampled. Right after sampling the two are the same and every ratio is 1. Its gradient is not
# 0: $\nabla\rho = \rho\,\nabla\log\pi$. By hand, for four sampled tokens with $A=1$: a softmax raises its token's own logit by $A\,(1-p)$, so

# %%
for token_p in (0.999, 0.9, 0.5, 0.01):
    print(f"p = {token_p:<5g}  ratio 1, loss -1, push on the token's logit {1 - token_p:.3f}")


# %%
def token_logps(policy, rollouts):
    """(N, T) log pi(token | what precedes it) of the completions' tokens; gradients flow."""
    T = rollouts.mask.shape[1]
    # The logits at position t speak about token t + 1: take those from the last prompt token on.
    inputs = dict(input_ids=rollouts.ids, attention_mask=rollouts.attention)
    logits = policy(**inputs, logits_to_keep=T + 1).logits[:, :-1]
    return logits.log_softmax(-1).gather(-1, rollouts.ids[:, -T:, None]).squeeze(-1)


logps = token_logps(student, rollouts)
certain = (logps[rollouts.mask.bool()].exp() > 0.9).float().mean()
print(f"{certain:.0%} of all sampled tokens had a probability above 0.9")

# %%
row = 8 * g + int(rewards[group].argmin())  # a wrong answer of the group above
n = int(rollouts.mask[row].sum())
tokens = [tokenizer.decode([i]) for i in rollouts.ids[row, -rollouts.mask.shape[1] :][:n]]
plots.token_strip(
    tokens, logps[row, :n].exp().tolist(), [0] * n, f"a rollout of advantage {A[row]:+.2f}"
)

# %% tags=["check"]
#@title Check: most sampled tokens are near certain
assert certain > 0.7

# %% [markdown]
# Most tokens are near certain, and with probability 1 there is nothing to push, $\nabla\log\pi \approx 0$. The gradient falls on the few tokens where
# the student really chose. Averaged over each rollout's tokens and then over rollouts, the loss is:

# %%
now = token_logps(student, rollouts)
ratio = torch.exp(now - now.detach())
per_token = -ratio * A[:, None]
loss = ((per_token * rollouts.mask).sum(1) / rollouts.mask.sum(1)).mean()
to_logps, *to_weights = torch.autograd.grad(loss, [now, *student.parameters()])
norm = torch.stack([gradient.norm() for gradient in to_weights]).norm()
print(f"loss {loss.item():+.1e}, norm of its gradient {norm:.3f}")

# %%
by_hand = -A[:, None] * rollouts.mask / rollouts.mask.sum(1, keepdim=True) / len(A)
torch.testing.assert_close(to_logps, by_hand)  # at first GRPO is the plain policy gradient
assert (ratio == 1).all() and abs(loss.item()) < 1e-6 and norm > 0.05

# %% [markdown]
# **"My loss is 0. Is it broken?"** No. On the first iteration the loss *value* is minus the mean advantage, and advantages sum to 0 in
# every group. Only the gradient tells.

# %% [markdown]
# **All of it in one view.** The *inspector*: choose a group, hover a token (or move to it by Tab and the arrow keys) to read its
# probability, advantage and gradient. Colour by *gradient size*: it lights up only where the student really chose. Set *Advantage
# divided by* to *none* for Dr. GRPO. (Without a kernel a still picture stands in: one group, one rollout; ignore the weight, it belongs to notebook 03.)

# %%
from thinktuning_lite import Inspector
from thinktuning_lite.method.rollouts import Rollout


def logged(i):
    """Rollout i of the batch as a training would log it: nobody guided it, every weight is 1."""
    ids = rollouts.ids[i, -rollouts.mask.shape[1] :][rollouts.mask[i].bool()].tolist()
    return Rollout(
        step=0, group=i // 8, question=asked[i // 8]["question"], text=rollouts.texts[i],
        token_ids=ids, author=[0] * len(ids), logps=logps[i, : len(ids)].tolist(),
        weights=[1.0] * len(ids), reward=rewards[i].item(), advantage=A[i].item(),
    )


Inspector([logged(i) for i in range(64)], tokenizer).select(0, g)

# %% [markdown]
# ## 4 · Clip: how far one batch may move a token
#
# Sampling is slow, so one may want to take several gradient steps (*iterations*) on a batch. Then $\pi_\theta$ drifts away from $\pi_\text{old}$, and the ratios
# from 1. The clip ends a token's push once its ratio has left $[1-\epsilon, 1+\epsilon]$ in the direction of the push (this $\epsilon$ is not the $\varepsilon$ of section 2):
#
# $$\ell_{i,t} = -\min\bigl(\rho_{i,t} A_i,\ \operatorname{clip}(\rho_{i,t}, 1-\epsilon, 1+\epsilon)\,A_i\bigr),\qquad \epsilon = 0.2$$

# %%
plots.clip_objective(epsilon=0.2)


# %%
def grpo_loss(logps, old, A, mask, epsilon=0.2):
    """Clipped: logps, old, mask (N, T), A (N,); mean over each rollout's tokens, then rollouts."""
    ratio, A = torch.exp(logps - old), A[:, None]
    per_token = -torch.min(ratio * A, ratio.clamp(1 - epsilon, 1 + epsilon) * A)
    return ((per_token * mask).sum(1) / mask.sum(1)).mean()


# %% [markdown]
# Four iterations on the batch above. The package's `grpo_loss` is the same function, with more ways to aggregate:

# %%
def iterate(policy, iterations=4, learning_rate=1e-4):
    """Several steps on the batch above, in place; a row a step."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    old, rows = logps.detach(), []
    for _ in range(iterations):
        now = token_logps(policy, rollouts)
        loss = grpo_loss(now, old, A, rollouts.mask)
        torch.testing.assert_close(loss, grpo.grpo_loss(now, old, A, rollouts.mask))
        ratios = torch.exp(now - old).detach()
        clipped = grpo.clip_fraction(ratios, A, rollouts.mask).item()
        active = ratios[rollouts.mask.bool()]
        rows.append((loss.item(), active.min().item(), active.max().item(), clipped))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return pd.DataFrame(rows, columns=["loss", "smallest ratio", "largest ratio", "clipped"])


# %%
moved = copy.deepcopy(student)
iterations = iterate(moved)
iterations.index = pd.RangeIndex(1, 5, name="iteration")
iterations.map("{:.3g}".format)

# %% tags=["check"]
#@title Check: iteration 1 clips nothing, for every ratio is 1; iteration 2 clips
assert math.isclose(iterations["largest ratio"][1], 1, rel_tol=1e-4)
assert iterations["clipped"][1] == 0 < iterations["clipped"][2]


# %% [markdown]
# On iteration 1 nothing can be clipped: every ratio is 1. From iteration 2 on it fires (with a learning rate raised on
# purpose). The main run below takes one iteration a batch, so there the clip is idle. In the ThinkTuning authors' run it can act: they
# make four updates, each on a quarter of the rollouts, before they sample anew.

# %% [markdown]
# ### Exercise 2 (★★☆, 6 min)
#
# Write $\partial\ell/\partial\log\pi_\theta$ of one token from its ratio, its advantage and $\epsilon$, without autograd. When exactly is it 0?

# %% tags=["exercise"]
def clip_slope(ratio, advantage, epsilon):
    ...  # your code


# %% tags=["exercise-check"]
check.clip_slope(clip_slope)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def clip_slope(ratio, advantage, epsilon):
#     gone_far_enough = ratio > 1 + epsilon if advantage > 0 else ratio < 1 - epsilon
#     return 0.0 if gone_far_enough else -ratio * advantage
# ```
# </details>

# %% [markdown]
# ## 5 · KL: how far from the start
#
# Many runs add $\beta\,\mathrm{KL}(\pi_\theta\,\|\,\pi_\text{ref})$ to the loss, to keep the policy near a frozen reference. Summing over the vocabulary is dear for a large
# model, so the KL is estimated from the sampled token alone, with $p$ its probability under the policy and $q$ under the reference ($\mathrm{KL}=\sum_v p_v\log(p_v/q_v)$ over all tokens $v$, 0 if and only if the two agree):
#
# $$k_1 = \log\frac pq \qquad k_2 = \tfrac12\Bigl(\log\frac pq\Bigr)^2 \qquad k_3 = \frac qp - \log\frac qp - 1$$

# %%
plots.kl_estimators()

# %% [markdown]
# Our vocabulary is small, so nothing need be sampled: mean and spread of each estimator are sums over the vocabulary. Reference = the student; two
# policies, the one that the four iterations above *moved far*, and one *moved near*, a tenth of the way there.

# %%
near = copy.deepcopy(student)
with torch.no_grad():
    for weight, end in zip(near.parameters(), moved.parameters()):
        weight.lerp_(end, 0.1)


@torch.no_grad()
def log_probabilities(policy):
    """(M, V) log-probabilities of the whole vocabulary at the M active positions of `rollouts`."""
    inputs = dict(input_ids=rollouts.ids, attention_mask=rollouts.attention)
    logits = policy(**inputs, logits_to_keep=rollouts.mask.shape[1] + 1).logits[:, :-1]
    return logits.double().log_softmax(-1)[rollouts.mask.bool()]


# %%
log_q = log_probabilities(student)
ESTIMATORS = {"k1": grpo.kl_k1, "k2": grpo.kl_k2, "k3": grpo.kl_k3}


def judge(estimator, log_p):
    p = log_p.exp()
    exact = (p * (log_p - log_q)).sum(1).mean()
    values = estimator(log_p, log_q)  # (M, V): what it says, should this token be the sampled one
    mean = (p * values).sum(1).mean()
    std = ((p * values**2).sum(1).mean() - mean**2).sqrt()
    said = {"exact KL": exact, "mean / exact": mean / exact}
    said |= {"std of one token / exact": std / exact, "smallest": values.min()}
    return {key: value.item() for key, value in said.items()}


# %%
log_p = {"near": log_probabilities(near), "far": log_probabilities(moved)}
estimates = pd.DataFrame({
    (where, name): judge(estimator, log_p[where])
    for where in log_p for name, estimator in ESTIMATORS.items()
}).T
estimates.map("{:.3g}".format)

# %%
noise_of = estimates["std of one token / exact"]
lead = {where: noise_of[where, "k1"] / noise_of[where, "k3"] for where in ("near", "far")}
print(f"the noise of k1 is {lead['near']:.1f} times that of k3 near the reference,", end=" ")
print(f"{lead['far']:.1f} times far from it")

# %% tags=["check"]
#@title Check: k1 and k3 are unbiased, k2 is not; k1 can be negative; k3's lead is lost far away
mean_of, smallest = estimates["mean / exact"], estimates["smallest"]
for where in ("near", "far"):
    assert abs(mean_of[where, "k1"] - 1) < 1e-6 and abs(mean_of[where, "k3"] - 1) < 1e-6
    assert smallest[where, "k1"] < 0 and min(smallest[where, "k2"], smallest[where, "k3"]) > -1e-9
assert abs(mean_of["far", "k2"] - 1) > 1e-3
assert lead["near"] > 3 and lead["far"] < lead["near"] / 2

# %% [markdown]
# As an *estimate* near the reference, $k_3$ is the best of the three: unbiased, and quiet. Far from it the lead is lost: a token that the policy has made
# rare has a huge $q/p$, seldom sampled and then large. As a *loss* each does something else again, because `backward()` does not differentiate the sampling. The mean gradients,
# by summing over the vocabulary:

# %%
most_moved = int((log_p["far"].exp() * (log_p["far"] - log_q)).sum(1).argmax())
reference = log_q[most_moved]


def gradient_of(loss):
    """The gradient of loss(log-probabilities) on the logits, at the position that moved most."""
    logits = log_p["far"][most_moved].clone().requires_grad_()
    return torch.autograd.grad(loss(logits.log_softmax(0)), logits)[0]


def mean_gradient(estimator):
    return gradient_of(lambda lp: (lp.exp().detach() * estimator(lp, reference)).sum())


# %%
k1, k2, k3 = map(mean_gradient, ESTIMATORS.values())
forward = gradient_of(lambda lp: (lp.exp() * (lp - reference)).sum())  # KL(policy || reference)
reverse = gradient_of(lambda lp: (reference.exp() * (reference - lp)).sum())  # the other way
assert k1.abs().max() < 1e-12  # k1 as a loss: pure noise around 0
torch.testing.assert_close(k2, forward)
torch.testing.assert_close(k3, reverse)  # GRPO's k3 pulls by the other KL
assert (forward - reverse).abs().max() > 1e-6

# %% [markdown]
# So $k_1$ as a loss does nothing, $k_2$ pulls by $\mathrm{KL}(\pi_\theta\|\pi_\text{ref})$, and GRPO's $k_3$ by $\mathrm{KL}(\pi_\text{ref}\|\pi_\theta)$. The authors' run has
# $\beta = 0$, as TRL's default: no reference model in memory. So has ours.

# %% [markdown]
# ## 6 · Aggregation: from token losses to one number
#
# With $L_i$ tokens in rollout $i$ of $B$:
#
# | `how` | loss of the batch | used by |
# |---|---|---|
# | `grpo` (by sequence) | $\frac1B\sum_i\frac1{L_i}\sum_t \ell_{i,t}$ | the GRPO paper |
# | `dapo` (by token) | $\sum_i\sum_t \ell_{i,t} \big/ \sum_i L_i$ | DAPO; TRL's default |
# | `dr_grpo` (by a constant) | $\sum_i\sum_t \ell_{i,t} \big/ (B \cdot \text{budget})$ | Dr. GRPO |
#
# By hand, on four token losses:

# %%
losses = [[0.4], [0.1, 0.1, 0.1]]  # four token losses: a completion of 1 token, one of 3; budget 4
by_sequence = (0.4 / 1 + 0.3 / 3) / 2
by_token = (0.4 + 0.3) / (1 + 3)
by_constant = (0.4 + 0.3) / (2 * 4)
print(f"grpo {by_sequence:.4f}   dapo {by_token:.4f}   dr_grpo {by_constant:.4f}")

# %%
padded, real = torch.tensor([[0.4, 0, 0], [0.1, 0.1, 0.1]]), torch.tensor([[1, 0, 0], [1, 1, 1]])
for how, by_pen in {"grpo": by_sequence, "dapo": by_token, "dr_grpo": by_constant}.items():
    ours = grpo.aggregate(padded, real, how, max_completion_length=4)
    assert math.isclose(ours.item(), by_pen, rel_tol=1e-6)  # the package's are the same

# %% [markdown]
# By sequence, a long wrong answer spreads its blame over many tokens, and a short right one concentrates its praise. What that does to length
# shows in a toy with an exact answer: a policy ends with probability $s$ at each token, so its lengths are geometric with mean
# $1/s$; one $s$ for right answers ($A=+1$), one for wrong ones ($A=-1$). Nothing rewards length. The expected gradient is summed exactly:

# %%
from torch.nn.functional import logsigmoid

LENGTHS = torch.arange(1, 2001, dtype=torch.float64)


def expected_objective(logit, weight):
    """Sum over lengths of p(length) weight A log p(length); A = +1 in row one, -1 in row two."""
    signs = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    logp = (LENGTHS - 1) * logsigmoid(-logit) + logsigmoid(logit)  # s = sigmoid(logit)
    return (logp.exp().detach() * weight * signs * logp).sum()


# %%
def mean_lengths(weight, updates=60, start=20.0, learning_rate=0.1):
    """Mean length of right and of wrong answers over exact gradient-ascent updates of the toy."""
    logit = torch.full((2, 1), -math.log(start - 1), dtype=torch.float64)
    history = []
    for _ in range(updates):
        history.append(1 / logit.sigmoid().flatten())
        logit.requires_grad_()
        step = torch.autograd.grad(expected_objective(logit, weight), logit)[0]
        logit = (logit + learning_rate * step).detach()
    return dict(zip(("right", "wrong"), torch.stack(history, 1).tolist()))


# %%
constant = torch.full_like(LENGTHS, 1 / 20)
drift = {
    "by sequence": mean_lengths(1 / LENGTHS), "by token, or by a constant": mean_lengths(constant)
}
for how, both in drift.items():
    print(f"{how}: right 20 -> {both['right'][-1]:.1f}, wrong 20 -> {both['wrong'][-1]:.1f} tokens")
plots.length_drift(drift)

# %% tags=["check"]
#@title Check: by sequence, right answers grow shorter and wrong ones longer; else neither moves
sequence, token = drift.values()
assert sequence["right"][-1] < 19 and sequence["wrong"][-1] > 21
assert abs(token["right"][-1] - 20) < 1e-3 and abs(token["wrong"][-1] - 20) < 1e-3


# %% [markdown]
# The reason in one line: the expected push on the end-of-turn logit is $A\,\mathbb E[w_L(1 - sL)]$, which is 0 for a constant weight ($\mathbb E L = 1/s$) and
# $A\,(\mathbb E[1/L] - s) \ne 0$ for $w_L = 1/L$. The loop below uses `grpo`, as the GRPO paper does; its answers are short, so little drift is to be expected. The
# ThinkTuning authors' run takes the mean over tokens, the row `dapo`: there a guided rollout, which is longer, weighs more.

# %% [markdown]
# ### Exercise 3 (★★☆, 5 min)
#
# A batch has completions of `lengths` tokens. Write the weight of one token of a completion of `length` tokens in the batch's loss,
# $\partial\,\text{loss}/\partial\ell_{i,t}$, for each `how`.

# %% tags=["exercise"]
def token_weight(length, lengths, how, budget):
    ...  # your code: how is "grpo", "dapo" or "dr_grpo"


# %% tags=["exercise-check"]
check.token_weight(token_weight)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def token_weight(length, lengths, how, budget):
#     if how == "grpo":
#         return 1 / (len(lengths) * length)
#     if how == "dapo":
#         return 1 / sum(lengths)
#     return 1 / (len(lengths) * budget)
# ```
# </details>

# %% [markdown]
# ## 7 · The loop
#
# Everything above, in order: sample groups, reward, compare, push, repeat. `permute=True` deals the advantages out at random: the same rollouts,
# the same loss, the same sizes of push, but no longer tied to who was right. It is the negative control (24 steps instead of 40, to save time). By hand, for one right of four: 

# %%
dealt = [1.5, -0.5, -0.5, -0.5]
print("the right rollout's push:", dealt[0], "in order,", sum(dealt) / 4, "on average at random")


# %%
def push(policy, optimizer, rollouts, A, iterations):
    """Push every token by its rollout's advantage, once or several times.

    Returns the log-probs before the last step and before the first, and the gradient's norm.
    """
    old = None
    for _ in range(iterations):
        logps = token_logps(policy, rollouts)
        old = logps.detach() if old is None else old  # of the policy that sampled
        loss = grpo_loss(logps, old, A, rollouts.mask)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    return logps.detach(), old, norm.item()


# %%
def step_diagnostics(rollouts, rewards, A, group, logps, old):
    """What a step must be judged by."""
    mask, ratio = rollouts.mask, torch.exp(logps - old)
    active = mask.bool()
    ended = (rollouts.ids[:, -mask.shape[1] :] == tokenizer.eos_token_id).any(1)
    return {
        "reward": rewards.mean().item(),
        "zero std": (rewards.view(-1, group).std(1) == 0).float().mean().item(),
        "truncated": 1 - ended.float().mean().item(),
        "clipped": grpo.clip_fraction(ratio, A, mask).item(),
        "largest ratio": ratio[active].max().item(),
        "entropy": -old[active].mean().item(),  # mean of -log p over sampled tokens
        "tokens": mask.sum(1).float().mean().item(),
    }


# %%
def train(policy, rows, n_steps, *, seed=0, prompts=8, group=8, learning_rate=5e-5, iterations=1,
          max_new_tokens=64, permute=False):
    """GRPO on `policy`, in place. Returns a dict of diagnostics a step, and every sampled text."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    log, texts = [], []
    for _ in range(n_steps):
        # 1. A group of rollouts for each question, a reward for each rollout.
        questions = rng.sample(rows, prompts)
        rollouts = sample(policy, [q["question"] for q in questions], group, max_new_tokens)
        rewards = reward(rollouts.texts, [q["answer"] for q in questions for _ in range(group)])

        # 2. Better or worse than the rest of its group?
        A = advantages(rewards, group)
        if permute:
            A = A[torch.randperm(len(A))]

        # 3. Push, and take note.
        logps, old, norm = push(policy, optimizer, rollouts, A, iterations)
        noted = step_diagnostics(rollouts, rewards, A, group, logps, old)
        log.append(noted | {"grad norm": norm})
        texts += rollouts.texts
    return log, texts


# %%
import time

N_STEPS, CONTROL_STEPS = steps(40, 3), steps(24, 2)
trained, control = copy.deepcopy(student), copy.deepcopy(student)
began = time.perf_counter()
log, trained_texts = train(trained, train_rows, N_STEPS)
print(f"{N_STEPS} steps in {time.perf_counter() - began:.0f} s")
control_log, control_texts = train(control, train_rows, CONTROL_STEPS, permute=True)

# %% [markdown]
# Training reward jumps about: each step asks other questions. So the three policies answer the same validation questions, which training never
# saw, several times each. The interval is over questions, and before and after are compared question by question.

# %%
from thinktuning_lite.classroom.sample import evaluate

SAMPLES = steps(3, 1)  # of each validation question
validation = validation_rows[: steps(300, 60)]


def share_right(policy, samples=SAMPLES, temperature=1.0):
    """Share right of each validation question, (questions,), and the sampled texts."""
    sampling = dict(temperature=temperature, seed=1, max_new_tokens=64)
    scores, texts = evaluate(policy, tokenizer, validation * samples, **sampling)
    return torch.tensor(scores.correct, dtype=torch.float).view(samples, -1).mean(0), texts


def interval(x):
    """Mean and half-width of its 95 % interval over questions."""
    return x.mean().item(), 1.96 * x.std().item() / math.sqrt(len(x))


# %%
before, before_texts = share_right(student)
after, after_texts = share_right(trained)
permuted, permuted_texts = share_right(control)
greedy_before, greedy_texts = share_right(student, 1, temperature=0.0)
greedy_after, _ = share_right(trained, 1, temperature=0.0)

# %%
plots.reward_and_accuracy(
    {"GRPO": [s["reward"] for s in log], "permuted": [s["reward"] for s in control_log]},
    {"GRPO": interval(after), "permuted": interval(permuted)},
    interval(before),
    greedy_before.mean().item(),
)

# %%
gain, half = interval(after - before)
control_gain, control_half = interval(permuted - before)
greedy_gain = (greedy_after - greedy_before).mean()
print(f"GRPO:     {100 * gain:+.1f} ± {100 * half:.1f} points at T = 1,", end=" ")
print(f"{100 * greedy_gain:+.1f} greedy")
print(f"permuted: {100 * control_gain:+.1f} ± {100 * control_half:.1f} points at T = 1")

# %% tags=["check"]
#@title Check: GRPO improves; with permuted advantages that vanishes
if not smoke():  # three steps teach nothing
    assert gain - half > 0.02
    assert control_gain < gain / 2 and control_gain - control_half < 0.02

# %% [markdown]
# The control loses: random pushes only do damage. (In the figure, thin: each step; thick: mean of the last ten.)
#
# **What improved?** Split the questions: those with a *product* (two digits times one), which this student only guesses, and those of
# sums alone, which it works out.

# %%
product = torch.tensor([problem["product"] for problem in validation])


def compare(which):
    change, plus_minus = interval((after - before)[which])
    columns = {"T = 1: before": before, "after": after}
    columns |= {"greedy: before": greedy_before, "after ": greedy_after}
    shares = {name: values[which].mean().item() for name, values in columns.items()}
    return {"questions": int(which.sum())} | shares | {"T = 1: change": change, "±": plus_minus}


split = pd.DataFrame({"with a product": compare(product), "sums alone": compare(~product)}).T
split.style.format("{:.2f}").format("{:.0f}", subset="questions")

# %% tags=["check"]
#@title Check: products gain, and more than sums
if not smoke():
    change, plus_minus = split["T = 1: change"], split["±"]
    assert change.iloc[0] - plus_minus.iloc[0] > 0.02
    assert change.iloc[0] > change.iloc[1]


# %% [markdown]
# Products did, and more than sums; whether sums gain at all differs from run to run (the last two columns). In products greedy answers gain more than sampled ones: where two guesses are close, a small push swaps them. Which two?
# Take the questions that greedy answers now get right and did not before:

# %%
def product_error(text):
    """By how much a response is off at its product; None if it states none."""
    said = re.search(r"(\d+)\*(\d+)=(\d+)", text)
    return int(said[3]) - int(said[1]) * int(said[2]) if said else None


flipped = [i for i in range(len(validation)) if product[i] and greedy_after[i] > greedy_before[i]]
ten_off = sum(abs(product_error(greedy_texts[i]) or 0) == 10 for i in flipped)
print(f"{len(flipped)} questions with a product turned right;", end=" ")
print(f"before, {ten_off} of them were off by just ten")
was, is_now = before[flipped].mean(), after[flipped].mean()
print(f"at T = 1 they were answered right in {was:.0%} of samples before, {is_now:.0%} after")

# %% tags=["check"]
#@title Check: the two guesses are mostly ten apart
assert smoke() or ten_off > 0.7 * len(flipped) > 10

# %% [markdown]
# The student forgot the carry (or added one too many), most of the time but not always. GRPO saw both guesses, and the reward told them
# apart. It moves probability between answers that are *already sampled*; section 10 asks about one that is not.

# %% [markdown]
# ## 8 · Diagnosis: is this run healthy?
#
# Reward alone does not say. Take the most telling column by hand, *zero std*, on four groups: only a group whose rewards differ has an advantage.

# %%
four_groups = [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1]]
equal = [min(rewarded) == max(rewarded) for rewarded in four_groups]
print(equal, "zero std:", sum(equal) / 4)

# %% [markdown]
# The columns to look at after every run, what to expect and what should worry you:

# %%
rules = {  # column: (expected, suspicious)
    "zero std": ("0 to 50 %", "near 100 %: all right, all wrong, or no answer is found"),
    "truncated": ("near 0 %", "above a few %: no final answer, reward silently 0"),
    "clipped": ("0 % at one iteration", "above 20 %: too many iterations, too large steps"),
    "largest ratio": ("1 at one iteration", "not 1 there: sampler and trainer disagree"),
    "grad norm": ("steady, a few units at most", "0: no differences; rising: learning rate"),
    "entropy": ("falls slowly", "rises: falling apart; falls to 0: no exploration left"),
    "tokens": ("steady", "grows into the budget, or shrinks to nothing"),
}

# %%
pd.set_option("display.max_colwidth", None)
run = pd.DataFrame(log)
third = max(1, len(run) // 3)
means = {"first third": run[:third].mean(), "last third": run[-third:].mean()}
healthy = pd.DataFrame(means).loc[list(rules)].map("{:.3f}".format)
healthy["expected"], healthy["suspicious"] = zip(*rules.values())
healthy

# %% tags=["check"]
#@title Check: this run was healthy
assert (run["clipped"] == 0).all() and (run["largest ratio"] == 1).all()
assert run["truncated"].mean() < 0.02 and run["zero std"].mean() < 0.7
assert run["grad norm"].between(1e-3, 10).all()

# %% [markdown]
# ### Exercise 4 (★★☆, 5 min)
#
# Four runs of four steps, each broken on purpose in one way. Which is which? The faults: `"truncated"` (the token budget is too small), `"wrong answers"`
# (the data's answer column is wrong), `"learning rate"` (far too high), `"too many iterations"` (on each batch, with a raised learning rate).

# %%
wrong_answers = [problem | {"answer": "-1"} for problem in train_rows]
broken = {
    "A": dict(rows=train_rows, max_new_tokens=10),
    "B": dict(rows=wrong_answers),
    "C": dict(rows=train_rows, learning_rate=1e-2),
    "D": dict(rows=train_rows, iterations=4, learning_rate=3e-4),
}


# %%
def symptoms(**fault):
    """Rewards of the first and last step; beyond those, the largest value in any step."""
    noted, _ = train(copy.deepcopy(student), n_steps=steps(4, 2), prompts=4, **fault)
    shown = {"reward, first step": noted[0]["reward"], "reward, last step": noted[-1]["reward"]}
    return shown | {column: max(s[column] for s in noted) for column in list(rules)[:5]}


pd.DataFrame({name: symptoms(**fault) for name, fault in broken.items()}).T.map("{:.2f}".format)

# %% tags=["exercise"]
faults = {"A": ..., "B": ..., "C": ..., "D": ...}  # your answer

# %% tags=["exercise-check"]
check.diagnosis(faults)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# A and B have reward 0, zero std everywhere and no gradient; only `truncated` tells them apart. C starts like a healthy run and loses its reward within
# four steps. D is the only one whose ratio leaves 1, and its clip fires.
#
# ```python
# faults = {"A": "truncated", "B": "wrong answers", "C": "learning rate", "D": "too many iterations"}
# ```
# </details>

# %% [markdown]
# ## 9 · The same step through TRL
#
# From here on TRL's `GRPOTrainer` does this work, with everything that a large model needs around it. Is it the same step? By hand, what both must say of
# one group right after sampling, every ratio being 1:

# %%
lone = [1.5, -0.5, -0.5, -0.5]  # four advantages, one right rollout
print("loss:", 0 - sum(lone) / 4, "  slope in each rollout's mean log p:", [-a / 4 for a in lone])

# %% [markdown]
# Let TRL sample a batch, then compute advantages, loss and the gradient of every weight both ways: on the first iteration, and on the second, where the ratios
# differ from 1. (The underscored methods are TRL's inside; this is trl 1.16.0.)

# %%
import tempfile
import warnings

from trl import GRPOConfig, GRPOTrainer

warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # names in TRL
config = GRPOConfig(
    output_dir=tempfile.mkdtemp(), per_device_train_batch_size=32, num_generations=8,
    num_iterations=2, max_completion_length=64, temperature=1.0, loss_type="grpo", beta=0.0,
    epsilon=0.2, seed=0, use_cpu=True, bf16=False, gradient_checkpointing=False,
    report_to="none", save_strategy="no", disable_tqdm=True, log_level="error",
)

# %%
from datasets import Dataset

from thinktuning_lite.classroom.sample import as_prompts

questions = Dataset.from_list(as_prompts(train_rows[:4]))
policy = copy.deepcopy(student)
settings = dict(train_dataset=questions, processing_class=tokenizer)
trainer = GRPOTrainer(policy, correctness_reward, config, **settings)
trainer.current_gradient_accumulation_steps = 1
policy.train()
batch = trainer._generate_and_score_completions([q for q in questions for _ in range(8)])

# %%
theirs = Rollouts(
    torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
    torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
    batch["completion_mask"],
    tokenizer.batch_decode(batch["completion_ids"], skip_special_tokens=True),
)
their_answers = [problem["answer"] for problem in train_rows[:4] for _ in range(8)]
their_A = advantages(reward(theirs.texts, their_answers), 8)
torch.testing.assert_close(their_A, batch["advantages"])

# %% tags=["check"]
#@title Check: the advantages are not all 0; TRL's defaults are as said in sections 5 and 6
assert their_A.abs().max() > 0  # else the comparison below would compare zeros
defaults = GRPOConfig.__dataclass_fields__
assert defaults["loss_type"].default == "dapo" and defaults["beta"].default == 0


# %%
def compare_gradients(policy, old):
    """Both losses and all gradients of `policy`; returns ours, after holding it against TRL's."""
    weights, now = list(policy.parameters()), token_logps(policy, theirs)
    our_loss = grpo_loss(now, old, their_A, theirs.mask)
    trl_loss = trainer._compute_loss(policy, batch)
    ours, trls = torch.autograd.grad(our_loss, weights), torch.autograd.grad(trl_loss, weights)
    torch.testing.assert_close(our_loss, trl_loss, rtol=1e-4, atol=1e-6)
    size = max(t.abs().max() for t in trls)
    gap = max((o - t).abs().max() for o, t in zip(ours, trls)) / size
    assert size > 1e-5 and gap < 1e-4
    print(f"loss {our_loss:+.6f} (ours), {trl_loss:+.6f} (TRL);", end=" ")
    print(f"gradients differ by {gap:.0e} of the largest entry;", end=" ")
    print(f"largest ratio {torch.exp(now - old)[theirs.mask.bool()].max():.2f}")
    return ours


# %%
policy.load_state_dict(student.state_dict())  # so that this cell may be run again
sampled_logps = token_logps(policy, theirs).detach()
for iteration in (1, 2):
    gradients = compare_gradients(policy, sampled_logps)
    with torch.no_grad():  # a step, so that the second iteration has something to clip
        for weight, gradient in zip(policy.parameters(), gradients):
            weight -= 0.1 * gradient

# %% [markdown]
# ## 10 · What GRPO cannot do
#
# This student never reflects: it writes `\boxed{n}` and stops. The same weights *can* go on to a new paragraph and check their answer, in another role
# ([00_start_here](00_start_here.ipynb)), and that would mend most wrong answers. Can GRPO find it by itself? An advantage needs a rollout. So count, in everything
# sampled since section 7, the responses that go on after their answer. If none does, how rare must it be? A behaviour of probability $p$ stays unseen in $n$ responses with
# probability $(1-p)^n$; setting this to 5 % gives $p \approx 3/n$, the **rule of three**:

# %%
for count in (10, 100, 1000, 10_000):
    at_most = 1 - 0.05 ** (1 / count)
    print(f"unseen in {count:6,d}: p at most {at_most:.6f}, rule of three {3 / count:.6f}")

# %%
from thinktuning_lite.classroom.sample import REFLECTION

REVIEWS = re.compile(r"\\boxed\{[^}]*\}\n\n")
sampled = {"before": before_texts, "while training": trained_texts, "after": after_texts}
sampled["control"] = control_texts + permuted_texts
counts = pd.DataFrame({
    name: {
        "responses": len(found),
        "go on after the answer": sum(bool(REVIEWS.search(text)) for text in found),
        "a reflective word anywhere": sum(bool(REFLECTION.search(text)) for text in found),
    }
    for name, found in sampled.items()
}).T
counts

# %%
total, reviewing, stray = counts.sum()
bound = 1 - 0.05 ** (1 / total)
print(f"{reviewing} of {total} go on after the answer, so with 95 % confidence", end=" ")
print(f"at most {bound:.4%} do (3 / n = {3 / total:.4%})")

# %% tags=["check"]
#@title Check: none goes on after its answer; a stray word gets into a sum now and then
assert reviewing == 0 and math.isclose(bound, 3 / total, rel_tol=0.01)
assert smoke() or stray < 0.005 * total


# %% [markdown]
# Counting can say no more. But the model itself can be asked for the probability that, where it stopped, it had gone on to a new paragraph, which is how reflection begins:

# %%
@torch.no_grad()
def entry_probability(policy, rollouts):
    """Mean probability of a blank line in place of the end-of-turn token, over whole rollouts."""
    T = rollouts.mask.shape[1]
    inputs = dict(input_ids=rollouts.ids, attention_mask=rollouts.attention)
    logits = policy(**inputs, logits_to_keep=T + 1).logits[:, :-1]
    ends = (rollouts.ids[:, -T:] == tokenizer.eos_token_id) & rollouts.mask.bool()
    return logits[ends].softmax(-1)[:, tokenizer.convert_tokens_to_ids("\n\n")].mean().item()


# %%
p_before, p_after = (entry_probability(policy, rollouts) for policy in (student, trained))
wait = 1 / p_before
print(f"probability of the first reflective token: {p_before:.1e} before, {p_after:.1e} after GRPO")
print(f"on average one response in {wait:,.0f}; at 64 a step, one step in {wait / 64:,.0f}")

# %% tags=["check"]
#@title Check: it stays below 1 in 10,000; the wait is over ten times this run
assert p_before < 1e-4 and p_after < 1e-4 and wait / 64 > 10 * N_STEPS


# %% [markdown]
# A behaviour that is never sampled has no advantage, and what has no advantage is not learned: no learning rate, group size or
# patience within reach changes that. Somebody has to put it into the group. [02_teacher_guidance](02_teacher_guidance.ipynb) does.

# %% [markdown]
# ### Exercise 5 (★☆☆, 4 min)
#
# How many responses must be sampled so that a behaviour of probability $p$ shows at least once with 95 % certainty? Exact, for any $p$ between 0 and 1, no need to round. Then put in
# `p_before`.

# %% tags=["exercise"]
def samples_to_see(p):
    ...  # your code


# %% tags=["exercise-check"]
check.samples_to_see(samples_to_see)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# $1-(1-p)^n \ge 0.95 \iff n \ge \log 0.05/\log(1-p)$. `log1p` keeps it exact for tiny $p$.
#
# ```python
# def samples_to_see(p):
#     return math.log(0.05) / math.log1p(-p)
# ```
# </details>

# %% [markdown]
# ## Quiz
#
# Decide before you open a line: each says what is right or wrong about its choice.

# %%
from thinktuning_lite.lessons.quiz import show_quiz

show_quiz("01")

# %% [markdown]
# ## Code map and what comes next
#
# | here | in the package, `thinktuning_lite/` |
# |---|---|
# | `advantages`, `grpo_loss`, ratio, clip, KL, aggregation | `method/grpo.py`, with Dr. GRPO, DAPO and the loss beside TRL's in `tests/method/test_grpo.py` |
# | `reward` | `method/rewards.py` (`correctness_reward`, for real answers too) |
# | `share_right` | `classroom/sample.py` (`evaluate`) |
# | the loop | `method/trainer.py`: `ThinkTuningTrainer`, TRL's `GRPOTrainer` with a teacher |
# | figures, checks | `views/plots/`, `lessons/checks/grpo.py` |
#
# Next: [02_teacher_guidance](02_teacher_guidance.ipynb), where a teacher writes into a few rollouts of each group what the student would never sample.
