# Made from 07_beyond.ipynb by python -m thinktuning_lite.lessons.stamp, to read its changes: edit the notebook.

# %% [markdown]
# <!-- badge --><a href="https://colab.research.google.com/github/OWNER/thinktuning_lite/blob/main/notebooks/07_beyond.ipynb"><img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open in Colab"></a>
#
# # Beyond the paper: its wishes, its limits and its relatives, tried
#
# **Claim.** In this small world no control explains the gain of guidance: a coin for a reward, or guidance about another problem, gains nothing. (The gain itself, with
# three seeds, does not outlast the correction for so many looks.) A teacher that is wrong in a third of its answers costs nothing that is shown, and a worse one is ignored. But nothing that makes guidance cleverer (a bandit, hints, a schedule, two teachers) is
# shown to gain more than even draws at a constant fraction; a reward for steps is gamed once guidance shows how; and a calculator beats
# all of it.
#
# **You need to know** what guidance and the released AAS are ([02_teacher_guidance](02_teacher_guidance.ipynb),
# [03_advantage_aware_shaping](03_advantage_aware_shaping.ipynb)), and how a difference is read
# ([05_evaluation](05_evaluation.ipynb)).
#
# **Time:** 2.6 min, 1.0 GB of memory, on 2 CPU cores without a GPU (measured by the run)
#
# *Contents:* 1 wishes and limits · 2 the grid · 3 controls · 4 which feedback · 5 how much, and when · 6 how good a teacher ·
# 7 weak teachers together · 8 tools · 9 rewarding the steps · 10 relatives · 11 a behaviour of your own · 12 what it shows

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
import json

import pandas as pd

from thinktuning_lite.classroom.problems import DATA
from thinktuning_lite.experiments import runs, side_by_side
from thinktuning_lite.lessons.checks import beyond as check
from thinktuning_lite.lessons.runtime import smoke, steps
from thinktuning_lite.lessons.setup import workplace
from thinktuning_lite.method.prompts import BEHAVIOURS
from thinktuning_lite.views import plots

runs.quiet()

# %% [markdown]
# ## 1. What the paper wishes for, and what it does not ask
#
# The paper ends with four wishes and four limits. Since then relatives of the method have appeared, and readers ask a plainer
# question: is the gain real, or would a random reward do as well?
#
# | wish, limit or question | tried here by |
# |---|---|
# | richer feedback, or feedback that adapts | a bandit over behaviours; a hint first (section 4) |
# | a curriculum for the guided fraction | schedules and a controller, at equal teacher tokens (5) |
# | cascades of weak teachers | teachers made wrong at a known rate (6); two weak ones together (7) |
# | tools, other modalities | a calculator for the teacher, and one for the student (8) |
# | the reward sees final answers only | a reward for steps, and how it is gamed (9) |
# | four behaviours only | a fifth one, of your own (11) |
# | gains only where guidance earns more | teachers worse than the student (6) |
# | is the gain real? | a coin as reward; another problem's guidance (3) |
# | what do its relatives do? | hints for failed groups, DAPO's sampling, SDPO, SDFT, refinements (10) |
#
# **Write down your guesses** before you read on, in points of accuracy above GRPO (right answers at T=1, all three test sets together):

# %%
my_guess = {
    "released": ...,  # ThinkTuning as in the main job
    "random-reward": ...,  # GRPO, paid by a coin
    "shuffled": ...,  # released, each guidance about another problem
    "wrong-100": ...,  # released, every phrase of the teacher ends wrong
    "weak-second-reader": ...,  # two weak teachers, one after the other
    "start-calculator": ...,  # the untrained student, with a calculator
    "dynamic-sampling": ...,  # GRPO on groups whose rewards differ
}

# %% [markdown]
# ## 2. The grid
#
# Each arm is the main job with one change: 8 prompts x 8 rollouts a step, three seeds, the same start. The table is the saved log
# of `thinktuning beyond`, which takes about two hours on two cores; a live part comes in sections 9 and 11.

# %%
log = DATA / "logs" / "beyond"
saved = json.loads((log / "results.json").read_text(encoding="utf-8"))
curves = json.loads((log / "curves.json").read_text(encoding="utf-8"))
plan = json.loads((log / "config.json").read_text(encoding="utf-8"))
arms, made = saved["arms"], saved["comparisons"]
SEEDS, SETS = plan["seeds"], side_by_side.TEST_SETS
commits = json.loads((log / "environment.json").read_text(encoding="utf-8"))["commit"]
print(f"{len(arms)} arms, seeds {SEEDS}, {plan['steps']} steps each, at commits {commits}")
print(f"{len(made)} comparisons, all corrected together")


# %%
def compared(arm, reference):
    return next((c for c in made if (c["arm"], c["reference"]) == (arm, reference)), None)


def difference(arm, reference):
    # in points with its 95 % interval; * when shown after the correction
    found = compared(arm, reference)
    if found is None:
        return "–"
    points = [100 * found["difference"][k] for k in ("estimate", "low", "high")]
    star = "" if found["verdict"] == "no difference shown" else " *"
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*points) + star


# %%
def share(arm, kind):
    # % right over all test questions and seeds; kind: sampled (T=1) or greedy
    digits = "".join(run["sets"][name][kind] for run in saved["runs"][arm] for name in SETS)
    return 100 * digits.count("1") / len(digits)


def row_of(arm, references):
    means = pd.DataFrame([run["sets"][s] for run in saved["runs"][arm] for s in SETS])
    means = means[["reflection", "length"]].mean()
    cost = pd.DataFrame([run["cost"] for run in saved["runs"][arm]]).mean() / 1000
    return {
        "T=1, %": f"{share(arm, 'sampled'):.1f}",
        "greedy, %": f"{share(arm, 'greedy'):.1f}",
        "reflects, %": f"{100 * means.reflection:.0f}",
        "tokens": f"{means.length:.0f}",
        "sampled, k": f"{cost.sampled_tokens:.0f}",
        "taught, k": f"{cost.taught_tokens:.1f}",
    } | {f"minus {r}": difference(arm, r) for r in references}


def of_arms(names, *references):
    # a row an arm: accuracy, reflection, tokens, and the difference to each reference
    return pd.DataFrame({arm: row_of(arm, references) for arm in names}).T


# %%
of_arms(["start", "grpo", "released", "intended"], "grpo")

# %% [markdown]
# *T=1* and *greedy*: right answers over 900 test questions, three seeds. *tokens*: of an answer. *sampled*, *taught*: thousands of tokens
# in training, by the student and, in the loss, by a teacher. An interval is for other seeds *and* other questions; a star needs it to
# leave out 0 after Holm's correction over **all** comparisons of the grid. With three seeds intervals are wide: no star is not *no
# difference*.

# %% [markdown]
# ## 3. Controls first: what must not help
#
# Before an arm's gain is believed, three arms must do nothing. **A coin** pays each rollout by chance: nothing can be learnt from it.
# **A coin, guided**: is guidance by itself enough, whatever is paid? **Shuffled**: guidance of the usual form and length, about another
# problem.

# %%
of_arms([a for a in arms if arms[a]["group"] == "controls"], "grpo", "start")

# %% [markdown]
# **What they do.** The coin gains nothing and, by its estimate, *harms* (unstarred against the start; guided, starred against GRPO): advantages that mean nothing still move
# the policy. Guided or not, no difference is shown, so guidance alone is no teacher: it teaches through the reward. Guidance about another
# problem hardly ever earns its reward, is pushed down and not taken up, and the run ends where GRPO does or a little
# below. So neither a regularity of rewards nor form and length explain what `released` gains.

# %% tags=["check"]
#@title Check: what the controls do
for control, reference in (("random-reward", "start"), ("shuffled", "grpo")):
    assert compared(control, reference)["difference"]["high"] < 0  # no gain
paid_by_chance = compared("random-reward-guided", "random-reward")["difference"]
assert paid_by_chance["low"] < 0 < paid_by_chance["high"]

# %% [markdown]
# ### Exercise 1 (★★☆, 6 min)
#
#
# **A real gain, or a random reward's?** Write `real_gain(arm, grpo, random)`: three lists with the accuracy of each seed, in points, the same
# seeds in the same order. True only if the arm is shown to be above GRPO *and* above the random reward: 95 % t-interval of the
# differences seed by seed above 0 (`sample.seed_interval(values)` gives mean and half-width).

# %% tags=["exercise"]
from thinktuning_lite.classroom import sample


def real_gain(arm, grpo, random):
    return ...  # your code


# %% tags=["exercise-check"]
check.real_gain(real_gain)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from thinktuning_lite.classroom import sample
#
#
# def real_gain(arm, grpo, random):
#     def above(other):
#         mean, half = sample.seed_interval([a - b for a, b in zip(arm, other)])
#         return mean - half > 0
#
#     return above(grpo) and above(random)
# ```
#
# </details>

# %%
def by_seed(arm):
    return [
        100 * sum(run["sets"][s]["sampled"].count("1") for s in SETS)
        / sum(len(run["sets"][s]["sampled"]) for s in SETS)
        for run in saved["runs"][arm]
    ]


pd.DataFrame({arm: by_seed(arm) for arm in ("grpo", "released", "random-reward")}).round(1)

# %% [markdown]
# ## 4. Which feedback helps this student, now?
#
# The trainer draws one of four behaviours evenly. **The bandit** draws by Thompson sampling: a behaviour *helped* when its guided rollout had
# an advantage above 0; each choice samples a chance of helping from what was seen so far and takes the behaviour with the highest.
# **Hint first** gives reason and first equation only, where the student can go on from there by itself; the whole solution else.
# (The teacher's own choice, the authors' way, cannot be tried: the tiny teacher cannot choose.)

# %%
of_arms(["released", *(a for a in arms if arms[a]["group"] == "feedback")], "grpo", "released")


# %%
def metrics_of(arm):
    return [row for seed in SEEDS for row in curves[f"{arm}-seed{seed}"]["metrics"]]


def guided(rows, behaviour, helped=False):
    # guided rollouts with that behaviour; those of them whose advantage was above 0
    key = f"guidance/behaviour/{behaviour}/"
    return sum((r.get(key + "guided") or 0) * (r[key + "helped"] if helped else 1)
               for r in rows if r.get(key + "guided"))


def drawn(arm):
    rows = metrics_of(arm)
    half = max(r["step"] for r in rows if r.get("guidance/fraction")) / 2
    parts = {"first half": [r for r in rows if r["step"] <= half],
             "second half": [r for r in rows if r["step"] > half]}
    shares = {name: {b: guided(part, b) / sum(guided(part, x) for x in BEHAVIOURS)
                     for b in BEHAVIOURS} for name, part in parts.items()}
    helped = {b: guided(rows, b, helped=True) / guided(rows, b) for b in BEHAVIOURS}
    return pd.DataFrame(shares | {"helped": helped})


drawn("bandit").style.format("{:.0%}").set_caption("guided rollouts of the bandit, by behaviour")

# %% [markdown]
# **Nothing to choose.** The bandit does favour one behaviour, and all four help about equally often, since the tiny teacher's solution behind
# them is the same: where choices do not differ, choosing well gains nothing. Hint first gains nothing
# either, for the same reason: where a reason alone would do, the solution does no harm.

# %% [markdown]
# ## 5. How much guidance, and when?
#
# All arms here may spend the same teacher tokens. **released** guides one of eight for 70 % of the steps. **linear** begins with half of each
# group and falls to none, and so is over early; **cosine** falls by a cosine. **spread** guides one of eight in two steps of three, to the last. **The controller** guides more where whole groups are wrong, and ends for good
# once the student's own rollouts earn as much as the guided ones.

# %%
scheduled = ["released", *(a for a in arms if arms[a]["group"] == "curriculum")]
rollouts = side_by_side.PROMPTS_PER_STEP * side_by_side.GROUP_SIZE
by_arm = {a: [curves[f"{a}-seed{seed}"]["metrics"] for seed in SEEDS] for a in scheduled}
plots.guidance_over_steps(by_arm, rollouts)

# %%
of_arms(scheduled, "grpo", "released")


# %% [markdown]
# **When hardly matters here.** The controller guides a quarter of each group and has spent the budget after a dozen steps, the falling schedules after nine;
# what is there at the end does not differ by more than the intervals. Once reflection is taken up its own reward keeps it, and that takes
# a few steps of guidance, early or late.

# %% [markdown]
# ### Exercise 2 (★★☆, 8 min)
#
#
# **Design a schedule at a token budget.** Write `schedule(step, steps, left, cost)`: the fraction of each group (8 groups of 8) to guide at
# `step` (from 0) of `steps`, when `left` teacher tokens may still be spent and a guided rollout costs `cost`. Stay within the
# budget, never guide more than half of a group, nothing in the last 30 % of the steps, and leave no great part unspent. (A
# fraction above 0 guides at least one rollout in each group.)

# %% tags=["exercise"]
def schedule(step, steps, left, cost):
    return ...  # your code


# %% tags=["exercise-check"]
check.schedule(schedule)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def schedule(step, steps, left, cost):
#     to_come = math.ceil(0.7 * steps) - step  # steps that may be guided, this one among them
#     smallest = 8 * cost  # one rollout in each of the 8 groups
#     if to_come <= 0 or left < smallest:
#         return 0.0
#     return min(4, max(1, left // (smallest * to_come))) / 8
# ```
#
# </details>

# %% [markdown]
# ## 6. How good must a teacher be?
#
# The shipped teacher's phrases are made wrong at a rate: one result is changed and carried on, so that the phrase ends with another answer and
# reads as well as before. How good a teacher then is, the log says: the share of guided rollouts that end right.

# %%
WRONG = {
    "released": ["released", "wrong-33", "wrong-67", "wrong-100"],
    "intended": ["intended", "intended-wrong-33"],
    "LUFFY": ["luffy", "luffy-wrong-33"],
}


def teacher_right(arm):
    # share of guided rollouts that ended right, over the guided steps of all seeds
    earned = [row.get("guidance/reward/guided") for row in metrics_of(arm)]
    earned = [share for share in earned if share is not None]
    return sum(earned) / len(earned)


points = {
    shaping: [(teacher_right(a), compared(a, "grpo")["difference"]) for a in names]
    for shaping, names in WRONG.items()
}
plots.gain_by_teacher(points)

# %%
of_arms([arm for names in WRONG.values() for arm in names], "grpo", "released")


# %% [markdown]
# **A bad teacher is ignored, not obeyed.** With a third of its phrases made wrong the gain is what it was. With two thirds it is gone, and with all of them
# wrong the run still ends where GRPO does: a guided rollout that ends wrong has a negative advantage, so its tokens are pushed down. No
# harm point is found in this world under the released shaping. The
# intended shaping and LUFFY's teach next to nothing here, and so a worse teacher costs them nothing.

# %% [markdown]
# ### Exercise 3 (★★☆, 6 min)
#
#
# **Find the harm point.** Write `harm_point(accuracies, gains)`: the accuracy of the teacher at which the gain over GRPO changes from below 0 to 0 or
# more, on the straight line between the two points around it; None where it never does. The points come in any order.

# %% tags=["exercise"]
def harm_point(accuracies, gains):
    return ...  # your code


# %% tags=["exercise-check"]
check.harm_point(harm_point)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def harm_point(accuracies, gains):
#     points = sorted(zip(accuracies, gains))
#     for (a, low), (b, high) in zip(points, points[1:]):
#         if low < 0 <= high:
#             return a + (b - a) * -low / (high - low)
#     return None
# ```
#
# </details>

# %% [markdown]
# ## 7. Do two weak teachers make a good one?
#
# A weak teacher is the shipped one with noise on its weights: it errs by itself and keeps the form. **second-reader**: a second weak one
# reads the rollout with the first one's guidance behind it, and is heard. **agree**: guidance only where two weak ones, asked
# separately, end with the same answer, at equal tokens in the loss.

# %%
weak = [a for a in arms if arms[a]["group"] == "cascade"]
table = of_arms(["released", *weak], "released", "weak").drop(columns="sampled, k")
table.insert(2, "guided right, %", [f"{100 * teacher_right(a):.0f}" for a in table.index])
table

# %% [markdown]
# **They do not compound.** A weak teacher teaches about as much as the shipped one, because wrong phrases cost nothing while right ones pay (section 6).
# The second reader makes it worse by its estimate: spliced text is nothing it was pretrained to read, and it is right in 41 % of guided rollouts.
# Agreement picks better phrases (88 % right) and costs five times the teacher's tokens, for no gain that is shown.

# %% [markdown]
# ## 8. Tools
#
# A calculator completes equations while somebody writes: what follows `=` is worked out, not guessed. **For the teacher** it is free of any
# bookkeeping: its words are in the loss, whoever found the numbers. **For the student** the tool's tokens are no choice of its own, so they
# stay out of the loss by a mask, as TRL does for its `tools`. Guidance and TRL's tools go together, too: guidance follows the last turn.

# %%
of_arms(["released", *(a for a in arms if arms[a]["group"] == "tools")], "grpo", "released")

# %% [markdown]
# **The tool beats the training.** The student with a calculator, untrained, is right in nearly all answers: nearly all its errors are slips of arithmetic, which
# is what reflection mends at the price of an answer three times as long. Where a tool does the job, give the tool. Trained with
# it, GRPO adds nothing that is shown. The teacher's calculator makes nine of ten guided rollouts right instead of eight, and that changes nothing
# that is shown, as section 6 would say.

# %% [markdown]
# ## 9. Rewarding the steps, and how that is gamed
#
# The paper's reward sees final answers only. **process-reward** adds up to half a point for the *share* of equations that hold;
# **counted-steps** pays for their *number*, a twentieth each. Write down: which of them will be gamed, by GRPO or by ThinkTuning?

# %%
of_arms([a for a in arms if arms[a]["group"] == "steps"], "grpo", "released")

# %%
STEPPED = {
    "equations": "steps/equations", "of these idle": "steps/padding",
    "share that holds": "steps/hold", "before the first error": "steps/before_error",
}


def ends(arm, key):
    # mean over seeds: the first and the last five steps of a run
    steps_of = [curves[f"{arm}-seed{seed}"]["metrics"] for seed in SEEDS]
    parts = [[row[key] for rows in steps_of for row in rows[part]]
             for part in (slice(0, 5), slice(-5, None))]
    return "{:.2f} to {:.2f}".format(*(sum(part) / len(part) for part in parts))


stepped = [arm for arm in arms if arms[arm]["group"] == "steps"]
pd.DataFrame({arm: {name: ends(arm, key) for name, key in STEPPED.items()} for arm in stepped}).T

# %% [markdown]
# **A reward can be gamed only by what is sampled.** GRPO never samples an equation that the problem does not need, so number and share end where they
# began. Guidance brings second solutions: with the *share* paid, the answers hold more idle equations, and no fewer reflect. With the *number* paid
# it goes further: a second solution is paid and mends the first, then a third and a fourth are paid, until answers are cut
# off and right ones lost. The number of equations went up all the while.

# %% [markdown]
# **Live:** the last arm once more, at four times its learning rate, so that a few steps show it. Watch what is paid for steps beside what is right.

# %%
from thinktuning_lite.method.rewards import correctness_reward, counted_steps_reward

config = side_by_side.training_config(
    "released", 0, workplace("notebook07") / "counted", steps(10, 2), learning_rate=2e-4,
    reward_weights=[1.0, 0.5], guidance_steps=steps(10, 2),
)
counted = runs.train_run(
    "counted steps", config, reward_funcs=[correctness_reward, counted_steps_reward]
)

# %%
live = pd.DataFrame(counted.state.log_history).dropna(subset=["reward"]).set_index("step")
WATCHED = {
    "rewards/counted_steps_reward/mean": "paid for steps",
    "rewards/correctness_reward/mean": "right",
    "steps/equations": "equations",
    "steps/padding": "of these idle",
    "completions/clipped_ratio": "cut off",
}
live[list(WATCHED)].rename(columns=WATCHED).round(2)

# %% tags=["check"]
#@title Check: what is paid rises, then what is right falls
paid, is_right = (live[name] for name in list(WATCHED)[:2])
assert smoke() or (paid.max() > 1.5 * paid.iloc[0] and is_right.iloc[-1] < is_right.iloc[0] / 2)

# %%
example = side_by_side.sample.load_tiny_set("validation")[0]["question"]
said = side_by_side.sample.respond(counted.model, counted.processing_class, [example])
print(example, counted.processing_class.decode(said[0], skip_special_tokens=True), sep="\n\n")


# %% [markdown]
# Equations triple, a good part of them idle (repeated, or about nothing), then answers run into the token limit, earn nothing, and what is right goes
# with them. The reward curve alone shows a success for half of the way: log what you want beside what you pay.

# %% [markdown]
# ### Exercise 4 (★☆☆, 5 min)
#
#
# **Spot the arm that gamed its reward.** `arms` maps names to what changed over training: `reward` (the process reward), `right` (share of right
# answers), `equations` (an answer). Write `gamed(arms)`: the name of the arm whose reward rose by more than 0.05 while right answers rose
# by no more than 0.02; None where there is none.

# %% tags=["exercise"]
def gamed(arms):
    return ...  # your code


# %% tags=["exercise-check"]
check.gamed(gamed)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def gamed(arms):
#     for name, change in arms.items():
#         if change["reward"] > 0.05 and change["right"] <= 0.02:
#             return name
#     return None
# ```
#
# </details>

# %% [markdown]
# ## 10. The relatives, at the same start
#
# **failed-only**: guidance only where all eight rollouts of a group are wrong, as GHPO and Guide give their hints. **dynamic-sampling** (DAPO): half as many
# groups again, trained on those whose rewards differ, in two thirds of the steps. **refinement** (after Critique-GRPO): the teacher's solution
# takes the attempt's place. **sdpo**, **sdft**: TRL's own trainers; the same weights, having read a right solution, judge each token.

# %%
of_arms([a for a in arms if arms[a]["group"] == "relatives"], "grpo", "released")

# %%
trained = [a for a in arms if a not in ("grpo", "start", "start-calculator")]
plots.arm_differences(made, trained, ["grpo", "released"])

# %%
pd.DataFrame({
    arm: {"your guess": "–" if guess is ... else f"{guess:+}", "it was": difference(arm, "grpo")}
    for arm, guess in my_guess.items()
}).T

# %% [markdown]
# **No relative is shown above GRPO here, and two are below ThinkTuning by a shown difference.** (Refinement was a third, until four more comparisons joined the log: docs/results.md.) Resampling groups of unequal rewards leaves GRPO's result. The refinement in the attempt's place earns its reward as often as LUFFY's guidance behind it and
# teaches as little as LUFFY's shaping does at this rate. SDPO and SDFT pull every token towards a frozen self that has read a right solution, and lose
# by it, SDFT most on longer problems (set by set in docs/results.md); why was not looked into. **Guidance for failed groups only** is the thrifty one: with an
# eighth of the teacher's tokens two seeds of three end near ThinkTuning, and one does not take reflection up; between those two its
# interval decides nothing. None of them was tuned; theirs are
# TRL's defaults at the main job's learning rate.

# %% [markdown]
# ## 11. A behaviour of your own
#
# A behaviour is data: a name, and a sentence that the teacher says before its solution. Half a point is paid for saying it. Two sentences that are
# new to the student, with its probability of each token behind its own right answer. Which one will it take up?

# %%
from thinktuning_lite.experiments.own_behaviour import OwnBehaviour, instil, never_taught

mine = OwnBehaviour("working it out", "Let me work it out with care.")  # or your own
other = OwnBehaviour("checking", "Let me check that with care.")

# %%
from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.classroom.turns import solution_text
from thinktuning_lite.experiments.movie_quote import completion_logps

student, tokenizer = load_classroom()
row = sample.load_tiny_set("validation")[0]
solution = solution_text(row["chain"].split()) + "\n\n"
solved = tokenizer.encode(solution, add_special_tokens=False)
for sentence in (mine.says, other.says):
    said = tokenizer.encode(sentence, add_special_tokens=False)
    logps = completion_logps(student, tokenizer, [row["question"]], [solved + said])[0]
    each = zip(said, logps[-len(said):].exp().tolist())
    print(*(f"{tokenizer.decode([i])} {p:.0e}" for i, p in each), sep=" |")
    print("never taught:", never_taught(sentence, student, tokenizer), end="\n\n")

# %% [markdown]
# Rare is not the trouble: *work* has a probability of two in a million. **Never taught** is: pretraining never had *check* or *that* as a target, so their
# embeddings point where the padding's does, with those of many others, and a push for one pushes them all. (Guided and paid in runs of one seed
# each, released AAS and weight 1, some other such word came in their place; no log of those is kept.) Hence the first sentence, live:

# %%
folder = workplace("notebook07") / "own"
found = instil(mine, steps=steps(24, 2), questions=steps(60, 8), folder=folder)

# %%
for name in ("before", "after"):
    right = found[f"accuracy_{name}"]
    print(f"{name}: {found[name]:.0%} of sampled answers say it, {right:.0%} are right")
print(*found["examples"][:2], sep="\n---\n")

# %% tags=["check"]
#@title Check: instilled
assert smoke() or found["before"] < 0.05 and found["after"] > 0.5

# %% [markdown]
# A behaviour nobody asked for is in nearly every answer after a minute or so of training, in this one seed, and reward had to pay for it. (Half a point, guidance behind the first
# answer, two rollouts of eight guided, four times the main job's learning rate: `own_behaviour.SETTINGS`.)

# %% [markdown]
# ## 12. What this shows, and what it does not
#
# - **One world, three seeds.** Its errors are arithmetic, its teacher's solution is the same behind every behaviour, and its student copies
#   what pretraining prepared. Nothing here says how large models behave.
# - **Many looks.** After Holm's correction over all comparisons few differences are shown; the rest are estimates with wide intervals.
# - **One budget.** Equal rollouts a step; a method that needs more steps, another rate or other weights had no chance to show it. None of an arm's
#   numbers was tuned but those that the main job tuned on validation.
# - **Not run:** the four behaviours each alone. The same command goes on with them.
#
# **Other modalities.** The trainer is for text: it refuses image columns and vision models before training, with the reason (guidance is spliced
# in as tokens of text, and the teacher's request carries a question and a response in words). What is missing: a request that
# carries the image, a teacher that reads it, and a splice that leaves image placeholders where they are.

# %% [markdown]
# ## Quiz
#
# Decide before you open a line: each says what is right or wrong about its choice.

# %%
from thinktuning_lite.lessons.quiz import show_quiz

show_quiz("07")

# %% [markdown]
# ## Where the code is
#
# | here | in the package |
# |---|---|
# | the grid, its arms, `thinktuning beyond` | `experiments/beyond.py`, `experiments/beyond_arms.py` |
# | relatives as arms, and their trainers | `experiments/beyond_relatives.py`, `experiments/relatives.py` |
# | bandit, schedules, controller | `experiments/beyond_policies.py` |
# | wrong, weak, second-reading and hinting teachers | `experiments/beyond_teachers.py` |
# | the calculators | `method/calculator.py`, `method/calculator_trainer.py` |
# | rewards for steps, the coin | `method/rewards.py`, `method/equations.py` |
# | figures | `views/plots/beyond.py` |
# | `check.schedule` and the other checks | `lessons/checks/beyond.py` |
#
# This is the last notebook of the walk. Back to the map: [00_start_here](00_start_here.ipynb).
