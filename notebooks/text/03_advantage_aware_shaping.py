# Made from 03_advantage_aware_shaping.ipynb by python -m thinktuning_lite.lessons.stamp, to read its changes: edit the notebook.

# %% [markdown]
# <!-- badge --><a href="https://colab.research.google.com/github/OWNER/thinktuning_lite/blob/main/notebooks/03_advantage_aware_shaping.ipynb"><img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open in Colab"></a>
#
# # 03 · Advantage-aware shaping
#
# **The claim.** With the same teacher, data and learning rate, how soon a student takes up a behaviour that it never shows is decided by the weight of one token: the first of that behaviour. The weights that the authors' code *computes* give it a full push, those that its formula *says* a small fraction; when the first student has taken the behaviour up, the second has hardly begun. Both are measured below, and why is derived first.
#
# **You need** notebook 01 (advantage, importance ratio, clip) and 02 (what a guided rollout is). Derivatives of $\log$ and quotients are enough.
#
# **Time:** 3.2 min, 1.1 GB of memory, on 2 CPU cores without a GPU (measured by the run)
#
# *Contents:* 1 a guided rollout · 2 the ratio that does not exist · 3 weight 1 and $\pi/1$ · 4 LUFFY · 5 AAS · 6 AAS is a per-token advantage · 7 formula and code · 8 a bandit with an exact answer · 9 the tiny student · 10 diagnosis and controls · 11 which one when

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
import time

import numpy as np
import pandas as pd
import sympy
import torch

from thinktuning_lite.lessons.checks import shaping as check
from thinktuning_lite.lessons.runtime import smoke, steps
from thinktuning_lite.method import grpo, shaping
from thinktuning_lite.views import plots

# %%
from thinktuning_lite import load_classroom

NAMES = ("intended", "released", "luffy", "plain")  # the four shapings, in this order everywhere
model, tokenizer = load_classroom()
print(f"{model.num_parameters():,} parameters")

# %% [markdown]
# ## 1. One guided rollout, as the loss sees it
#
# Notebook 02 spliced the teacher's words behind the student's. Here are such rollouts again, for validation problems; they also serve as the **probe** of section 9, so they are made once and never change.

# %%
from thinktuning_lite import PolicyTeacher
from thinktuning_lite.classroom.sample import load_tiny_set, respond
from thinktuning_lite.method.prompts import BEHAVIOURS, TINY_PROMPT
from thinktuning_lite.method.teacher import GuidanceRequest

problems = load_tiny_set("validation")[: steps(24, 16)]
attempts = respond(model, tokenizer, [problem["question"] for problem in problems], seed=0)
attempt_texts = tokenizer.batch_decode(attempts, skip_special_tokens=True)
requests = [
    GuidanceRequest(problem["question"], text, BEHAVIOURS[i % 4])
    for i, (problem, text) in enumerate(zip(problems, attempt_texts))
]
replies = PolicyTeacher(model, tokenizer, TINY_PROMPT, max_new_tokens=160)(requests)

# %%
from dataclasses import dataclass


@dataclass
class Guided:
    """One guided rollout: token ids of its prompt and of the whole, and who wrote each token."""

    question: str
    prompt: list[int]
    ids: list[int]
    author: torch.Tensor  # of bools: the teacher's

    def text(self, taught):
        return tokenizer.decode([i for i, a in zip(self.ids, self.author) if a == taught])


# %%
from thinktuning_lite.method.teacher import parse_guidance, splice

EOS = tokenizer.eos_token_id


def guided_row(problem, attempt, reply):
    """The rollout with the reply spliced in; None where there is nothing to splice or no end."""
    said = parse_guidance(reply)
    if said is None or attempt[-1] != EOS:
        return None
    taught = tokenizer.encode(said.text, add_special_tokens=False)
    spliced, author = splice(attempt, taught, [EOS], 400)
    chat = [{"role": "user", "content": problem["question"]}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    return Guided(problem["question"], prompt_ids, spliced, torch.tensor(author).bool())


probe = [row for row in map(guided_row, problems, attempts, replies) if row]

# %%
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.grading import is_correct

truth = {problem["question"]: problem["answer"] for problem in problems}


def ends_right(row, taught):
    return is_correct(extract_answer(row.text(taught)), truth[row.question])


shown = next(row for row in probe if not ends_right(row, False) and ends_right(row, True))
print(shown.question, "\n")  # a wrong attempt, put right
print(shown.text(False), "   <- the student's")
print(shown.text(True), "   <- the teacher's")


# %%
def padded(rows):
    """Prompt and rollout of each row, padded on the right: ids and attention (rows, width)."""
    parts = [torch.tensor(row.prompt + row.ids) for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(parts, batch_first=True, padding_value=tokenizer.pad_token_id)
    return ids, pad([torch.ones_like(part) for part in parts], batch_first=True)


# %%
@torch.no_grad()
def log_softmax_of(policy, rows):
    """One (tokens, vocabulary) tensor a row: log-probabilities at the positions of its rollout."""
    was_training = policy.training
    ids, attention = padded(rows)
    logits = policy.eval()(input_ids=ids, attention_mask=attention).logits
    policy.train(was_training)
    starts = [len(row.prompt) - 1 for row in rows]  # position t speaks about token t + 1
    return [x[s : s + len(row.ids)].log_softmax(-1) for x, s, row in zip(logits, starts, rows)]


def token_logps(policy, rows):
    return [
        lp.gather(1, torch.tensor(row.ids).unsqueeze(1)).squeeze(1)
        for lp, row in zip(log_softmax_of(policy, rows), rows, strict=True)
    ]


# %%
logps = token_logps(model, probe)
[shown_logps] = token_logps(model, [shown])
shown_tokens = [tokenizer.decode([i]) for i in shown.ids]
plots.token_strip(
    shown_tokens, shown_logps.exp().tolist(), shown.author.tolist(), "as the student sees it"
)

# %% [markdown]
# Every taught token but the first is likely *once its predecessors stand there*: the student's own weights can write this text. What the student never does is begin it. The first taught token, a blank line where the student would stop, is the **entry token**.

# %%
kinds = {
    "entry token": torch.stack([lp[row.author][0] for lp, row in zip(logps, probe)]),
    "other taught tokens": torch.cat([lp[row.author][1:] for lp, row in zip(logps, probe)]),
    "student's own": torch.cat([lp[~row.author] for lp, row in zip(logps, probe)]),
}


# %%
def summary(x):
    rare = 100 * (x < math.log(0.001)).float().mean()
    return {
        "tokens": len(x), "geometric mean p": x.mean().exp().item(),
        "smallest p": x.min().exp().item(), "share with p < 0.001, %": rare.item(),
    }


looks = {"tokens": "{:.0f}", "geometric mean p": "{:.2g}", "smallest p": "{:.1g}"}
looks["share with p < 0.001, %"] = "{:.1f}"
pd.DataFrame({name: summary(x) for name, x in kinds.items()}).T.style.format(looks)

# %% tags=["check"]
#@title Check: rare to begin, likely to go on
assert kinds["entry token"].exp().max() < 1e-3
assert kinds["other taught tokens"].mean().exp() > 0.5


# %% [markdown]
# ## 2. The ratio that does not exist
#
# GRPO climbs $J(\theta)=\mathbb E_{y\sim\pi_\theta}[A(y)]$. If the text comes from a **behaviour policy** $\mu$ instead, importance sampling keeps the gradient right:
#
# $$\nabla_\theta J=\mathbb E_{y\sim\pi_\theta}\big[A\,\nabla\log\pi_\theta(y)\big]=\mathbb E_{y\sim\mu}\Big[\frac{\pi_\theta(y)}{\mu(y)}\,A\,\nabla\log\pi_\theta(y)\Big],\qquad \mu(y)>0 \text{ wherever } \pi_\theta(y)A(y)\neq0 .$$
#
# $A(y)$ is a number, $\nabla\log\pi_\theta(y)$ has the shape of $\theta$. Below, a *bandit*: one step, $K$ actions, and $\theta$ the $K$ logits of a softmax over them; there $\nabla_\theta\log\pi(a)=e_a-\pi$, with $e_a$ 1 at $a$ and 0 elsewhere.
#
# ### Exercise 1 (★☆☆, 4 min)
#
# Write the right-hand side as an exact sum over actions (not a sample): `pi`, `mu`, `advantages` are tensors of shape (K,), the answer too.

# %% tags=["exercise"]
def importance_weighted(pi, mu, advantages):
    # Sum over actions a of mu_a * ratio_a * A_a * (e_a - pi); the rows of torch.eye(K) - pi
    # are e_a - pi.
    ...  # your code


# %% tags=["exercise-check"]
check.importance_weighted(importance_weighted)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def importance_weighted(pi, mu, advantages):
#     score = torch.eye(len(pi), dtype=pi.dtype) - pi      # row a: e_a - pi
#     ratio = pi / mu
#     return (mu * ratio * advantages) @ score
# ```
# </details>

# %% [markdown]
# So the fix is known; what is missing is $\mu$. The teacher has another prompt, its words pass through a parser, are cut out of tags, tokenised again and spliced. Nothing in that chain has a probability of *this token at this place*. And it decodes greedily: it puts everything on one text, so the condition $\mu>0$ fails for every other text. The next cell computes exactly what that costs in a bandit with four actions, the last of which is the taught one.

# %%
four_logits = torch.tensor([2.0, 1.0, 0.0, -6.0], dtype=torch.float64, requires_grad=True)
four_advantages = torch.tensor([-0.2, 0.3, -0.5, 1.0], dtype=torch.float64)
pi = four_logits.softmax(0).detach()
score = torch.eye(4, dtype=torch.float64) - pi
objective = (four_logits.softmax(0) * four_advantages).sum()
on_policy = torch.autograd.grad(objective, four_logits)[0]


def expected(mu):
    ratio = torch.where(mu > 0, pi / mu.clamp(min=1e-300), 0.0)
    return (mu * ratio * four_advantages) @ score, (mu * ratio**2).sum()


# %%
behaviour_policies = {
    "the student itself": pi.tolist(),
    "uniform": [0.25] * 4,
    "knows the taught action": [0.03, 0.03, 0.04, 0.9],
    "greedy teacher": [0.0, 0.0, 0.0, 1.0],
}


def judged(mu):
    gradient, second_moment = expected(torch.tensor(mu, dtype=torch.float64))
    return {
        "distance to the true gradient": (gradient - on_policy).norm().item(),
        "length of the gradient": gradient.norm().item(),
        "mean squared ratio": second_moment.item(),
    }


off_policy = pd.DataFrame({name: judged(mu) for name, mu in behaviour_policies.items()}).T
off_policy.style.format("{:.3g}")

# %% tags=["check"]
#@title Check: any mu > 0 is unbiased, at a price in variance; the greedy teacher is neither
assert (off_policy["distance to the true gradient"][:3] < 1e-12).all()
assert off_policy["mean squared ratio"].iloc[2] > 5
assert off_policy["length of the gradient"].iloc[3] < 0.01 * on_policy.norm()


# %% [markdown]
# *How to read it.* The mean squared ratio is 1 on-policy; the variance of the estimate grows with it. The greedy teacher's row has $\mu=1$ on the taught action: its "ratio" is $\pi/1$, the gradient is wrong, and it is tiny because the student finds the action unlikely. So guided tokens need something in the ratio's place: a **weight** $w(p,A)$ of the token's probability $p=\pi_\theta(\text{token})$ and its advantage, with loss $-A\,w$.
#
# Two slopes have to be kept apart from here on:
#
# | | symbol | what it is |
# |---|---|---|
# | weight | $w(p,A)$ | what multiplies $A$ in the value of the loss |
# | gradient weight | $s(p,A)=\dfrac{dw}{d\log p}$ | what multiplies $A$ in the update: $\dfrac{d\,\text{loss}}{d\log p}=-A\,s$ |
#
# Only $s$ trains anything.

# %% [markdown]
# ## 3. Two simple weights and their trouble
#
# **Plain**: pretend the student sampled the token. The ratio is then $p/\mathrm{sg}(p)$, where sg is *stop-gradient* (`detach`): value 1, gradient weight $s=1$. This is supervised imitation, scaled by $A$.
#
# **$\pi/1$**: pretend the teacher was certain, $\mu=1$. Then $w=p$ and $s=p$.

# %%
def slope(weight, p):
    """autograd's dw/dlog p at each p."""
    logp = torch.tensor(p, dtype=torch.float64).log().requires_grad_()
    return torch.autograd.grad(weight(logp.exp()).sum(), logp)[0]


four_p = [1e-6, 1e-3, 0.1, 0.9]
plain_slope, over_one_slope = slope(lambda p: p / p.detach(), four_p), slope(lambda p: p, four_p)
simple = pd.DataFrame({"plain": plain_slope, "pi / 1": over_one_slope}, index=four_p)
simple.rename_axis("p").T

# %% tags=["check"]
#@title Check: s is 1 under plain, and p under pi / 1
assert torch.allclose(plain_slope, torch.ones(4).double())
assert torch.allclose(over_one_slope, torch.tensor(four_p).double())


# %% [markdown]
# $\pi/1$ learns what the student already does and is blind to what it does not: a token at $10^{-6}$ gets a millionth of the push. Plain pushes hard everywhere, and without end: its force does not fade with $p$, and for $A<0$ nothing stops it either (section 8 measures where that leads). In the ratio's place we want something between the two.
#
# ## 4. Regularised shaping: LUFFY
#
# Yan et al. (2025) put a concave function in place of $\pi/1$, nothing detached, with $c=0.1$:
#
# $$w=f(p)=\frac{p}{p+c},\qquad s=p\,f'(p)=\,?$$
#
# ### Exercise 2 (★☆☆, 4 min)
#
# Find the gradient weight $s$ for any $c$.

# %% tags=["exercise"]
def luffy_gradient(p, c):
    ...  # your formula


# %% tags=["exercise-check"]
check.luffy_gradient(luffy_gradient)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# Quotient rule: $f'(p)=\dfrac{(p+c)-p}{(p+c)^2}=\dfrac{c}{(p+c)^2}$, and $\dfrac{d}{d\log p}=p\,\dfrac{d}{dp}$.
#
# ```python
# def luffy_gradient(p, c):
#     return c * p / (p + c) ** 2
# ```
# </details>

# %%
P, C = sympy.symbols("p c", positive=True)
luffy_slope = sympy.simplify(P * sympy.diff(P / (P + C), P))
print("s =", luffy_slope)
print({p: f"{luffy_slope.subs({P: p, C: 0.1}):.2g}" for p in four_p})

# %%
top = sympy.solve(sympy.diff(luffy_slope, P), P)
print("largest at p =", top[0], "where it is", sympy.simplify(luffy_slope.subs(P, C)))
assert top == [C] and sympy.simplify(luffy_slope.subs(P, C)) == sympy.Rational(1, 4)

# %%
grid = torch.logspace(-8, 0, 400, dtype=torch.float64)
by_sympy = sympy.lambdify((P, C), luffy_slope)(grid.numpy(), 0.1)
by_autograd = slope(lambda p: p / (p + 0.1), grid.tolist())
by_package = shaping.shape("luffy", grid, torch.ones_like(grid)).gradient
assert np.allclose(by_sympy, by_autograd) and torch.allclose(by_autograd, by_package)

# %% [markdown]
# The peak sits at $p=c$; far below it $s\approx p/c$. LUFFY lifts $\pi/1$ by a factor $1/c=10$ and tames large $p$. For a token at $10^{-6}$ ten times nearly nothing is nearly nothing.
#
# ## 5. Advantage-aware shaping (AAS)
#
# ThinkTuning detaches the denominator and lets the advantage set the constant in it:
#
# $$w=\frac{p}{\mathrm{sg}(p)+\gamma(A)},\qquad \gamma(A)=g_{\min}+(g_{\max}-g_{\min})\frac{A_{\max}-A}{A_{\max}-A_{\min}}$$
#
# with $g_{\min}=0.001$, $g_{\max}=-0.001$ and $A$ clipped to $[-4,4]$: constants of the authors' training code. (Those that the paper prints are not known to us; in the package all are parameters.)
#
# **Step 1: what detaching does.** Hold the denominator at $p_0+\gamma$, differentiate, then put $p_0=p$:

# %%
P0, GAMMA = sympy.symbols("p0 gamma", positive=True)
detached = sympy.simplify((P * sympy.diff(P / (P0 + GAMMA), P)).subs(P0, P))
assert sympy.simplify(detached - P / (P + GAMMA)) == 0  # detached: s equals w
moving = sympy.simplify(P * sympy.diff(P / (P + GAMMA), P))
assert sympy.simplify(moving - GAMMA * P / (P + GAMMA) ** 2) == 0  # not detached: LUFFY's form

# %%
gamma_at_1 = 0.00025  # gamma at A = 1
for p in four_p:
    by_grad = slope(lambda x: x / (x.detach() + gamma_at_1), [p]).item()
    if_not = float(moving.subs({P: p, GAMMA: gamma_at_1}))
    print(f"p = {p:g}: s = {by_grad:.4f} detached, {if_not:.4f} if not")

# %% tags=["check"]
#@title Check: finite differences, autograd and p / (p + gamma) agree
h = 1e-6  # the step in log p
for p in four_p:
    held = p + gamma_at_1  # the denominator does not move with p
    difference = (p * math.exp(h) / held - p * math.exp(-h) / held) / (2 * h)
    by_grad = slope(lambda x: x / (x.detach() + gamma_at_1), [p]).item()
    assert math.isclose(difference, by_grad, rel_tol=1e-6)
    assert math.isclose(by_grad, p / (p + gamma_at_1))

# %% [markdown]
# With the denominator detached, weight and gradient weight are the same number, $s=w=\dfrac{p}{p+\gamma}$. Likely tokens keep $s\approx1$ (not detached they would get almost nothing, as in LUFFY), tokens with $p\ll\gamma$ are damped.
#
# **Step 2: what $\gamma(A)$ is.** Put the constants in:

# %%
A = sympy.symbols("A")
g_min, g_max = sympy.Rational(1, 1000), -sympy.Rational(1, 1000)
formula = sympy.simplify(g_min + (g_max - g_min) * (4 - A) / 8)
print("gamma(A) =", formula, "for -4 <= A <= 4")
assert formula == A / 4000


# %%
def gamma_of(advantage):
    return max(-4.0, min(4.0, advantage)) / 4000


def raw(p, advantage):
    """The bare formula, without guard and fallback."""
    return p / (p + gamma_of(advantage))


for p, advantage in ((1e-4, 2.0), (1e-4, -2.0), (0.9999, 4.0), (0.9999, -4.0)):
    print(f"p = {p:g}, A = {advantage:+g}: weight {raw(p, advantage):.3f}")

# %% tags=["check"]
#@title Check: the package's gamma is the same; below p = |gamma| the bare weight is negative
some = torch.tensor([-6.0, -4.0, -1.0, 0.0, 1.0, 4.0])
assert torch.allclose(shaping.gamma_intended(some), some.clamp(-4, 4) / 4000, atol=1e-9)
assert raw(1e-4, -2.0) < 0


# %% [markdown]
# For $A>0$ the constant is positive and rare tokens are damped; the better the rollout, the more. For $A<0$ it is negative, and the second line shows the trouble: below $p=|\gamma|$ the weight has the **wrong sign**, so a token that should sink would rise; at $p=|\gamma|$ is a pole. Hence two repairs.
#
# **Step 3: the guard.** If $\mathrm{sg}(p)+\gamma\le0$, divide by $\mathrm{sg}(p)/1.0001$ instead; if it exceeds 1, by $\mathrm{sg}(p)/0.9999$. Both make the weight a constant next to 1.
#
# **Step 4: the fallback.** A token with $A<0$ and $p<0.01$ is left to the ordinary clipped term of notebook 01, section 4, whose weight at ratio 1 is 1.

# %%
def aas(p, advantage, gamma, fallback=0.01):
    """The whole of AAS for one token, from numbers. The result is both w and s (step 1)."""
    if advantage < 0 and p < fallback:
        return 1.0
    denominator = p + gamma
    if denominator <= 0:
        return 1.0001
    if denominator > 1:
        return 0.9999
    return p / denominator


# %%
probabilities = np.logspace(-8, 0, 150).tolist()  # not 0.01 itself, where rounding decides
for advantage in (-6.0, -2.0, -0.3, 0.0, 0.3, 2.0, 6.0):
    mine = [aas(p, advantage, gamma_of(advantage)) for p in probabilities]
    mine, a = torch.tensor(mine).double(), torch.tensor(advantage).double()
    at = torch.tensor(probabilities).double().log().requires_grad_()
    package = shaping.shape("intended", at.detach().exp(), a)
    assert torch.allclose(mine, package.gradient, rtol=1e-6)  # the package's is the same
    loss = shaping.shaped_loss("intended", at, a)
    assert torch.allclose(torch.autograd.grad(loss.sum(), at)[0], -a * mine, rtol=1e-6)
print("aas() = the package's weight = autograd's slope of the closed form")


# %% [markdown]
# ### Exercise 3 (★★☆, 6 min)
#
# Why a threshold of 0.01, ten times $|g_{\max}|$? Find the **largest** weight that a token with $A<0$ can still get when tokens below `fallback` have left. (Assume $\gamma(A)$ as above, `advantage` below 0, and $p$ anywhere from `fallback` to 1.)

# %% tags=["exercise"]
def largest_weight(advantage, fallback):
    ...  # your formula


# %% tags=["exercise-check"]
check.largest_weight(largest_weight)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# With $\gamma<0$ the weight $p/(p+\gamma)=1/(1+\gamma/p)$ falls in $p$, so the largest is at the smallest $p$ left, the threshold.
#
# ```python
# def largest_weight(advantage, fallback):
#     gamma = max(-4.0, advantage) / 4000
#     return fallback / (fallback + gamma)
# ```
# </details>

# %%
range_of_p = torch.logspace(-8, 0, 20001, dtype=torch.float64)
no_fallback = shaping.AASConstants(fallback_probability=0)


def weights(advantage, *constants):
    a = torch.tensor(advantage).double()
    return shaping.shape("intended", range_of_p, a, *constants).weight


for advantage in (-4.0, -1.0, 1.0, 4.0):
    w, bare = weights(advantage), weights(advantage, no_fallback)
    print(f"A = {advantage:+g}: weights {w.min():.1g} to {w.max():.3f};", end=" ")
    print(f"without the fallback up to {bare.max():.3g}")
    assert w.max() < 1.12 and (advantage > 0 or bare.max() > 100)

# %% [markdown]
# The fallback is what keeps the intended AAS away from its pole, which only exists for $A<0$. With it no weight exceeds 1.12. Keep that in mind for section 7.
#
# ## 6. AAS is a per-token advantage
#
# GRPO's loss on a token is $-A\,r$ with ratio $r=\exp(\log p-\log p_{\text{old}})$. Set $\log p_{\text{old}}=\mathrm{sg}(\log p)$ on guided tokens: then $r=1$ exactly, the clip never touches it, and the gradient in $\log p$ is $-A$. AAS has $-A\,s$. So
#
# $$\boxed{\text{AAS on a token with advantage } A \;=\; \text{plain GRPO on a token with advantage } A\,s(p,A)\text{, at ratio }1}$$
#
# By hand, at $A=2$:

# %%
for p in four_p:
    per_token = 2 * aas(p, 2.0, gamma_of(2.0))
    print(f"p = {p:<7g} AAS at A = 2 pushes like GRPO at A = {per_token:.4f}")

# %% [markdown]
# Everything that a GRPO trainer needs to know about guidance is one $(B,T)$ tensor and one mask. Checked on logits, with all four shapings and the package's GRPO loss:

# %%
torch.manual_seed(0)
batch_logits = (3 * torch.randn(6, 5, 12, dtype=torch.float64)).requires_grad_()  # (B, T, V)
batch_ids = torch.randint(12, (6, 5))
advantages = torch.tensor([1.5, 0.4, -0.4, -1.5, 0.8, -0.8], dtype=torch.float64)
guided = torch.zeros(6, 5, dtype=torch.bool)
guided[:3] = True  # three guided rollouts, three own
mask = torch.ones(6, 5)


def batch_logps():
    return batch_logits.log_softmax(-1).gather(-1, batch_ids.unsqueeze(-1)).squeeze(-1)


# %%
def closed_form_gradient(name, now, stale):
    """Token by token: the shaped loss on guided tokens, the clipped one on the others."""
    own_loss = grpo.clipped_surrogate(grpo.importance_ratio(now, stale), advantages)
    taught_loss = shaping.shaped_loss(name, now, advantages.unsqueeze(1))
    falls_back = shaping.shape(name, now.detach().exp(), advantages.unsqueeze(1)).fallback
    loss = grpo.aggregate(torch.where(guided & ~falls_back, taught_loss, own_loss), mask, "grpo")
    return torch.autograd.grad(loss, batch_logits)[0]


# %%
def identity_gradient(name, now, stale):
    """Other advantages, other old log-probs, GRPO's loss unchanged."""
    per_token, at_one = shaping.per_token_advantages(name, now, advantages, guided)
    old = torch.where(at_one, now.detach(), stale)
    return torch.autograd.grad(grpo.grpo_loss(now, old, per_token, mask), batch_logits)[0]


# %%
stale = (batch_logps() + 0.1).detach()  # own tokens: sampled by a policy a little behind
for name in NAMES:
    one, other = (f(name, batch_logps(), stale) for f in (closed_form_gradient, identity_gradient))
    apart = (one - other).abs().max().item()
    print(f"{name:9s} largest difference of the two gradients {apart:.0e}")
    assert apart < 1e-12

# %% [markdown]
# `ThinkTuningTrainer` is this identity and little more: it hands TRL's `GRPOTrainer` these two tensors and leaves the rest alone.
#
# ## 7. What the formula says and what the code computes
#
# So far everything followed the formula: this is the variant called **intended** here. The authors' training code goes on: it clamps the $\gamma$ that it got, with `torch.clamp(gamma, min=g_min, max=g_max)`, that is, with `min=0.001` and `max=-0.001`.
#
# ### Exercise 4 (★★☆, 5 min)
#
# Predict first, then run it: what is $\gamma$ after that clamp at $A=4$, $0$ and $-4$? And at which $p$ is $p+\gamma=0$ for $A>0$?

# %% tags=["exercise"]
# try torch.clamp here
answer = (..., ..., ..., ...)  # gamma at A = 4, at A = 0, at A = -4, and p of the pole for A > 0

# %% tags=["exercise-check"]
check.clamp(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# `torch.clamp` computes $\min(\max(x,\text{lower}),\text{upper})$. With the lower bound above the upper one, the outer $\min$ always wins (its documentation says so), so the result is the upper bound, whatever $A$ is.
#
# ```python
# a = torch.tensor([4.0, 0.0, -4.0])
# gamma = torch.clamp(shaping.gamma_intended(a), min=0.001, max=-0.001)   # -0.001, -0.001, -0.001
# answer = (-0.001, -0.001, -0.001, 0.001)
# ```
#
# The advantage has dropped out of advantage-*aware* shaping. And $\gamma<0$ now also for $A>0$, where no fallback helps: a pole at $p=0.001$; below it the guard, weight 1.0001.
# </details>

# %% [markdown]
# We call that second variant **released**: it is what the published function computes when it is called. Whether the paper's numbers come from it is *not established*: in the files that are
# stored of the authors' recipe nothing passes the teacher's mask to that function. Whether the swapped bounds are intended is not known to us, either. All four gradient weights, over the whole range of $p$:

# %%
plots.weight_curves((1.0, -1.0))

# %% tags=["check"]
#@title Check: that clamp is the package's released gamma
for advantage in (4.0, 2.0, 0.0, -4.0):
    gamma = shaping.gamma_intended(torch.tensor(advantage))
    clamped = torch.clamp(gamma, min=0.001, max=-0.001)
    assert clamped == shaping.gamma_released(torch.tensor(advantage))


# %%
def package_weight(name, p, advantage):
    return shaping.shape(name, torch.tensor(p), torch.tensor(advantage)).gradient.item()


entry_p = kinds["entry token"].mean().exp().item()  # the tiny student's, from section 1
at_entry = pd.DataFrame({
    f"A = {a:+g}": {name: package_weight(name, entry_p, a) for name in NAMES}
    for a in (0.5, 1.0, 2.0, 4.0)
})
at_entry.loc["released / intended"] = at_entry.loc["released"] / at_entry.loc["intended"]
print(f"gradient weights at p = {entry_p:.1g}")
at_entry.style.format("{:.3g}")

# %% tags=["check"]
#@title Check: a thousandfold at p = 1e-6, A = 4; little where the student knows the token
assert 900 < package_weight("released", 1e-6, 4.0) / package_weight("intended", 1e-6, 4.0) < 1100
for p in (0.01, 0.1, 0.5, 0.9):
    known = [package_weight(name, p, 1.0) for name in ("intended", "released", "plain")]
    assert max(known) - min(known) < 0.15
down = sorted(package_weight(name, 1e-6, -1.0) for name in NAMES)
assert all(math.isclose(s, 1.0, abs_tol=1e-4) for s in down[1:])  # A < 0: three of four in full

# %% [markdown]
# *How to read the picture.* **Left, $A>0$.** Plain and released coincide on rare tokens: below its pole the released weight *is* weight 1, by way of the guard. Intended damps them like $p/\gamma$, LUFFY still more. From $p\approx0.01$ on intended, released and plain are nearly the same; LUFFY alone also damps what the student already knows. **Right, $A<0$.** Three of four push rare tokens down with full force, because of the fallback. So the intended shaping is *lopsided*: up with $p/\gamma$, down with 1. Section 8 computes what that means.
#
# ## 8. A toy with an exact answer
#
# A policy over $K=8$ actions, the taught one at $p=10^{-6}$. Each update is gradient ascent with step $\eta$ on the taught action alone: $z\leftarrow z+\eta\,A\,s(p,A)\,(e_a-\pi)$. The gap $d$ between the taught and the other logits then moves by
#
# $$\Delta d=\eta A\,s\,(1-p)\,\tfrac{K}{K-1},\qquad \frac{dp}{dd}=p(1-p)\quad\Rightarrow\quad N_{1/2}\approx\frac{K-1}{K\,\eta A}\int_{10^{-6}}^{1/2}\frac{dp}{p\,(1-p)^2\,s(p)} ,$$
#
# an integral of a rational function: sympy does it exactly.

# %%
K, ETA, START = 8, 0.5, 1e-6


def gradient_weight(name, p, advantage, fallback=0.01):
    if name == "luffy":
        return 0.1 * p / (p + 0.1) ** 2
    if name == "plain":
        return 1.0
    gamma = gamma_of(advantage) if name == "intended" else -0.001
    return aas(p, advantage, gamma, fallback)


# %%
def gap(p):
    return math.log(p / (1 - p) * (K - 1))


def updates(name, p, advantage=1.0, until=0.5, most=10**6, fallback=0.01):
    """The taught action's probability after each update, by the recursion for the gap."""
    d, path = gap(p), [p]
    while len(path) <= most and path[-1] < until:
        p = path[-1]
        s = gradient_weight(name, p, advantage, fallback)
        d += ETA * advantage * s * (1 - p) * K / (K - 1)
        path.append(1 / (1 + (K - 1) * math.exp(-d)))
    return path


# %%
for name in NAMES:  # the first update, at p = 1e-6
    moved = updates(name, START, most=1)[1] / START
    print(f"{name:9s} s = {gradient_weight(name, START, 1.0):.5f}, p grows {moved:.5f}-fold")

# %% tags=["check"]
#@title Check: the recursion is autograd on eight real logits
for name in NAMES:
    z = torch.zeros(K, dtype=torch.float64)
    z[0] = gap(START)
    for expected_p in updates(name, START, most=30):
        assert math.isclose(z.softmax(0)[0].item(), expected_p, rel_tol=1e-9)
        leaf = z.clone().requires_grad_()
        loss = shaping.shaped_loss(name, leaf.log_softmax(0)[0], torch.tensor(1.0).double())
        z = z - ETA * torch.autograd.grad(loss, leaf)[0]

# %%
million, half = sympy.Rational(1, 10**6), sympy.Rational(1, 2)
tenth, thousandth = sympy.Rational(1, 10), sympy.Rational(1, 1000)
base = 1 / (P * (1 - P) ** 2)  # times 1/s of each shaping


def exact(integrand, low=million, high=half):
    return float(sympy.integrate(sympy.apart(integrand, P), (P, low, high)))


pole = exact(base / sympy.Rational(10001, 10000), high=thousandth)  # up to it, by the guard
integral = {
    "intended": exact(base * (P + thousandth / 4) / P),  # gamma(1) = 0.001 / 4
    "released": pole + exact(base * (P - thousandth) / P, low=thousandth),
    "luffy": exact(base * (P + tenth) ** 2 / (tenth * P)),
    "plain": exact(base),
}

# %%
closed_form = {name: (K - 1) / K / ETA * integral[name] for name in NAMES}
paths = {name: updates(name, START) for name in NAMES}
simulated = {name: len(path) - 1 for name, path in paths.items()}
bandit = pd.DataFrame({"updates to 0.5, simulated": simulated, "from the integral": closed_form})
bandit["times plain"] = bandit["from the integral"] / closed_form["plain"]
bandit.style.format("{:,.1f}")

# %% tags=["check"]
#@title Check: simulated and integral agree; intended 10 to 30 times plain, LUFFY over 1000 times
quotient = bandit["updates to 0.5, simulated"] / bandit["from the integral"]
assert ((quotient > 0.75) & (quotient < 1.25)).all()  # eta = 0.5 is a coarse step for an integral
assert 10 < bandit["times plain"]["intended"] < 30 and bandit["times plain"]["luffy"] > 1000
assert max(len(paths["plain"]), len(paths["released"])) < 40

# %%
plots.bandit_curves(paths, closed_form)

# %% [markdown]
# (Circles: what the integral predicts; grey line: p = 1/2; updates on a logarithmic axis.) Same teacher, same learning rate. Plain and released need a few dozen updates, intended some twenty times as many, LUFFY thousands of times as many. With $p_0\to0$ plain grows like $\log(1/p_0)$, intended like $\gamma/p_0$, LUFFY like $c/p_0$.
#
# **Stability I: the pole is a lottery.** Released crosses $p=0.001$ in steps. An update that starts at $p=0.001\,\frac{S}{S-1}$ has weight $S$. On a logarithmic scale a path lands anywhere with equal chance, one step being $\eta\frac{K}{K-1}$ long, so $P(\text{weight}>S)=\log\frac{S}{S-1}\big/\,\eta\frac{K}{K-1}$:

# %%
one_step = ETA * K / (K - 1)


def largest_weight_met(i, of=2000):
    """Of one run of `of` that start within one step of each other."""
    path = updates("released", START * math.exp(one_step * i / of))
    return max(gradient_weight("released", p, 1.0) for p in path[:-1])


largest = np.array([largest_weight_met(i) for i in range(2000)])

# %%
for size in (5, 20, 100):
    predicted, seen = math.log(size / (size - 1)) / one_step, (largest > size).mean()
    print(f"a weight above {size:3d} on the way: predicted {100 * predicted:4.1f} %,", end=" ")
    print(f"seen in {100 * seen:4.1f} % of the runs")
    assert abs(predicted - seen) < 0.01
print(f"largest weight of {len(largest)} runs: {largest.max():.0f}")

# %% tags=["check"]
#@title Check: released meets weights above 200; intended never exceeds 1 on its way up
assert largest.max() > 200
assert max(gradient_weight("intended", p, 1.0) for p in paths["intended"]) <= 1


# %% [markdown]
# A single jump in the right direction does a bandit no harm; in a network it could be a gradient spike on shared weights, which gradient clipping and Adam bound; section 10 looks for one. The other three have no pole for $A>0$.
#
# **Stability II: a wrong teacher.** Now the taught action is bad, $A=-1$, at three starting points. Fifty updates:

# %%
def after(name, p, n=50, fallback=0.01):
    path = updates(name, p, advantage=-1.0, until=2.0, most=n, fallback=fallback)
    return math.log10(path[n])


begins = (1e-6, 0.005, 0.3)
sunk = pd.DataFrame({f"from p = {p:g}": {name: after(name, p) for name in NAMES} for p in begins})
sunk.loc["intended, no fallback"] = [after("intended", p, fallback=0) for p in begins]
caption = "log10 of the taught action's probability after 50 updates with A = -1"
sunk.style.format("{:.1f}").set_caption(caption)

# %% tags=["check"]
#@title Check: LUFFY leaves the rare token alone in both directions; the others push it on
assert abs(sunk.loc["luffy"].iloc[0] + 6) < 0.01
assert (sunk.loc[["intended", "released", "plain"]].iloc[:, 0] < -15).all()


# %% [markdown]
# In every variant but LUFFY a token that is already unlikely goes on sinking by the same factor an update. Under LUFFY the fall slows as $p$ does ($s\approx p/c$), without ever stopping. (PPO's clip ends that *within* a batch of several iterations; with a fresh batch every step it starts anew.)
#
# **Both together.** Guidance is sometimes right ($A_+>0$) and sometimes wrong ($A_-<0$), but every guided rollout begins with the *same* entry token. With a share $q$ of right guidance its mean push is $q\,A_+\,s(p,A_+)-(1-q)\,|A_-|\,s(p,A_-)$.
#
# ### Exercise 5 (★★★, 8 min)
#
# At which $q$ is that push 0 under the **intended** shaping? Mind the fallback.

# %% tags=["exercise"]
def break_even(p, a_right, a_wrong):
    ...  # your formula; a_right > 0 > a_wrong


# %% tags=["exercise-check"]
check.break_even(break_even)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def break_even(p, a_right, a_wrong):
#     def gamma(a):
#         return max(-4.0, min(4.0, a)) / 4000
#
#     up = a_right * p / (p + gamma(a_right))
#     down = -a_wrong * (1.0 if p < 0.01 else p / (p + gamma(a_wrong)))
#     return down / (up + down)
# ```
# </details>

# %%
def needed(name, p, a_right=1.0, a_wrong=-1.0):
    up, down = (a * gradient_weight(name, p, a) for a in (a_right, a_wrong))  # down < 0
    return down / (down - up)


print("right guidance needed at p = 1e-6, equal |A|:")
print({name: f"{100 * needed(name, 1e-6):.1f} %" for name in NAMES})
plots.break_even_curves()

# %% tags=["check"]
#@title Check: practically all of it under intended, half under the others
assert needed("intended", 1e-6) > 0.995
assert all(abs(needed(name, 1e-6) - 0.5) < 0.001 for name in NAMES if name != "intended")

# %% [markdown]
# The damping of the intended shaping is one-sided, so it does not merely slow a rare token down: unless practically all guidance earns $A\ge0$, the token **sinks**. (From $p\approx0.01$ on all four nearly agree.) So the number to watch in a run is the share of guided rollouts with $A<0$; section 10 prints it. It hurts most in easy groups, where a wrong guided rollout stands out and has a large $|A|$ (notebook 01).
#
# ## 9. The same on the tiny student
#
# What to expect, by hand: a guided rollout with $A=\pm1$ pushes this student's entry token by $A\,s$:

# %%
for name in NAMES:
    up, down = (a * gradient_weight(name, entry_p, a) for a in (1.0, -1.0))
    print(f"{name:9s} right guidance {up:+.5f}, wrong guidance {down:+.5f}")

# %% [markdown]
# Four runs from the same checkpoint, seed and data, differing in `shaping` alone; 4 questions × 8 rollouts a step, one rollout in eight guided throughout, lr 5e-5. After every second step the probe of section 1 is scored again: the entry token, the other taught tokens, and the mean KL from the start on the student's own tokens.

# %%
start_log_softmax = log_softmax_of(model, probe)


def score_probe(policy):
    """Entry and rest: geometric means; kl: exact over the vocabulary, mean over own tokens."""
    now = log_softmax_of(policy, probe)
    taught, kl = [], []
    for lp, begin, row in zip(now, start_log_softmax, probe):
        of_tokens = lp.gather(1, torch.tensor(row.ids).unsqueeze(1)).squeeze(1)
        taught.append(of_tokens[row.author])
        kl.append((begin.exp() * (begin - lp)).sum(-1)[~row.author])
    entry = torch.stack([t[0] for t in taught]).mean().exp().item()
    rest = torch.cat([t[1:] for t in taught]).mean().exp().item()
    return {"entry": entry, "rest": rest, "kl": torch.cat(kl).mean().item()}


# %%
from transformers import TrainerCallback


class Watch(TrainerCallback):
    """Scores the probe at the start and after every second step."""

    def __init__(self):
        self.seen = {"step": [0]} | {k: [v] for k, v in score_probe(model).items()}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % 2 == 0:
            scored = {"step": state.global_step} | score_probe(kwargs["model"])
            for key, value in scored.items():
                self.seen[key].append(value)


at_start = Watch().seen

# %% tags=["check"]
#@title Check: at the start the KL is 0 and the entry token as in section 1
assert at_start["kl"] == [0.0] and math.isclose(at_start["entry"][0], entry_p, rel_tol=1e-4)

# %%
import warnings

from thinktuning_lite.experiments.runs import quiet

quiet()
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # names in TRL

# %%
import tempfile
from pathlib import Path

from datasets import Dataset

from thinktuning_lite.classroom.sample import as_prompts
from thinktuning_lite.experiments.side_by_side import training_config

STEPS = steps(24, 2)
scratch = Path(tempfile.mkdtemp())
questions = Dataset.from_list(as_prompts(load_tiny_set("train")))


def settings(arm, n):
    """The main job's settings with smaller batches; every rollout logged, nothing saved."""
    return training_config(
        arm, 0, Path(tempfile.mkdtemp(dir=scratch)), n,
        gradient_accumulation_steps=2, guidance_steps=n, rollout_log_steps=1, save_strategy="no",
    )


# %% tags=["check"]
#@title Check: learning rate, group size, rollouts a step, and the rule for cut-off rollouts
chosen = settings("released", 2)
rollouts = chosen.per_device_train_batch_size * chosen.gradient_accumulation_steps
assert (chosen.learning_rate, chosen.num_generations, rollouts) == (5e-5, 8, 32)
assert chosen.reward_needs_eos  # a rollout that was cut off earns 0

# %%
from transformers import PrinterCallback

from thinktuning_lite import ThinkTuningTrainer, correctness_reward, read_rollouts


# %%
def train(arm, n=STEPS, teacher=None):
    """`arm`: a shaping, or "grpo" for no teacher. Policy, probe curves, metrics, rollouts."""
    began, watch, config = time.perf_counter(), Watch(), settings(arm, n)
    trainer = ThinkTuningTrainer(
        load_classroom()[0], correctness_reward, config, questions, teacher=teacher,
        teacher_prompt=TINY_PROMPT, processing_class=tokenizer, callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    entry = watch.seen["entry"]
    print(f"{arm}: {n} steps in {time.perf_counter() - began:.0f} s,", end=" ")
    print(f"entry token {entry[0]:.1e} -> {entry[-1]:.1e}")
    logged = list(read_rollouts(Path(config.output_dir) / "rollouts.jsonl"))
    metrics = [line for line in trainer.state.log_history if "loss" in line]
    return dict(policy=trainer.model, seen=watch.seen, metrics=metrics, rollouts=logged)


# %%
runs = {name: train(name) for name in NAMES}

# %%
plots.taught_tokens({name: run["seen"] for name, run in runs.items()})

# %% [markdown]
# **What a figure of means hides.** The *inspector* on the rollouts of the *released* run, token by token. *Least likely token* jumps to an
# entry token. Set *Shaping* to *intended*, or move *γ at A = −4* above *γ at A = +4* so that the released clamp clamps nothing, and watch
# its weight fall from about 1 to nearly 0. (Without a kernel a still picture stands in; in it darker tiles are *less* likely.)

# %%
from thinktuning_lite import Inspector

Inspector(runs["released"]["rollouts"], tokenizer)

# %% [markdown]
# *How to read it.* Left, on a logarithmic axis: the bandit's order, and its gap. Released and plain climb by much the same factor every step until the student samples that token by itself; intended and LUFFY stay near the start. Middle: the *other* taught tokens were likely from the start and stay so: every student *can* write the text, they differ in whether they *begin* it. Right: on its own solutions no student has moved far.
#
# In the bandit a token has its own logit; in a network all tokens share weights, so the *other* taught tokens push the entry token, too. The same blank line even stands a second time in every taught text, between reason and phrase. How much do they lend? To first order, a gradient step on some tokens moves the entry token by the inner product of the two gradients:

# %%
BLANK_LINE = next(i for i, a in zip(probe[0].ids, probe[0].author) if a)  # opens the phrase, too


def kind_of(row):
    """Of each token: own, entry, second (the other blank line) or rest."""
    first = row.author.tolist().index(True)
    after_first = ["second" if i == BLANK_LINE else "rest" for i in row.ids[first + 1 :]]
    return ["own"] * first + ["entry"] + after_first


# %%
def pushed(name, row, where):
    """Sum of s(p, A=1) log p over the row's tokens of that kind; gradients flow."""
    logits = model(input_ids=torch.tensor([row.prompt + row.ids])).logits
    lp = logits[0, len(row.prompt) - 1 : -1].log_softmax(-1)
    lp = lp.gather(1, torch.tensor(row.ids).unsqueeze(1)).squeeze(1)
    s = shaping.shape(name, lp.detach().exp(), torch.tensor(1.0)).gradient
    return (s * lp)[torch.tensor([kind == where for kind in kind_of(row)])].sum()


def gradient_of(name, where):
    """On all weights: the push of rewarded guidance through the tokens of that kind."""
    total = sum(pushed(name, row, where) for row in probe[:16])
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(model.parameters()))])


# %%
toward_entry = gradient_of("plain", "entry")
toward_entry = toward_entry / toward_entry.norm()
sources = {"entry token": "entry", "second blank line": "second", "other taught tokens": "rest"}


def pushes(name):
    along = {source: gradient_of(name, kind) @ toward_entry for source, kind in sources.items()}
    return {source: push.item() for source, push in along.items()}


push_on_entry = pd.DataFrame({name: pushes(name) for name in NAMES})
caption_of_push = "push on the entry token (inner product of gradients, at the start)"
push_on_entry.style.format("{:.3g}").set_caption(caption_of_push)

# %% tags=["check"]
#@title Check: the own push goes by the weight; undamped, it is nearly all there is
own_push = push_on_entry.loc["entry token"]
lent = push_on_entry.loc["second blank line"] + push_on_entry.loc["other taught tokens"]
assert own_push["released"] > 5 * own_push["intended"]
assert all(lent[name] < own_push[name] / 5 for name in ("released", "plain"))

# %% [markdown]
# With weight 1 the entry token's own push is nearly all there is; under the damped shapings what is left of it is of the size of what the other tokens lend (which is the larger differs from draw to draw), and both are small. (The second blank line lends nothing: there it is likely already, and a likely token has next to no gradient.) That is the push of *right* guidance; section 10 weighs it against the wrong. (A first-order look at the start, with plain gradients; Adam rescales them.) Now what the trained students do when sampled:

# %%
from thinktuning_lite.classroom.sample import evaluate

held_out = load_tiny_set("validation")[100 : 100 + steps(64, 16)]


def sampled(policy):
    scores, _ = evaluate(policy, tokenizer, held_out, seed=1, max_new_tokens=176)
    means = scores.summary()
    return {
        "right, %": 100 * means["accuracy"], "reflects, %": 100 * means["reflection"],
        "worked route, %": 100 * means["worked_route"], "tokens": means["length"],
    }


# %%
def probed(seen):
    return {
        "entry": seen["entry"][-1], "entry, times start": seen["entry"][-1] / at_start["entry"][0],
        "rest": seen["rest"][-1], "kl": seen["kl"][-1],
    }


lines = {"start": probed(at_start) | sampled(model)}
lines |= {name: probed(run["seen"]) | sampled(run["policy"]) for name, run in runs.items()}
outcome = pd.DataFrame(lines).T
shape_of = {"entry": "{:.1e}", "entry, times start": "{:.2g}", "rest": "{:.3f}", "kl": "{:.4f}"}
outcome.style.format(shape_of | dict.fromkeys(list(outcome)[4:], "{:.0f}"))

# %%
curves = {name: np.array(run["seen"]["entry"]) for name, run in runs.items()}
k = int(np.argmax(curves["released"] > 0.003))  # where released has clearly taken off
if not smoke():
    at_step = runs["released"]["seen"]["step"][k]
    print(f"released passes p = 0.003 by step {at_step}; there", end=" ")
    print(", ".join(f"{name} {curves[name][k]:.1e}" for name in NAMES))

# %% tags=["check"]
#@title Check: released and plain take the behaviour up, intended and LUFFY do not; nobody collapses
if not smoke():  # two steps show no effect of training
    up_to, begin = {name: curve.max() for name, curve in curves.items()}, curves["plain"][0]
    assert curves["released"][k] > 0.003 and up_to["plain"] > 0.003
    assert max(curves["intended"][k], curves["luffy"][k]) < curves["released"][k] / 10
    assert min(curves["released"][-1], curves["plain"][-1]) > 0.2
    assert max(up_to["intended"], up_to["luffy"]) < 20 * begin
    with_weight, damped = outcome.loc[["released", "plain"]], outcome.loc[["intended", "luffy"]]
    assert with_weight["worked route, %"].min() > damped["worked route, %"].max()
    assert with_weight["reflects, %"].min() > 30 and damped["reflects, %"].max() < 5
    assert with_weight["right, %"].mean() > outcome["right, %"]["start"]
    assert outcome["right, %"].min() > outcome["right, %"]["start"] - 20  # no collapse
    assert outcome["kl"].max() < 0.05 and STEPS == 24
    assert outcome["rest"].max() - outcome["rest"][list(NAMES)].min() < 0.05

# %% [markdown]
# The two students with weight 1 on the entry token now reflect and take the worked route more often (64 questions, so ± 12 points on what is right: the behaviour is certain, the accuracy less so); the other two are nearly the student they were. Nobody collapsed.
#
# What this does *not* show: that the intended shaping never gets there. Where hardly any guided rollout has $A<0$ it does (notebook 06, arm b); `python -m thinktuning_lite run --name aas --arms released intended` trains longer, over several seeds. And these are 24 steps of one seed in one tiny world: a mechanism, not a size.
#
# ## 10. Diagnosis and controls
#
# In every step every token's log-probability and weight was logged (some 96 guided rollouts a run, so 1 % is one rollout). Is what happened what we think? The telling number is the sum of $A\,w$ on entry tokens. By hand, for four guided rollouts of which three are right, $A=\pm1$:

# %%
for name in NAMES:
    four_pushes = [a * gradient_weight(name, entry_p, a) for a in (1.0, 1.0, 1.0, -1.0)]
    print(f"{name:9s} {sum(four_pushes):+.4f}")


# %%
def first_taught(rollout):
    return rollout.author.index(1)


def entry_weights(run):
    """Mean over the first half's rewarded rollouts, and the sums of A w, up and down."""
    taught = [r for r in run["rollouts"] if r.guided]
    early = [r for r in taught if r.advantage > 0 and r.step < STEPS // 2]
    of_early = [r.weights[first_taught(r)] for r in early]
    push = [r.advantage * r.weights[first_taught(r)] for r in taught]
    return {
        "entry weight, A > 0, first half": np.mean(of_early) if of_early else math.nan,
        "entry, sum of A w, up": sum(x for x in push if x > 0),
        "entry, sum of A w, down": sum(x for x in push if x < 0),
    }


# %%
def diagnose(run):
    taught = [r for r in run["rollouts"] if r.guided]
    rest = np.concatenate([r.weights[first_taught(r) + 1 :] for r in taught])

    def mean(key):
        return 100 * np.mean([line[key] for line in run["metrics"] if key in line])

    return {
        "guided right, %": 100 * np.mean([r.reward for r in taught]),
        "guided with A > 0, %": 100 * np.mean([r.advantage > 0 for r in taught]),
        "guided with A < 0, %": 100 * np.mean([r.advantage < 0 for r in taught]),
        **entry_weights(run),
        "weight, other taught tokens": rest.mean(),
        "largest weight": rest.max(),
        "groups of equal reward, %": mean("frac_reward_zero_std"),
        "bad format, %": mean("guidance/format_failures"),
        "cut off, %": mean("completions/clipped_ratio"),
        "largest grad norm": max(line["grad_norm"] for line in run["metrics"]),
    }


# %%
diagnosis = pd.DataFrame({name: diagnose(run) for name, run in runs.items()})
diagnosis.style.format("{:.3g}")

# %% [markdown]
# | row | expected | suspicious |
# |---|---|---|
# | guided right | near the teacher's accuracy | near the student's: feedback lost or mismatched |
# | guided with $A>0$ | most | near 0: guidance earns nothing |
# | guided with $A<0$ | a few | above 100 − break-even of section 8: about 1 under intended at $p\approx10^{-6}$, else about 50 |
# | entry weight, $A>0$ | by the curves of section 7 | about 0: the behaviour cannot start |
# | sum of $A\,w$, up | above the next row | below it: wrong guidance wins |
# | sum of $A\,w$, down | near 0 | larger than the row above, in size |
# | weight, other taught tokens | near 1 | far below: the teacher speaks another language |
# | largest weight | about 1 | far above: a token near the released pole |
# | groups of equal reward | 20 to 60 % | near 100: nothing to learn from |
# | bad format | below 10 % | rising: the teacher cannot read the student any longer |
# | cut off | near 0 % | rising: rambling; cut off earns 0 here (`reward_needs_eos`) |
# | largest grad norm | of order 1 | ten times its usual: see the largest weight |

# %% tags=["check"]
#@title Check: the entry token's weight orders the shapings; under intended wrong guidance wins
at_first = diagnosis.loc["entry weight, A > 0, first half"]
net = diagnosis.loc["entry, sum of A w, up"] + diagnosis.loc["entry, sum of A w, down"]
if not smoke():
    assert at_first["released"] > 5 * at_first["intended"] > 5 * at_first["luffy"]
    assert net["released"] > 0 and net["plain"] > 0 and net["intended"] < 0


# %% [markdown]
# *Read the two rows of sums beside the figure.* Under the released and plain weights right guidance pushes the entry token up far more than wrong guidance pushes it down. Under the intended ones the little that comes up is outweighed by the few rollouts with $A<0$, which push with weight 1: exercise 5, measured. So it sinks. And *largest weight*: a value far above 1 under the released shaping is a token that was caught near the pole.

# %% [markdown]
# **Negative controls.** If the entry token climbs *because right guidance is rewarded*, the climb must vanish (i) with the teacher switched off, and (ii) with **shuffled feedback**: well-formed guidance, but of another question's attempt, so that its answer is wrong. Both under the released shaping, the one that moved.

# %%
class Shuffled:
    """A teacher whose replies go to the next request: another group's, hence another question's."""

    def __init__(self, teacher):
        self.teacher = teacher

    def __call__(self, requests):
        replies = self.teacher(requests)
        return replies[-1:] + replies[:-1]


# %%
SHORT = steps(8, 2)
frozen = copy.deepcopy(model).requires_grad_(False)
mismatched = Shuffled(PolicyTeacher(frozen, tokenizer, TINY_PROMPT, 160))
controls = {"as it is": runs["released"], "teacher off": train("grpo", SHORT)}
controls["shuffled feedback"] = train("released", SHORT, mismatched)


# %%
def short_run(run):
    entry = run["seen"]["entry"]
    right = [r.reward for r in run["rollouts"] if r.guided] or [math.nan]
    return {
        "entry token, times start": entry[SHORT // 2] / entry[0],
        "guided rollouts right, %": 100 * np.mean(right),
    }


controlled = pd.DataFrame({name: short_run(run) for name, run in controls.items()}).T
after_short = f"after {SHORT} steps under the released shaping"
controlled.style.format("{:.3g}").set_caption(after_short)

# %% tags=["check"]
#@title Check: without a teacher the entry token stays, with shuffled feedback it sinks
if not smoke():
    change = controlled["entry token, times start"]
    were_right = controlled["guided rollouts right, %"]
    assert change["as it is"] > 1.5 and change["teacher off"] < 1.2
    assert change["shuffled feedback"] < 1.0
    assert were_right["shuffled feedback"] < 0.5 * were_right["as it is"]

# %% [markdown]
# ## 11. Which variant when
#
# | | rare taught token, $A>0$ | rare taught token, $A<0$ | measured here | not known here |
# |---|---|---|---|---|
# | **plain** (weight 1) | full push | full push | fewest updates in the bandit, beside released; the tiny student takes the behaviour up | what it does when *most* taught tokens are rare: nothing damps them |
# | **released** (what the code computes, $\gamma=-0.001$) | full push, by the guard | full push, by the fallback | as plain, plus a pole at $p=0.001$: seldom met, weights without bound | whether the paper's numbers come from this very code; whether the pole matters at scale |
# | **intended** (what the formula says, $\gamma=A/4000$) | damped, $\sim p/\gamma$ | full push, by the fallback | some twenty times plain's updates in the bandit; in 24 steps the tiny student does not begin; no weight above 1.12 | whether longer runs, other constants or the paper's own would change that |
# | **LUFFY** ($c=0.1$) | damped most, $\sim p/c$ | damped as much: the fall slows by itself | thousands of times plain's updates in the bandit; the tiny student does not begin | its full recipe (off-policy rollouts mixed in on large models) is more than this term |
#
# **To instil a behaviour that the student does not show**, the entry token needs weight: released or plain, with a learning rate that you watch. **To refine what it can already begin** ($p$ above about 0.01), intended and released are nearly the same, and the intended one has no pole. **With an unreliable teacher** only LUFFY leaves rare tokens alone, at the price of not learning them either. And whichever a run used, say which: "AAS" alone names two different weights.
#
# **Code map**, in `thinktuning_lite/`. `method/shaping.py`: the four shapings, $\gamma$, guards, the identity (`per_token_advantages`). `method/grpo.py`: the loss they plug into. `method/loss_seam.py`: how TRL gets the two tensors. `method/rollouts.py`: the log behind the diagnosis. `views/plots/`: the figures. `lessons/checks/shaping.py`: the exercises.
#
# **Next:** 04, training at full length, and with LoRA and 4-bit weights.

# %% [markdown]
# ## Quiz
#
# Decide before you open a line: each says what is right or wrong about its choice.

# %%
from thinktuning_lite.lessons.quiz import show_quiz

show_quiz("03")
