# Made from 05_evaluation.ipynb by python -m thinktuning_lite.lessons.stamp, to read its changes: edit the notebook.

# %% [markdown]
# <!-- badge --><a href="https://colab.research.google.com/github/OWNER/thinktuning_lite/blob/main/notebooks/05_evaluation.ipynb"><img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open in Colab"></a>
#
# # Evaluation: what a number is worth
#
# **Claim.** The best of eight runs of *one and the same model* on 75 questions looks at least eight points better than a ninth run in
# more than one try of four. Compared question by question and corrected for eight looks, nine tries of ten call none of the eight
# better. (Section 7.)
#
# **You need to know** what GRPO and ThinkTuning train ([00_start_here](00_start_here.ipynb)); mean and standard deviation, no more
# statistics than that.
#
# **Time:** 1.2 min, 0.8 GB of memory, on 2 CPU cores without a GPU (measured by the run)
#
# *Contents:* 1 one question through the evaluator · 2 one number · 3 two methods, the same questions · 4 several training seeds ·
# 5 several samples · 6 the table · 7 an attractive gain · 8 looking closer · 9 real models, and the paper's numbers

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
from thinktuning_lite.lessons.setup import install_extra

install_extra("eval")  # on a hosted machine: lm-evaluation-harness

import json
import math
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from IPython.display import display

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.evaluation import behaviours, statistics
from thinktuning_lite.evaluation.harness import GREEDY, SAMPLED, TASKS
from thinktuning_lite.evaluation.harness import Record, StoredLM, hub_model, run_tasks
from thinktuning_lite.experiments.runs import quiet
from thinktuning_lite.lessons.checks import evaluation as check
from thinktuning_lite.lessons.runtime import smoke, steps
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.views import plots

# %%
quiet()
datasets.disable_progress_bars()
scratch = Path(tempfile.mkdtemp())
model, tokenizer = load_classroom()
print(f"the shipped student: {model.num_parameters():,} parameters")

# %% [markdown]
# ## 1. One question, asked by the field's own evaluator
#
# Nothing here samples or batches by itself: that is [lm-evaluation-harness](https://github.com/EleutherAI/lm-evaluation-harness)'s
# work, as in most papers. A benchmark is one file that says where the questions are, how they are put, what counts as an answer and
# who grades. The tiny classroom's, and the base that all benchmarks of this project share:

# %%
TASK = "tt_tiny_test"
for name in ("tiny_test.yaml", "base.yaml"):
    print(f"--- {name}\n{(TASKS / name).read_text(encoding='utf-8')}")

# %%
student = StoredLM(hub_model(model, tokenizer), scratch / "student.db")
greedy = run_tasks(student, [TASK], tokenizer, generation=GREEDY, limit=steps(300, 60))[TASK]
one = next(r for r in greedy if not r.correct[0])
print(f"question   {one.doc['question']}")
print(f"response   {one.responses[0]}\nstates     {one.answers[0]}")
print(f"gold       {one.doc['answer']}   ({one.doc['chain']})")
print(f"right      {one.correct[0]}\ntokens     {one.lengths[0]}")

# %% [markdown]
# **No answer stated** is a category of its own, and never a guess. Here the same student, once with room for 240 tokens and once
# with room for 24:

# %%
tight = GREEDY | {"max_gen_toks": 24}
short = run_tasks(student, [TASK], tokenizer, generation=tight, limit=len(greedy))[TASK]


def outcome(answer, right):
    return "no answer" if answer is None else "right" if right else "wrong"


def count(records):
    said = [outcome(a, ok) for r in records for a, ok in zip(r.answers, r.correct)]
    return {name: said.count(name) for name in ("right", "wrong", "no answer")}


pd.DataFrame({"240 tokens": count(greedy), "24 tokens": count(short)})

# %%
cut = next(r for r in short if r.answers[0] is None)
guess = extract_answer(cut.responses[0], allow_last_number=True)
print(f"cut off:  {cut.responses[0]}\nstates:   {extract_answer(cut.responses[0])}")
print(f"a guess would say {guess}, gold is {cut.doc['answer']}")

# %% tags=["check"]
#@title Check: a small budget cuts answers off, a large one does not
assert count(short)["no answer"] > count(short)["wrong"]
assert count(greedy)["no answer"] == 0

# %% [markdown]
# What counts, in training as in evaluation, is read by the same two functions: `extract_answer` (what is stated) and `is_correct`
# (whether it is right). A policy finds every hole in such rules, so know them. Ten responses to a question whose answer is 18:

# %%
FORMS = [
    r"\boxed{18}", "9+9=18. #### 18", r"\boxed{18.0}", r"<think>\boxed{20}</think> \boxed{18}",
    "\\boxed{18}\nQuestion: 2+4?\n\\boxed{6}", r"\boxed{18} No: \boxed{20}",
    r"\boxed{9+9}", r"\boxed{18 or 20}", "The answer is 18.", r"\boxed{}",
]
stated = [extract_answer(text) for text in FORMS]
judged = [outcome(said, is_correct(said or "", "18")) for said in stated]
WHY = [
    "the last box", "behind ####, where there is no box", "equal in value", "thoughts do not count",
    "a question of its own is not read", "the last box, not the best", "work left undone",
    "two answers", "prose states no number", "an empty box states nothing",
]
rules = pd.DataFrame({"response": FORMS, "counts as": judged, "why": WHY})
rules.style.format(escape="html").hide()

# %% tags=["check"]
#@title Check: five right, three wrong, two that state nothing
assert judged == ["right"] * 5 + ["wrong"] * 3 + ["no answer"] * 2


# %% [markdown]
# Same weights, same questions. A reader of the right answers alone would call the second a worse model; it is a smaller budget.
#
# ### Exercise 1 (★☆☆, 3 min)
#
# Write `outcomes(answers, golds)`: a dict with the *counts* of `"right"`, `"wrong"` and `"no answer"`, from the stated answers (`None`
# where none is stated) and the gold ones. `is_correct(stated, gold)` compares: 1/2 is 0.5.

# %% tags=["exercise"]
def outcomes(answers, golds):
    return ...  # your code


# %% tags=["exercise-check"]
check.outcomes(outcomes)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def outcomes(answers, golds):
#     none = sum(a is None for a in answers)
#     right = sum(a is not None and is_correct(a, g) for a, g in zip(answers, golds))
#     return {"right": right, "wrong": len(golds) - right - none, "no answer": none}
# ```
#
# </details>

# %% [markdown]
# The same file works without Python, on any checkpoint, with everything that the harness's command line can do:
#
# ```bash
# lm_eval --model hf --model_args pretrained=data/tiny_classroom \
#     --include_path thinktuning_lite/evaluation/tasks --tasks tt_tiny_test \
#     --apply_chat_template --batch_size 64 --log_samples --output_path runs/cli
# ```
#
# **Interrupted, it goes on.** The harness's own cache passes sampled requests by: it cannot tell two samples of a prompt apart.
# `StoredLM` can. Below the model fails in the middle; a second evaluation asks only for what is missing, a third for nothing.

# %%
def evaluation(path, failing_at=None):
    # Two samples of 30 questions, 20 requests at a time; the model counts them, and may break down
    inner, asked = hub_model(model, tokenizer), []
    generate = inner.generate_until

    def counted(requests, **options):
        if len(asked) == failing_at:
            raise ConnectionError
        asked.append(len(requests))
        return generate(requests, **options)

    inner.generate_until = counted
    settings = {"repeats": 2, "generation": SAMPLED | {"max_gen_toks": 48}, "limit": 30}
    try:
        records = run_tasks(StoredLM(inner, path, chunk=20), [TASK], tokenizer, **settings)[TASK]
    except ConnectionError:
        return None, sum(asked)
    return [r.responses for r in records], sum(asked)


# %%
with tempfile.TemporaryDirectory() as folder:
    store = Path(folder) / "interrupted.db"
    interrupted = [evaluation(store, failing_at=2), evaluation(store), evaluation(store)]
    at_once = evaluation(Path(folder) / "at_once.db")
requests = [n for _, n in interrupted]
print("requests that reached the model:", requests, "  at once:", at_once[1])

# %% tags=["check"]
#@title Check: nothing is asked twice, and the samples are those of an undisturbed run
assert requests == [40, 20, 0] and at_once[1] == 60
assert interrupted[1][0] == interrupted[2][0] == at_once[0]


# %% [markdown]
# ## 2. One number
#
# $r$ of $n$ answers are right, $\hat p = r/n$. An **interval** holds all true shares $p$ under which what was seen would be no surprise: those
# with $|\hat p - p| \le z\sqrt{p(1-p)/n}$, $z = 1.96$ for 95 %. Solved for $p$ this is Wilson's interval:
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}$$
# By hand: 2 of 4 right. The middle is $\frac12$ whatever $z$, and the half width $\frac{z}{2\sqrt{4 + z^2}} \approx 0.35$: four answers
# tell next to nothing.

# %%
def wilson(right, n, z=1.959964):
    p = right / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return middle - half, middle + half


print("2 of 4:", [round(x, 2) for x in wilson(2, 4)])
right, n = count(greedy)["right"], len(greedy)
low, high = wilson(right, n)
print(f"greedy: {right} of {n} right, {right / n:.1%}, interval {low:.1%} to {high:.1%}")
assert np.allclose((low, high), statistics.proportion_interval(right, n), atol=1e-6)

# %%
SIZES = {"AIME, one year": 30, "75 questions": 75, "GPQA-Diamond": 198, "MATH-500": 500}
half_width = {name: 50 * (wilson(n / 2, n)[1] - wilson(n / 2, n)[0]) for name, n in SIZES.items()}
table = pd.DataFrame({"questions": SIZES, "half width, points": half_width})
table.style.format({"half width, points": "{:.1f}"}).set_caption("one run, half right")

# %% tags=["check"]
#@title Check: whole points of uncertainty, even with 500 questions
assert half_width["MATH-500"] > 4 and half_width["AIME, one year"] > 15

# %% [markdown]
# Whose gains are larger than that? Now the same evaluation over and over: **one model, 75 questions, temperature 1**, and each run with
# its own random numbers (the $j$-th sample of every question makes run $j$).

# %%
RUNS = steps(16, 4)
settings = {"repeats": RUNS, "generation": SAMPLED, "limit": steps(75, 25)}
sampled = run_tasks(student, [TASK], tokenizer, **settings)[TASK]
runs = np.array([r.correct for r in sampled], dtype=float).T  # (runs, questions)
spread = 100 * (runs.mean(1).max() - runs.mean(1).min())
print(f"best minus worst: {spread:.1f} points")
plots.run_intervals(runs)

# %% tags=["check"]
#@title Check: the best and the worst run of one model are far apart
assert smoke() or spread > 6

# %% [markdown]
# *How to read it.* The dots differ, the model does not. And the bars are wider than the dots scatter, because they answer another
# question: the dots change the **samples** and keep the questions, a bar also allows for **other questions**. With $p_i$ the student's
# chance on question $i$ and $\bar p$ their mean, the two variances are $\frac1n\,\overline{p_i(1-p_i)}$ and $\frac1n\,\bar p(1-\bar p)$.

# %%
chance = runs.mean(0)  # (questions,)
within = (chance * (1 - chance)).mean() * RUNS / (RUNS - 1)  # without bias
between = chance.mean() * (1 - chance.mean())
deviations = {
    "other samples, as seen in the runs": runs.mean(1).std(ddof=1),
    "other samples, by the formula": math.sqrt(within / len(chance)),
    "other samples and other questions": math.sqrt(between / len(chance)),
}
points = {name: 100 * value for name, value in deviations.items()}
pd.DataFrame({"standard deviation, points": points}).style.format("{:.1f}")

# %% tags=["check"]
#@title Check: other questions add to the noise of other samples
assert smoke() or within < between


# %% [markdown]
# Greedy decoding has no sampling noise at all, and still the questions are a sample: an interval of a greedy run is about the questions.
#
# ### Exercise 2 (★☆☆, 4 min)
#
# Write `questions_needed(p, half)`: how many questions give a 95 % interval of about $p$ ± `half` (both shares of 1)? Take one
# answer's variance $p(1-p)$, 1.96 standard errors, and round up.

# %% tags=["exercise"]
def questions_needed(p, half):
    return ...  # your code


# %% tags=["exercise-check"]
check.questions_needed(questions_needed)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def questions_needed(p, half):
#     return math.ceil(1.96**2 * p * (1 - p) / half**2)
# ```
#
# </details>

# %% [markdown]
# ## 3. Two methods, the same questions
#
# Is the majority of five samples (*self-consistency*) better than one sample? Both met the same 75 questions, so look at each
# question's **difference** $d_i = a_i - b_i \in \{-1, 0, 1\}$. What both solve, or both miss, says nothing about which is better, and drops out.

# %%
few = min(6, RUNS)
votes = [statistics.majority(r.answers[1:few]) for r in sampled]  # samples 1 to 5
voted = np.array([is_correct(v, r.doc["answer"]) for v, r in zip(votes, sampled)], dtype=float)
single = runs[0]  # sample 0
print(f"majority {voted.mean():.1%}, one sample {single.mean():.1%}, "
      f"difference {100 * (voted - single).mean():+.1f} points")
word = {1.0: "right", 0.0: "wrong"}
both = pd.DataFrame({"majority": voted, "one sample": single}).map(word.get)
pd.crosstab(both["majority"], both["one sample"])


# %% [markdown]
# How far would other questions move that difference? The **bootstrap** asks the data: draw $n$ of the $n$ questions *with* putting back,
# take the mean of their $d_i$, thousands of times; the middle 95 % of the means are the interval. Drawing questions (not answers) keeps
# the two methods together, which is what *paired* means. By hand: with $d = (1, 0, 0, -1)$, a draw of the first, the first, the second and
# the last question has the mean $(1 + 1 + 0 - 1)/4 = 0.25$; as counts, $(2, 1, 0, 1) \cdot d\,/\,4$.

# %%
def bootstrap(d, resamples=9999, seed=0):
    # How often each question is drawn, one row a resample: counts that sum to n
    n = len(d)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.quantile(drawn @ d / n, (0.025, 0.975))


paired = statistics.paired_bootstrap(voted, single)
# The package's is the same
assert np.allclose(bootstrap(voted - single), (paired.low, paired.high), atol=0.015)

# %%
order = np.random.default_rng(1).permutation(len(single))
unpaired = statistics.paired_bootstrap(voted, single[order])  # answers to other questions
for name, found in (("paired", paired), ("pairing destroyed", unpaired)):
    interval = f"[{100 * found.low:+5.1f}, {100 * found.high:+5.1f}]"
    print(f"{name:18s} {100 * found.estimate:+5.1f} {interval}   {statistics.verdict(found)}")

# %% tags=["check"]
#@title Check: pairing narrows the interval
assert smoke() or paired.high - paired.low < unpaired.high - unpaired.low


# %% [markdown]
# The estimate is the same, the interval is not. An interval that holds 0 is called *no difference shown*, never "equal".
#
# ### Exercise 3 (★★☆, 4 min)
#
# Without any resampling: write `paired_error(a, b)`, the standard error of the mean difference of two arrays of answers (1 right, 0 wrong)
# to the same questions. The estimate ± 1.96 of it is nearly the bootstrap's interval.

# %% tags=["exercise"]
def paired_error(a, b):
    return ...  # your code


# %% tags=["exercise-check"]
check.paired_error(paired_error)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import numpy as np
#
#
# def paired_error(a, b):
#     d = np.asarray(a) - np.asarray(b)
#     return d.std(ddof=1) / np.sqrt(len(d))
# ```
#
# </details>

# %% [markdown]
# ## 4. Several training seeds
#
# The intervals so far are about *these weights*. A claim about a **training method** must survive another training run, too.
# Below two methods that are worth exactly the same; only each training run turns out a little better or worse, by 4 points of standard
# deviation, and its answers vary by question. How often does each way of comparing claim a difference that is not there?

# %%
def trained(rng, difficulty, seeds, spread=0.04):
    # (seeds, questions) of 0/1: a question's own chance, and what a training run happens to learn
    luck = rng.normal(0, spread, (seeds, 1))
    return (rng.random((seeds, len(difficulty))) < difficulty + luck).astype(float)


def claims(x, y):
    # Whether each way of comparing claims a difference; x and y: (3, questions)
    ways = {
        "one seed, paired bootstrap": statistics.paired_bootstrap(x[0], y[0], resamples=999),
        "three seeds averaged, paired bootstrap": statistics.paired_bootstrap(x, y, resamples=999),
        "three seeds, crossed": statistics.crossed_difference(x, y),
    }
    return {name: found.shown for name, found in ways.items()}


# %%
def alarm():
    difficulty = rng.uniform(0.2, 0.9, 300)
    return claims(trained(rng, difficulty, 3), trained(rng, difficulty, 3))


rng = np.random.default_rng(0)
alarms = 100 * pd.DataFrame([alarm() for _ in range(steps(400, 60))]).mean()
alarms.to_frame("false alarms, % of tries (5 promised)").style.format("{:.0f}")

# %% tags=["check"]
#@title Check: only the crossed comparison keeps its promise
assert smoke() or min(alarms.iloc[:2]) > 10 and alarms["three seeds, crossed"] < 7


# %% [markdown]
# `crossed_difference` takes seeds *and* questions as random, like the rows and columns of a two-way table: with $S$ seeds and $Q$
# questions the variance of the mean is $V_\text{seeds}/S + V_\text{questions}/Q - V_\text{rest}/(SQ)$, and with few seeds Student's
# $t$ makes the interval wide. More questions cannot repair too few seeds.
#
# ## 5. Several samples
#
# **pass@k** is the chance that at least one of $k$ samples is right, **maj@k** that the most frequent answer is. From $n \ge k$ samples of
# which $r$ are right, the tempting estimate is $1 - (1 - r/n)^k$. It is biased. The unbiased one counts: of all ways to draw $k$ of the
# $n$ samples, which share holds at least one right?
#
# ### Exercise 4 (★★☆, 5 min)
#
# Write `pass_at_k(n, right, k)`, the unbiased estimate. `math.comb(n, k)` is $\binom nk$, the number of ways to draw $k$ of $n$.

# %% tags=["exercise"]
def pass_at_k(n, right, k):
    return ...  # your code


# %% tags=["exercise-check"]
check.pass_at_k(pass_at_k)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def pass_at_k(n, right, k):
#     return 1 - math.comb(n - right, k) / math.comb(n, k)
# ```
#
# </details>

# %%
def majority_right(record, drawn):
    voted_for = statistics.majority([record.answers[i] for i in drawn])
    return is_correct(voted_for, record.doc["answer"])


def maj_at(k, draws=20):
    shuffle = np.random.default_rng(k)
    chosen = [shuffle.permutation(RUNS)[:k] for _ in range(draws)]
    return np.mean([majority_right(r, drawn) for r in sampled for drawn in chosen])


right_of = runs.sum(0).astype(int)
ks = range(1, RUNS + 1)
by_samples = {
    "pass@k, unbiased": [np.mean([statistics.pass_at_k(RUNS, r, k) for r in right_of]) for k in ks],
    "pass@k, plug-in": [np.mean(1 - (1 - right_of / RUNS) ** k) for k in ks],
    "maj@k": [maj_at(k) for k in ks],
}
plots.sample_curves(by_samples)

# %% tags=["check"]
#@title Check: the plug-in is too low, and a vote is worth less than a judge
last = {name: values[min(RUNS, 8) - 1] for name, values in by_samples.items()}
assert last["pass@k, plug-in"] < last["pass@k, unbiased"]
assert last["maj@k"] < last["pass@k, unbiased"]

# %% [markdown]
# *How to read it.* pass@k rises with every sample: it says what a perfect judge could pick, not what a user gets. What a user without a
# judge gets is maj@k. Numbers at different $k$ are different quantities; a table that mixes them compares nothing.
#
# ## 6. The table
#
# Every method, the tiny classroom's three benchmarks (*test*: 2 to 4 steps as in training; *harder*: 5 and 6; *distractor*: with a number
# that is not needed), several seeds. Training takes longer than a notebook may, so the runs are saved:

# %%
from thinktuning_lite.classroom.problems import DATA
from thinktuning_lite.experiments import methods
from thinktuning_lite.experiments.table import correct_matrix, lines, markdown

LOG = DATA / "logs" / "table"


def saved(name):
    return json.loads((LOG / f"{name}.json").read_text(encoding="utf-8"))


results, environment = saved("results"), saved("environment")
config = {k: tuple(v) if isinstance(v, list) else v for k, v in saved("config").items()}
plan = methods.Plan(**config)
rows_of_table = lines(results)
hours = sum(sum(r["cpu_seconds"].values()) for r in results) / 3600
print("command   make table")
print("commit    {commit}, torch {torch}, trl {trl}".format_map(environment))
print(f"runs      {len(plan.methods)} methods, {len(plan.seeds)} seeds; {hours:.1f} CPU hours")

# %% tags=["check"]
#@title Check: the saved table is what the saved results say
written = (LOG / "table.md").read_text(encoding="utf-8")
assert markdown(rows_of_table, plan).strip() == written.strip()


# %% [markdown]
# **What each method was given** belongs beside what it achieved: text it sampled in training (a teacher's included), text it was trained
# on, whose solutions, and whether another *role* of the same weights took part, one that knows how to check (notebook 00).

# %%
def gold(name):
    if name == "SFT":
        return "worked solutions"
    if name.startswith("SFT"):
        return "an oracle's worked solutions"
    return "final answers" if methods.METHODS[name].train else "–"


def other_role(name):
    if name in ("self-verify", "self-refine"):
        return "teacher, when answering"
    if name == "self-correct":
        return "checker, when answering"
    return "teacher, in training" if name == "STaR, hinted" or "Think" in name else "–"


pd.set_option("display.max_colwidth", None)
pd.DataFrame({name: {"is": methods.METHODS[name].says} for name in plan.methods}).T

# %%
on_test = {line.method: line for line in rows_of_table if line.task == TASK}


def given(name):
    line = on_test[name]
    return {
        "generated, k": f"{line.generated_tokens / 1000:.0f}",
        "trained on, k": f"{line.trained_tokens / 1000:.0f}",
        "gold": gold(name),
        "other role": other_role(name),
        "tokens an answer": f"{line.length:.0f}",
    }


for name in ("STaR", "ThinkTuning, released"):
    times = on_test[name].generated_tokens / on_test["GRPO"].generated_tokens
    print(f"generated in training, times GRPO's: {name} {times:.1f}")
what_given = pd.DataFrame({name: given(name) for name in plan.methods}).T
what_given.style.set_caption("generated and trained on: thousands of tokens in training")

# %% [markdown]
# *How to read it.* GRPO and ThinkTuning got equally many *steps* of equally many rollouts. Tokens are then not equal: a student that reflects
# writes more. Nor is knowledge: SFT was given solutions that nobody else saw, and the self-improving prompts ask the informed role at every answer,
# where ThinkTuning asks it in training and never again.

# %%
plots.difference_forest(rows_of_table, methods.REFERENCE)

# %% [markdown]
# *How to read it.* Right of 0: more right answers than GRPO on the same questions and seeds. The bar allows for other training seeds and
# other questions. **Grey and hollow: no difference shown**; blue (better) and orange (worse) had to survive Holm's correction over all comparisons
# of the figure (section 7). The numbers, with every other column in `data/logs/table/table.md`:

# %%
MARK = {"better": "▲", "worse": "▼", "no difference shown": "·", "reference": ""}
short_name = {task: task.removeprefix("tt_tiny_") for task in results[0]["tasks"]}


def cell(line):
    d = line.difference
    gap = f" {100 * d.estimate:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]" if d else ""
    return f"{100 * line.accuracy:.1f}{gap} {MARK[line.verdict]}".strip()


def shade(text):
    return "color: #767676" if "·" in text else "font-weight: bold" if text[-1] in "▲▼" else ""


caption = f"right, %; minus {methods.REFERENCE}, points [95 %]; "
caption += "▲ better, ▼ worse, · no difference shown"
cells = {name: {} for name in short_name.values()}
for line in rows_of_table:
    cells[short_name[line.task]][line.method] = cell(line)
pd.DataFrame(cells).style.map(shade).set_caption(caption)

# %%
VERDICTS = ("better", "worse", "no difference shown")


def with_verdict(task, verdict):
    found = [line.method for line in rows_of_table if (line.task, line.verdict) == (task, verdict)]
    return "; ".join(found) or "none"


for task, name in short_name.items():
    reference = 100 * correct_matrix(results, methods.REFERENCE, task).mean()
    print(f"{name}: GRPO {reference:.1f} %")
    for verdict in VERDICTS:
        print(f"   {verdict + ':':21s}{with_verdict(task, verdict)}")


# %% [markdown]
# **What one seed would have said.** The same comparison from seed 0 alone, its questions resampled, without a correction: how a result is
# often reported. Where the last two columns differ, one run would have misled (or the table is too careful: it does not know which).

# %%
def from_seed_0(method, task):
    pair = (correct_matrix(results, m, task)[0] for m in (method, methods.REFERENCE))
    return statistics.paired_bootstrap(*pair)


def compared(line):
    d = from_seed_0(line.method, line.task)
    return {
        "benchmark": short_name[line.task], "method": line.method,
        "seed 0, points": f"{100 * d.estimate:+.1f}",
        "all seeds, points": f"{100 * line.difference.estimate:+.1f}",
        "seed 0 alone": statistics.verdict(d), "table": line.verdict,
    }


verdicts = pd.DataFrame([compared(line) for line in rows_of_table if line.difference])
differ = verdicts[verdicts["seed 0 alone"] != verdicts["table"]]
print(f"{len(differ)} of {len(verdicts)} verdicts differ")
differ.style.hide()


# %% [markdown]
# ## 7. An attractive gain
#
# A colleague tried eight variants of a training recipe, one seed each, on 75 questions, and reports the best:

# %%
def nine_runs(rng, chances):
    # (9, questions) of 0/1; row 0 is the baseline
    return (rng.random((9, len(chances))) < chances).astype(float)


draw = np.random.default_rng(69)
chance_of = draw.beta(0.3, 0.3, 75)  # most questions are nearly always solved, or nearly never
baseline, *others = nine_runs(draw, chance_of)
variants = {f"variant {i}": other for i, other in enumerate(others, 1)}
best = max(variants, key=lambda name: variants[name].mean())
gain = statistics.paired_bootstrap(variants[best], baseline)
print(f"{best}: {variants[best].mean():.1%} right, baseline {baseline.mean():.1%}: "
      f"{100 * gain.estimate:+.1f} points,\n95 % interval [{100 * gain.low:+.1f}, "
      f"{100 * gain.high:+.1f}], p = {gain.p_value:.3f}: {statistics.verdict(gain)}!")

# %% tags=["check"]
#@title Check: it looks large, and it looks shown
assert gain.estimate > 0.08 and gain.shown


# %% [markdown]
# Paired, an interval without 0, $p < 0.05$. What is missing is that eight looks were taken. **Holm's correction** of $m$ p-values: sort
# them; multiply the smallest by $m$, the next by $m - 1$, and so on; let none fall below its predecessor, nor rise above 1. With all
# of them corrected, the chance of *any* false alarm is at most 5 %. By hand, for four: 0.01, 0.02, 0.03, 0.5 become 0.04, 0.06, 0.06, 0.5.
#
# ### Exercise 5 (★★☆, 6 min)
#
# Write `survivors(baseline, variants)`: the names (a list) of the variants that are **better** than the baseline when all of them are corrected
# together. At your service, from `statistics`: `paired_bootstrap(a, b)` with its `.p_value`, `holm(p_values)`, `verdict(difference, adjusted_p)`.

# %% tags=["exercise"]
def survivors(baseline, variants):
    return ...  # your code; variants: name -> array of 0/1, one entry a question


# %% tags=["exercise-check"]
check.survivors(survivors)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def survivors(baseline, variants):
#     found = [statistics.paired_bootstrap(v, baseline) for v in variants.values()]
#     adjusted = statistics.holm([d.p_value for d in found])
#     named = zip(variants, found, adjusted)
#     return [name for name, d, p in named if statistics.verdict(d, p) == "better"]
# ```
#
# </details>

# %%
assert np.allclose(statistics.holm([0.01, 0.02, 0.03, 0.5]), [0.04, 0.06, 0.06, 0.5])
gains = {name: statistics.paired_bootstrap(v, baseline) for name, v in variants.items()}
adjusted = statistics.holm([d.p_value for d in gains.values()])
looks = {
    name: {"gain, points": f"{100 * d.estimate:+.1f}", "p": f"{d.p_value:.3f}",
           "Holm's p": f"{p:.2f}", "verdict": statistics.verdict(d, p)}
    for (name, d), p in zip(gains.items(), adjusted)
}
pd.DataFrame(looks).T

# %%
asked_again = np.random.default_rng(0).random((2, 75, 200)) < chance_of[:, None]
fresh = asked_again.mean((1, 2))
print(f"asked 200 times more, {best}: {fresh[0]:.1%}, baseline: {fresh[1]:.1%}")

# %% tags=["check"]
#@title Check: corrected, none is better; asked again, both are the same
assert {look["verdict"] for look in looks.values()} == {"no difference shown"}
assert abs(fresh[0] - fresh[1]) < 0.02

# %% [markdown]
# All nine were *the same model*: look at `nine_runs`. (And this try was picked by us to look good, as the colleague's variant was.) How often
# do copies of one model put on such a show? A thousand tries, with the live student's own chances from section 2:

# %%
dice = np.random.default_rng(0)
tries = np.array([nine_runs(dice, chance) for _ in range(steps(1000, 100))])
d = tries[:, 1:] - tries[:, :1]  # (tries, 8, questions)
n = d.shape[2]
drawn = dice.multinomial(n, np.full(n, 1 / n), size=1999) / n  # section 3's bootstrap
means = d.reshape(-1, n) @ drawn.T
tail = np.minimum((means <= 0).sum(1), (means >= 0).sum(1)) + 1
p_values = np.minimum(1, 2 * tail / (len(drawn) + 1)).reshape(d.shape[:2])
order = p_values.argsort(1)  # Holm's correction, for all tries at once
p_values, gains_of = (np.take_along_axis(x, order, 1) for x in (p_values, d.mean(2)))
corrected = np.minimum(1, np.maximum.accumulate(p_values * np.arange(8, 0, -1), axis=1))
assert np.allclose(corrected[0], statistics.holm(p_values[0]))


# %%
def called_better(p):
    return ((p <= 0.05) & (gains_of > 0)).any(1).mean()


shares = {
    "the best looks at least 8 points better": (gains_of.max(1) >= 0.0799).mean(),
    "some variant is 'better', each looked at alone": called_better(p_values),
    "some variant is better, corrected for eight looks": called_better(corrected),
}
pd.DataFrame({"% of tries": {k: 100 * v for k, v in shares.items()}}).style.format("{:.0f}")

# %% tags=["check"]
#@title Check: the claim at the top
best_of_eight, alone, after_holm = shares.values()
assert smoke() or best_of_eight > 0.25 and after_holm < 0.1 and alone > 2 * after_holm

# %% [markdown]
# ## 8. Looking closer
#
# Accuracy says how much, the responses say why. The first seed's greedy answers were saved; graded again, they must give the saved grades:

# %%
FIRST = plan.seeds[0]
SETS = dict(zip(short_name, ("test", "test_harder", "test_distractor"), strict=True))
SHOWN = ("zero-shot CoT", "self-refine", "SFT, worked route", "GRPO", "ThinkTuning, intended",
         "ThinkTuning, released")


def saved_main(method, task):
    of_seed = next(r for r in results if (r["method"], r["seed"]) == (method, FIRST))
    return of_seed["tasks"][task]["main"]


def records(method, task):
    # The saved responses of the first seed as `Record`s, graded again
    main, docs = saved_main(method, task), sample.load_tiny_set(SETS[task])
    stated = [extract_answer(text) for text in main["responses"]]
    graded = [is_correct(a, doc["answer"]) for a, doc in zip(stated, docs)]
    assert graded == [bool(r) for r in main["right"]]
    answered = zip(docs, main["responses"], stated, graded, main["length"], strict=False)
    return [Record(doc, [text], [a], [ok], [length]) for doc, text, a, ok, length in answered]


# %%
shown = [m for m in SHOWN if m in plan.methods]
everything = {(m, task): records(m, task) for m in plan.methods for task in short_name}
print(f"{sum(map(len, everything.values())):,} responses graded again: all as saved")

# %% [markdown]
# **Lengths.** Reflection is paid for in tokens, at every answer. (The paper, too, reports longer responses than GRPO's.)

# %%
plots.response_lengths({m: [r.lengths[0] for r in everything[m, TASK]] for m in shown})


# %% [markdown]
# **Behaviours** are counted by regular expressions that can be read and argued with (`evaluation/behaviours.py`). A counter is an instrument, so it is
# measured first: *precision* is the share of its alarms that are right, *recall* the share of what is there that it finds. The labelled
# examples were written for this project, by the author of the detectors; those *held out* never led to a change of one.

# %%
def with_interval(share):
    value, low, high = share
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


held_out = [e for e in behaviours.labelled_examples() if e["part"] == "held-out"]
quality = {
    name: {"labelled": q.hits + q.misses, "precision": with_interval(q.precision),
           "recall": with_interval(q.recall)}
    for name, q in behaviours.measure(held_out).items()
}
print(f"{len(held_out)} held-out examples")
pd.DataFrame(quality).T


# %%
def shown_by(method):
    found = [behaviours.behaviours(r.responses[0]) for r in everything[method, TASK]]
    return {name: 100 * np.mean([name in f for f in found]) for name in behaviours.DETECTORS}


frequent = pd.DataFrame({m: shown_by(m) for m in plan.methods}).T
frequent.style.format("{:.0f}").set_caption(f"% of responses, {short_name[TASK]}, seed {FIRST}")


# %% [markdown]
# Words announce, they do not prove. What a second thought *does* shows where a response states two answers or more:
#
# **Does reflection correct, or over-think?**

# %%
def all_of(method):
    return [r for task in short_name for r in everything[method, task]]


moves = {m: behaviours.transitions(all_of(m)) for m in plan.methods}
SILENT = ("one answer", "no answer")
reflecting = {m: c for m, c in moves.items() if sum(c.values()) >= sum(c[k] for k in SILENT) + 10}
plots.transition_bars(reflecting)

# %%
pd.DataFrame(reflecting).T


# %% [markdown]
# Say that the first answer is right with probability $r$, that reflection mends a share `mends` of the wrong first answers and spoils a share
# `spoils` of the right ones. Then it gains $(1-r)\,\text{mends}$ and loses $r\,\text{spoils}$.
#
# ### Exercise 6 (★★☆, 4 min)
#
# Write `break_even(mends, spoils)`: the $r$ at which gain and loss are equal. Above it reflection does harm.

# %% tags=["exercise"]
def break_even(mends, spoils):
    return ...  # your formula


# %% tags=["exercise-check"]
check.break_even(break_even)


# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def break_even(mends, spoils):
#     return mends / (mends + spoils)
# ```
#
# </details>

# %%
def second_thoughts(method, task):
    c = behaviours.transitions(everything[method, task])
    right = c["right to right"] + c["right to wrong"]
    wrong = c["wrong to right"] + c["wrong to wrong"]
    if min(right, wrong) < 10:
        return None  # too few that state two answers
    mends, spoils = c["wrong to right"] / wrong, c["right to wrong"] / right
    r = right / (right + wrong)
    return {
        "method": method, "benchmark": short_name[task], "reflecting": right + wrong,
        "mends": mends, "spoils": spoils, "first answer right": r,
        "break-even": mends / (mends + spoils) if mends + spoils else math.nan,
        "gain, points": 100 * ((1 - r) * mends - r * spoils),
    }


# %%
found = [second_thoughts(method, task) for method, task in everything]
thoughts = pd.DataFrame([row for row in found if row])
percent = dict.fromkeys(("mends", "spoils", "first answer right", "break-even"), "{:.0%}")
thoughts.style.format(percent | {"gain, points": "{:+.1f}"}).hide()

# %% tags=["check"]
#@title Check: a gain below the break-even, a loss above it
for row in thoughts.dropna().to_dict("records"):
    r, even = row["first answer right"], row["break-even"]
    assert (row["gain, points"] > 0) == (r < even) or math.isclose(r, even)


# %% [markdown]
# The last column is the gain *of the second thought over the first*, within the same responses; it is not a comparison with GRPO, whose
# first answers may be better. Where the first answer is nearly always right, even a rare spoiling costs: the paper reports ThinkTuning slightly below
# GRPO on GSM8K and StrategyQA, its easier sets, and names over-thinking.
#
# **By the number of steps.** 2 to 4 are of *test*, 5 and 6 of *harder*, longer than what any method was trained on here:

# %%
def by_steps(method):
    parts = [saved_main(method, task)["by_steps"] for task in ("tt_tiny_test", "tt_tiny_harder")]
    return {int(n): part for parts_of in parts for n, part in parts_of.items()}


plots.accuracy_by_steps({m: by_steps(m) for m in shown})

# %% [markdown]
# **Where wrong answers come from:** the operation of the first false equation; *setup*, when every equation is true and the answer still wrong.

# %%
errors = pd.DataFrame({m: behaviours.first_errors(all_of(m)) for m in plan.methods}).T
errors.fillna(0).astype(int).assign(total=lambda f: f.sum(axis=1))

# %% [markdown]
# **Read them.** No count replaces a dozen responses read in full. The browser steps through the questions that exactly one of two methods gets
# right. (Without a kernel the first of them stands in.)

# %%
import html

CELL = (
    "<td style='width:50%;vertical-align:top'><b>{}</b>"
    "<pre style='white-space:pre-wrap'>{}</pre></td>"
)


def page(different, total):
    # One question and both responses as HTML
    cells = [
        CELL.format(html.escape(f"{m} {'✓' if m == different.right else '✗'}"), html.escape(text))
        for m, text in different.responses.items()
    ]
    head = f"{total} differ. <p>{html.escape(different.question)} <b>{different.answer}</b></p>"
    return f"{head}<table style='width:100%'>{''.join(cells)}</table>"


# %%
import ipywidgets as widgets


class Browser(widgets.VBox):
    def __init__(self, first, second, task=TASK):
        choices = {"benchmark": (list(short_name), task), "one": (plan.methods, first),
                   "other": (plan.methods, second)}
        self.pick = [
            # not a Dropdown: JupyterLab takes its arrow keys
            widgets.SelectionSlider(options=options, value=value, description=label)
            for label, (options, value) in choices.items()
        ]
        self.at = widgets.IntSlider(value=1, min=1, max=1, description="example")
        self.page = widgets.HTML()
        super().__init__([*self.pick, self.at, self.page])
        for control in (*self.pick, self.at):
            control.observe(self.show, "value")
        self.show()

    def show(self, change=None):
        task, *pair = (p.value for p in self.pick)
        self.found = behaviours.disagreements(*(everything[m, task] for m in pair), tuple(pair))
        total = len(self.found)
        self.at.max = max(1, total)
        differ_at = self.found[self.at.value - 1] if total else None
        self.page.value = page(differ_at, total) if total else "These two never differ here."


# %%
class WithStill(Browser):
    def _repr_mimebundle_(self, **kwargs):  # the widget, and a picture for where no kernel runs
        bundle = super()._repr_mimebundle_(**kwargs)
        if not self.found:
            return bundle
        title = f"1 of {len(self.found)} questions on which they differ"
        figure = plots.disagreement(**vars(self.found[0]), title=title)
        still, described = figure._repr_mimebundle_()
        return bundle | {"image/png": still["image/png"], "text/plain": title}, described


WithStill("GRPO", "ThinkTuning, released")

# %% [markdown]
# ## 9. Real models, and the paper's numbers
#
# On a machine with a GPU the same three calls evaluate any instruct model of the Hub, on the public benchmarks (`tt_gsm8k`, `tt_math500`,
# `tt_aime2024`, `tt_aime2025`, `tt_gpqa_diamond`, `tt_mmlu_pro`, `tt_strategyqa`, `tt_arc_challenge`, `tt_commonsenseqa`). None of this has been run
# by us at full size:
#
# ```python
# from thinktuning_lite.evaluation.baselines import PROMPTED, SelfImprovingLM
#
# name = "meta-llama/Llama-3.2-3B-Instruct"  # or a folder that notebook 04 merged
# inner = hub_model(name, batch_size="auto")
# stored = StoredLM(inner, Path("runs/hub/llama-3b.db"))
# tasks = ["tt_gsm8k", "tt_math500"]
# zero_shot = run_tasks(stored, tasks, inner.tokenizer, limit=100)  # limit=None for all
# refining = SelfImprovingLM(stored, PROMPTED["self-refine"])
# refined = run_tasks(refining, tasks, inner.tokenizer, limit=100)
# a, b = ([r.correct[0] for r in x["tt_gsm8k"]] for x in (refined, zero_shot))
# print(statistics.paired_bootstrap(a, b))
# ```
#
# For the full sets leave the notebook; vLLM is the harness's own switch, and needs `pip install vllm`:
#
# ```bash
# lm_eval --model vllm --model_args pretrained=meta-llama/Llama-3.2-3B-Instruct \
#     --include_path thinktuning_lite/evaluation/tasks --tasks tt_gsm8k,tt_math500,tt_gpqa_diamond \
#     --apply_chat_template --batch_size auto --log_samples --output_path runs/hub
# ```
#
# GPQA is gated: accept its terms on the Hub, or set `THINKTUNING_DATA` to a folder that holds the original files.

# %% [markdown]
# **Reported by the paper** (RRV et al., 2025; Llama-3.2-3B-Instruct; *not* reproduced here). The average gain over zero-shot is +3.85 points
# in the arXiv abstract (2508.07616, version 2) and +3.69 in the EMNLP text, which names no AIME; the arXiv one gives +2.23 for AIME.
# Slightly below GRPO on GSM8K and StrategyQA. With numbers for both methods:

# %%
REPORTED = {"MATH-500": (500, 45.46, 47.54), "GPQA-Diamond": (198, 24.19, 28.18)}


def fits(percent, asked):
    # Whether a share printed with two decimals is a whole number of `asked` answers
    nearest = round(percent * asked / 100)
    return abs(100 * nearest / asked - percent) < 0.005001


def read(n, grpo, guided):
    low, high = wilson(n * grpo / 100, n)
    return {
        "questions": n, "GRPO, %": f"{grpo:.2f}", "ThinkTuning, %": f"{guided:.2f}",
        "difference": f"{guided - grpo:+.2f}", "half width, ONE run": f"{50 * (high - low):.1f}",
        "whole questions": fits(grpo, n) and fits(guided, n),
    }


reported = pd.DataFrame({name: read(*row) for name, row in REPORTED.items()}).T
reported.style.set_caption("reported by the paper, a 3B model; last two columns: computed here")


# %% [markdown]
# No share is a whole number of questions, so each averages several answers to a question. How many? The smallest number of samples a
# question at which all four cells become whole counts, and how easily four shares drawn at random would have fitted:

# %%
def fit_at(k, four):
    cells = [(n, share) for (n, *_), pair in zip(REPORTED.values(), four) for share in pair]
    return all(fits(share, n * k) for n, share in cells)


four = [shares_of for _, *shares_of in REPORTED.values()]
smallest = next(k for k in range(1, 100) if fit_at(k, four))
rng_fit = np.random.default_rng(0)
random_fours = rng_fit.integers(2000, 6000, (steps(4000, 400), 2, 2)) / 100
by_luck = np.mean([any(fit_at(k, f) for k in range(1, smallest + 1)) for f in random_fours])
print(f"all four fit first at {smallest} samples a question; four random shares fit "
      f"by then in {by_luck:.1%} of tries")

# %% tags=["check"]
#@title Check: ten samples fit the four cells
assert not reported["whole questions"].any()
assert smallest == 10 and by_luck < 0.1
assert "repeats: 32" in (TASKS / "aime2024.yaml").read_text(encoding="utf-8")


# %% [markdown]
# That fits *ten samples a question*, or ten runs of one; it does not prove it, and it says nothing on the other benchmarks.
#
# **What is ours in this evaluation**, because the paper's text leaves it open or we know it not: 32 samples a question for AIME and greedy
# decoding elsewhere; the wording of the prompts; the self-improvement prompts (self-verify, self-refine, self-correct); the set-ups of SFT and
# STaR; and two of the eight benchmarks. Known by name are GSM8K, MATH-500, AIME, GPQA-Diamond, MMLU-Pro and StrategyQA; ARC-Challenge and
# CommonsenseQA are our choice. So a number from here stands beside the paper's, never against it.

# %%
def here(line):
    grpo = 100 * correct_matrix(results, methods.REFERENCE, line.task).mean()
    guided = f"{100 * line.accuracy:.1f}"
    difference = cell(line).split(" ", 1)[1]
    return {"GRPO, %": f"{grpo:.1f}", "ThinkTuning, %": guided, "difference [95 %]": difference}


released = [line for line in rows_of_table if line.method == "ThinkTuning, released"]
own_caption = f"ours: another world, 0.9 M parameters, released AAS, {len(plan.seeds)} seeds"
in_classroom = pd.DataFrame({short_name[line.task]: here(line) for line in released}).T
in_classroom.style.set_caption(own_caption)

# %% [markdown]
# Two tables, two worlds: no number of one checks a number of the other. *How to read the first.* The shares are no whole numbers of questions, so
# they average several samples or runs, and their noise is smaller than one run's; by how much depends on how alike the samples of a question
# are, which is not known, nor how many training seeds stand behind them. One run of that size could not have shown such gains unpaired.
#
# **What the tiny world can tell:** whether the machinery works, which comparisons a result survives, how a mechanism acts (a rare entry token, a
# route taken over, an answer spoilt), and what a method needs to be given. **What it cannot:** how large a gain is for a model that
# was not made for this lesson. It was *built* so that checking helps and the student role does not check; its questions are one family of
# templates; its teacher role was trained on attempts like the student's, which no frozen copy of an instruct model was.

# %% [markdown]
# ## Quiz
#
# Decide before you open a line: each says what is right or wrong about its choice.

# %%
from thinktuning_lite.lessons.quiz import show_quiz

show_quiz("05")

# %% [markdown]
# ## Where the code is
#
# | here | in the package |
# |---|---|
# | `run_tasks`, `StoredLM`, `hub_model`, `Record`; leaks of test questions | `evaluation/harness.py` |
# | the benchmarks, their loaders and graders | `evaluation/tasks/`, `evaluation/tasks/graders.py` |
# | what an answer states, whether it is right | `method/answers.py`, `method/grading.py` |
# | `proportion_interval`, `paired_bootstrap`, `crossed_difference`, `holm`, `pass_at_k`, `majority` | `evaluation/statistics.py` |
# | self-verify, self-refine, self-correct, SFT, STaR | `evaluation/baselines.py` |
# | the methods of the table; `make table`, `lines`, `markdown` | `experiments/methods.py`; `experiments/table.py` |
# | detectors, transitions, first errors, `disagreements` | `evaluation/behaviours.py` |
# | the figures | `views/plots/evaluation.py` |
#
# Next: [06_movie_quote](06_movie_quote.ipynb), a behaviour that nobody would find by sampling.
