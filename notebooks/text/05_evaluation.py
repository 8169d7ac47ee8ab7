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
# **Time:** 0.4 min, 0.9 GB of memory, on 2 CPU cores without a GPU (measured by the run)
#
# *Contents:* 1 one question through the evaluator · 2 one number · 3 two methods, the same questions · 4 several training seeds ·
# 5 several samples · 6 the table · 7 an attractive gain · 8 looking closer · 9 real models, and the paper's numbers

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
from thinktuning_lite.lessons.setup import install_extra

install_extra("eval")  # on a hosted machine: lm-evaluation-harness

import json
import math
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from thinktuning_lite.evaluation import behaviours as H
from thinktuning_lite.classroom import sample as evaluate
from thinktuning_lite.views import plots
from thinktuning_lite.evaluation import statistics as S
from thinktuning_lite.lessons.checks import evaluation as check
from thinktuning_lite.experiments.runs import quiet
from thinktuning_lite.evaluation.harness import GREEDY, SAMPLED, TASKS, Record, StoredLM, hub_model, run_tasks
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.method.answers import extract_answer
from thinktuning_lite.method.grading import is_correct
from thinktuning_lite.lessons.runtime import smoke, steps

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
    print(f"--- {name}\n{(TASKS / name).read_text()}")

# %%
student = StoredLM(hub_model(model, tokenizer), scratch / "student.db")
greedy = run_tasks(student, [TASK], tokenizer, generation=GREEDY, limit=steps(300, 60))[TASK]
one = next(r for r in greedy if not r.correct[0])
print(f"question   {one.doc['question']}\nresponse   {one.responses[0]}\nstates     {one.answers[0]}"
      f"\ngold       {one.doc['answer']}   ({one.doc['chain']})\nright      {one.correct[0]}\ntokens     {one.lengths[0]}")

# %% [markdown]
# **No answer stated** is a category of its own, and never a guess. Here the same student, once with room for 240 tokens and once
# with room for 24:

# %%
short = run_tasks(student, [TASK], tokenizer, generation=GREEDY | {"max_gen_toks": 24}, limit=len(greedy))[TASK]


def count(records):
    said = [("no answer" if a is None else "right" if ok else "wrong") for r in records for a, ok in zip(r.answers, r.correct)]
    return {name: said.count(name) for name in ("right", "wrong", "no answer")}


cut = next(r for r in short if r.answers[0] is None)
print(f"cut off:  {cut.responses[0]}\nstates:   {extract_answer(cut.responses[0])}")
print(f"a guess would say {extract_answer(cut.responses[0], allow_last_number=True)}, gold is {cut.doc['answer']}")
assert count(short)["no answer"] > count(short)["wrong"] and count(greedy)["no answer"] == 0
pd.DataFrame({"240 tokens": count(greedy), "24 tokens": count(short)})


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
#     --include_path thinktuning_lite/tasks --tasks tt_tiny_test \
#     --apply_chat_template --batch_size 64 --log_samples --output_path runs/cli
# ```
#
# **Interrupted, it goes on.** The harness's own cache passes sampled requests by: it cannot tell two samples of a prompt apart.
# `StoredLM` can. Below the model fails in the middle; a second evaluation asks only for what is missing, a third for nothing.

# %%
def evaluation(path, failing_at=None):
    # Two samples of 30 questions in chunks of 20 requests; the model counts what it is asked, and may break down
    inner, asked = hub_model(model, tokenizer), []
    generate = inner.generate_until

    def counted(requests, **options):
        if len(asked) == failing_at:
            raise ConnectionError
        asked.append(len(requests))
        return generate(requests, **options)

    inner.generate_until = counted
    try:
        records = run_tasks(StoredLM(inner, path, chunk=20), [TASK], tokenizer, repeats=2, generation=SAMPLED, limit=30)[TASK]
    except ConnectionError:
        return None, sum(asked)
    return [r.responses for r in records], sum(asked)


interrupted = [evaluation(scratch / "a.db", failing_at=2), evaluation(scratch / "a.db"), evaluation(scratch / "a.db")]
at_once = evaluation(scratch / "b.db")
print("requests that reached the model:", [n for _, n in interrupted], "  at once:", at_once[1])
assert [n for _, n in interrupted] == [40, 20, 0] and at_once[1] == 60
assert interrupted[1][0] == interrupted[2][0] == at_once[0]  # and the samples are those of an undisturbed run


# %% [markdown]
# ## 2. One number
#
# $r$ of $n$ answers are right, $\hat p = r/n$. An **interval** holds all true shares $p$ under which what was seen would be no surprise: those
# with $|\hat p - p| \le z\sqrt{p(1-p)/n}$, $z = 1.96$ for 95 %. Solved for $p$ this is Wilson's interval:
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}$$

# %%
def wilson(right, n, z=1.959964):
    p = right / n
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (p + z**2 / (2 * n) - half) / (1 + z**2 / n), (p + z**2 / (2 * n) + half) / (1 + z**2 / n)


right, n = count(greedy)["right"], len(greedy)
low, high = wilson(right, n)
assert np.allclose(wilson(right, n), S.proportion_interval(right, n), atol=1e-6)
print(f"greedy: {right} of {n} right, {right / n:.1%}, interval {low:.1%} to {high:.1%}")
sizes = {"AIME, one year": 30, "75 questions": 75, "GPQA-Diamond": 198, "MATH-500": 500, "GSM8K": 1319}
table = pd.DataFrame({name: {"questions": n, "half width, points": 50 * np.subtract(*wilson(n / 2, n)[::-1])}
                      for name, n in sizes.items()}).T
assert table["half width, points"]["MATH-500"] > 4 and table["half width, points"]["AIME, one year"] > 15
table.style.format("{:.0f}", subset="questions").format("{:.1f}", subset="half width, points").set_caption("one run, half right")

# %% [markdown]
# Whose gains are larger than that? Now the same evaluation over and over: **one model, 75 questions, temperature 1**, and each run with
# its own random numbers (the $j$-th sample of every question makes run $j$).

# %%
RUNS = steps(16, 4)
sampled = run_tasks(student, [TASK], tokenizer, repeats=RUNS, generation=SAMPLED, limit=steps(75, 25))[TASK]
runs = np.array([r.correct for r in sampled], dtype=float).T  # (runs, questions)
spread = 100 * (runs.mean(1).max() - runs.mean(1).min())
print(f"best minus worst: {spread:.1f} points")
assert smoke() or spread > 8
plots.run_intervals(runs)

# %% [markdown]
# *How to read it.* The dots differ, the model does not. And the bars are wider than the dots scatter, because they answer another
# question: the dots change the **samples** and keep the questions, a bar also allows for **other questions**. With $p_i$ the student's
# chance on question $i$ and $\bar p$ their mean, the two variances are $\frac1n\,\overline{p_i(1-p_i)}$ and $\frac1n\,\bar p(1-\bar p)$.

# %%
chance = runs.mean(0)                                        # (questions,)
within = (chance * (1 - chance)).mean() * RUNS / (RUNS - 1)  # without bias
rows = {"other samples, as seen in the runs": runs.mean(1).std(ddof=1),
        "other samples, by the formula": math.sqrt(within / len(chance)),
        "other samples and other questions": math.sqrt(chance.mean() * (1 - chance.mean()) / len(chance))}
assert smoke() or rows["other samples, by the formula"] < rows["other samples and other questions"]
pd.DataFrame({"standard deviation, points": {k: 100 * v for k, v in rows.items()}}).style.format("{:.1f}")


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
a = np.array([is_correct(S.majority(r.answers[1:few]), r.doc["answer"]) for r in sampled], dtype=float)  # of samples 1 to 5
b = runs[0]                                                                                              # sample 0
print(f"majority {a.mean():.1%}, one sample {b.mean():.1%}, difference {100 * (a - b).mean():+.1f} points")
pd.crosstab(pd.Series(a, name="majority").map({1.0: "right", 0.0: "wrong"}),
            pd.Series(b, name="one sample").map({1.0: "right", 0.0: "wrong"}))


# %% [markdown]
# How far would other questions move that difference? The **bootstrap** asks the data: draw $n$ of the $n$ questions *with* putting back,
# take the mean of their $d_i$, thousands of times; the middle 95 % of the means are the interval. Drawing questions (not answers) keeps
# the two methods together, which is what *paired* means.

# %%
def bootstrap(d, resamples=9999, seed=0):
    # How often each question is drawn, one row a resample: counts that sum to n
    n = len(d)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.quantile(drawn @ d / n, (0.025, 0.975))


paired = S.paired_bootstrap(a, b)
assert np.allclose(bootstrap(a - b), (paired.low, paired.high), atol=0.015)  # the package's is the same
other_order = np.random.default_rng(1).permutation(len(b))
unpaired = S.paired_bootstrap(a, b[other_order])  # b's answers to other questions: the pairing is gone
for name, d in (("paired", paired), ("pairing destroyed", unpaired)):
    print(f"{name:18s} {100 * d.estimate:+5.1f} [{100 * d.low:+5.1f}, {100 * d.high:+5.1f}]   {S.verdict(d)}")
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
def trained(rng, chance, seeds, spread=0.04):
    # (seeds, questions) of 0/1: a question's own difficulty, and what each training run happens to learn
    return (rng.random((seeds, len(chance))) < chance + rng.normal(0, spread, (seeds, 1))).astype(float)


rng, TRIES = np.random.default_rng(0), steps(400, 60)
alarms = dict.fromkeys(("one seed, paired bootstrap", "three seeds averaged, paired bootstrap", "three seeds, crossed"), 0)
for _ in range(TRIES):
    chance_of = rng.uniform(0.2, 0.9, 300)
    x, y = trained(rng, chance_of, 3), trained(rng, chance_of, 3)
    found = (S.paired_bootstrap(x[0], y[0], resamples=999), S.paired_bootstrap(x, y, resamples=999), S.crossed_difference(x, y))
    for name, d in zip(alarms, found, strict=True):
        alarms[name] += 100 * d.shown / TRIES
assert smoke() or min(alarms["one seed, paired bootstrap"], alarms["three seeds averaged, paired bootstrap"]) > 10
assert smoke() or alarms["three seeds, crossed"] < 7
pd.DataFrame({"false alarms, % of tries (5 promised)": alarms}).style.format("{:.0f}")


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
rng, ks = np.random.default_rng(0), range(1, RUNS + 1)
right_of = runs.sum(0).astype(int)
draws = {k: [rng.permutation(RUNS)[:k] for _ in range(20)] for k in ks}


def majority_right(record, drawn):
    return is_correct(S.majority([record.answers[i] for i in drawn]), record.doc["answer"])


curves = {
    "pass@k, unbiased": [np.mean([S.pass_at_k(RUNS, r, k) for r in right_of]) for k in ks],
    "pass@k, plug-in": [np.mean(1 - (1 - right_of / RUNS) ** k) for k in ks],
    "maj@k": [np.mean([majority_right(r, d) for r in sampled for d in draws[k]]) for k in ks],
}
at = {name: values[min(RUNS, 8) - 1] for name, values in curves.items()}
assert at["pass@k, plug-in"] < at["pass@k, unbiased"] and at["maj@k"] < at["pass@k, unbiased"]
plots.sample_curves(curves)

# %% [markdown]
# *How to read it.* pass@k rises with every sample: it says what a perfect judge could pick, not what a user gets. What a user without a
# judge gets is maj@k. Numbers at different $k$ are different quantities; a table that mixes them compares nothing.
#
# ## 6. The table
#
# Every method, the tiny classroom's three benchmarks (*test*: 2 to 4 steps as in training; *harder*: 5 and 6; *distractor*: with a number
# that is not needed), several seeds. Training takes longer than a notebook may, so the runs are saved:

# %%
from thinktuning_lite.experiments import table as T
from thinktuning_lite.classroom.problems import DATA

saved = DATA / "logs" / "table"
results = json.loads((saved / "results.json").read_text())
config, environment = (json.loads((saved / f"{name}.json").read_text()) for name in ("config", "environment"))
plan = T.Plan(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})
lines = T.lines(results)
assert T.markdown(lines, plan).strip() == (saved / "table.md").read_text().strip()  # it is what the results say
hours = sum(sum(r["cpu_seconds"].values()) for r in results) / 3600
print("command   make table")
print(f"commit    {environment['commit']}, torch {environment['torch']}, trl {environment['trl']}")
print(f"runs      {len(plan.methods)} methods, seeds {', '.join(map(str, plan.seeds))}; {hours:.1f} CPU hours in all")


# %% [markdown]
# **What each method was given** belongs beside what it achieved: text it sampled in training (a teacher's included), text it was trained
# on, whose solutions, and whether another *role* of the same weights took part, one that knows how to check (notebook 00).

# %%
def given(name):
    gold = ("worked solutions" if name == "SFT" else "an oracle's worked solutions" if name.startswith("SFT")
            else "final answers" if T.METHODS[name].train else "–")
    role = ("teacher, when answering" if name in ("self-verify", "self-refine") else "checker, when answering"
            if name == "self-correct" else "teacher, in training" if name == "STaR, hinted" or "Think" in name else "–")
    line = next(line for line in lines if line.method == name and line.task == TASK)
    return {"is": T.METHODS[name].says, "generated in training, k tokens": f"{line.generated_tokens / 1000:.0f}",
            "trained on, k tokens": f"{line.trained_tokens / 1000:.0f}", "gold": gold, "other role": role,
            "tokens an answer": f"{line.length:.0f}"}


tokens = {line.method: line.generated_tokens for line in lines}
print(f"generated in training, times GRPO's: STaR {tokens['STaR'] / tokens['GRPO']:.1f}, "
      f"ThinkTuning, released {tokens['ThinkTuning, released'] / tokens['GRPO']:.1f}")
pd.set_option("display.max_colwidth", None)
pd.DataFrame({name: given(name) for name in plan.methods}).T

# %% [markdown]
# *How to read it.* GRPO and ThinkTuning got equally many *steps* of equally many rollouts. Tokens are then not equal: a student that reflects
# writes more. Nor is knowledge: SFT was given solutions that nobody else saw, and the self-improving prompts ask the informed role at every answer,
# where ThinkTuning asks it in training and never again.

# %%
plots.difference_forest(lines, T.REFERENCE)

# %% [markdown]
# *How to read it.* Right of 0: more right answers than GRPO on the same questions and seeds. The bar allows for other training seeds and
# other questions. **Grey and hollow: no difference shown**; blue (better) and orange (worse) had to survive Holm's correction over all comparisons
# of the figure (section 7). The numbers, with every other column in `data/logs/table/table.md`:

# %%
MARK = {"better": "▲", "worse": "▼", "no difference shown": "·", "reference": ""}


def cell(line):
    d = line.difference
    gap = f" {100 * d.estimate:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]" if d else ""
    return f"{100 * line.accuracy:.1f}{gap} {MARK[line.verdict]}".strip()


def shade(text):
    return "color: #767676" if "·" in text else "font-weight: bold" if "▲" in text or "▼" in text else ""


short_name = {t: t.removeprefix("tt_tiny_") for t in T.TINY_TASKS}
compact = pd.DataFrame({short: {line.method: cell(line) for line in lines if line.task == t} for t, short in short_name.items()})
compact.style.map(shade).set_caption(f"right, %; minus {T.REFERENCE}, points [95 %]; ▲ better, ▼ worse, · no difference shown")

# %%
for task, short in short_name.items():
    print(f"{short}: GRPO {100 * T.correct_matrix(results, T.REFERENCE, task).mean():.1f} %")
    for verdict in ("better", "worse", "no difference shown"):
        names = [line.method for line in lines if line.task == task and line.verdict == verdict]
        print(f"   {verdict + ':':21s}{'; '.join(names) or 'none'}")


# %% [markdown]
# **What one seed would have said.** The same comparison from seed 0 alone, its questions resampled, without a correction: how a result is
# often reported. Where the last two columns differ, one run would have misled (or the table is too careful: it does not know which).

# %%
def single(method, task, seed=0):
    return S.paired_bootstrap(*(T.correct_matrix(results, m, task)[seed] for m in (method, T.REFERENCE)))


rows = []
for line in (line for line in lines if line.difference):
    d = single(line.method, line.task)
    rows.append({"benchmark": short_name[line.task], "method": line.method, "seed 0, points": f"{100 * d.estimate:+.1f}",
                 "all seeds, points": f"{100 * line.difference.estimate:+.1f}", "seed 0 alone": S.verdict(d),
                 "table": line.verdict})
rows = pd.DataFrame(rows)
differ = rows[rows["seed 0 alone"] != rows["table"]]
print(f"{len(differ)} of {len(rows)} verdicts differ")
differ.style.hide()


# %% [markdown]
# ## 7. An attractive gain
#
# A colleague tried eight variants of a training recipe, one seed each, on 75 questions, and reports the best:

# %%
def nine_runs(rng, chance):
    # (9, questions) of 0/1; row 0 is the baseline
    return (rng.random((9, len(chance))) < chance).astype(float)


rng = np.random.default_rng(69)
chance_of = rng.beta(0.3, 0.3, 75)  # most questions are nearly always solved, or nearly never
baseline, *others = nine_runs(rng, chance_of)
variants = {f"variant {i}": other for i, other in enumerate(others, 1)}
best = max(variants, key=lambda name: variants[name].mean())
d = S.paired_bootstrap(variants[best], baseline)
print(f"{best}: {variants[best].mean():.1%} right, baseline {baseline.mean():.1%}: {100 * d.estimate:+.1f} points, "
      f"95 % interval [{100 * d.low:+.1f}, {100 * d.high:+.1f}], p = {d.p_value:.3f}: {S.verdict(d)}!")
assert d.estimate > 0.08 and d.shown


# %% [markdown]
# Paired, an interval without 0, $p < 0.05$. What is missing is that eight looks were taken. **Holm's correction** of $m$ p-values: sort
# them; multiply the smallest by $m$, the next by $m - 1$, and so on; let none fall below its predecessor, nor rise above 1. With all
# of them corrected, the chance of *any* false alarm is at most 5 %.
#
# ### Exercise 5 (★★☆, 6 min)
#
# Write `survivors(baseline, variants)`: the names (a list) of the variants that are **better** than the baseline when all of them are corrected
# together. At your service: `S.paired_bootstrap(a, b)` with its `.p_value`, `S.holm(p_values)`, `S.verdict(difference, adjusted_p)`.

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
#     found = [S.paired_bootstrap(v, baseline) for v in variants.values()]
#     adjusted = S.holm([d.p_value for d in found])
#     return [name for name, d, p in zip(variants, found, adjusted) if S.verdict(d, p) == "better"]
# ```
#
# </details>

# %%
found = {name: S.paired_bootstrap(v, baseline) for name, v in variants.items()}
adjusted = dict(zip(found, S.holm([d.p_value for d in found.values()])))
rows = {name: {"gain, points": f"{100 * d.estimate:+.1f}", "p": f"{d.p_value:.3f}", "Holm's p": f"{adjusted[name]:.2f}",
               "verdict": S.verdict(d, adjusted[name])} for name, d in found.items()}
fresh = (np.random.default_rng(0).random((2, 75, 200)) < chance_of[:, None]).mean((1, 2))  # each asked 200 times more
print(f"asked 200 times more, {best}: {fresh[0]:.1%}, baseline: {fresh[1]:.1%}")
assert {row["verdict"] for row in rows.values()} == {"no difference shown"} and abs(fresh[0] - fresh[1]) < 0.02
pd.DataFrame(rows).T

# %% [markdown]
# All nine were *the same model*: look at `nine_runs`. (And this try was picked by us to look good, as the colleague's variant was.) How often
# do copies of one model put on such a show? A thousand tries, with the live student's own chances from section 2:

# %%
TRIES, rng = steps(1000, 100), np.random.default_rng(0)
tries = np.array([nine_runs(rng, chance) for _ in range(TRIES)])
d = tries[:, 1:] - tries[:, :1]                                       # (tries, 8, questions)
n = d.shape[2]
drawn = rng.multinomial(n, np.full(n, 1 / n), size=1999) / n          # section 3's bootstrap, for all tries at once
means = d.reshape(-1, n) @ drawn.T
tail = np.minimum((means <= 0).sum(1), (means >= 0).sum(1)) + 1
p_values = np.minimum(1, 2 * tail / (len(drawn) + 1)).reshape(d.shape[:2])
order = p_values.argsort(1)                                           # Holm's correction, for all tries at once
p_values, gains = (np.take_along_axis(x, order, 1) for x in (p_values, d.mean(2)))
corrected = np.minimum(1, np.maximum.accumulate(p_values * np.arange(8, 0, -1), axis=1))
assert np.allclose(corrected[0], S.holm(p_values[0]))
shares = {"the best looks at least 8 points better": (gains.max(1) >= 0.0799).mean(),
          "some variant is 'better', each looked at alone": ((p_values <= 0.05) & (gains > 0)).any(1).mean(),
          "some variant is better, corrected for eight looks": ((corrected <= 0.05) & (gains > 0)).any(1).mean()}
if not smoke():
    best_of_eight, alone, after_holm = shares.values()
    assert best_of_eight > 0.25 and after_holm < 0.1 and alone > 2 * after_holm  # the claim at the top
pd.DataFrame({"% of tries": {k: 100 * v for k, v in shares.items()}}).style.format("{:.0f}")

# %% [markdown]
# ## 8. Looking closer
#
# Accuracy says how much, the responses say why. The first seed's greedy answers were saved; graded again, they must give the saved grades:

# %%
FIRST = plan.seeds[0]
SETS = dict(zip(T.TINY_TASKS, ("test", "test_harder", "test_distractor"), strict=True))
SHOWN = [m for m in ("zero-shot CoT", "self-refine", "SFT, worked route", "GRPO", "ThinkTuning, intended", "ThinkTuning, released")
         if m in plan.methods]


def saved_main(method, task):
    return next(r for r in results if (r["method"], r["seed"]) == (method, FIRST))["tasks"][task]["main"]


def records(method, task):
    # The saved responses of the first seed as `Record`s, graded again
    main, docs = saved_main(method, task), evaluate.load_tiny_set(SETS[task])
    stated = [extract_answer(text) for text in main["responses"]]
    right = [is_correct(a, doc["answer"]) for a, doc in zip(stated, docs)]
    assert right == [bool(r) for r in main["right"]]
    return [Record(doc, [text], [a], [ok], [length]) for doc, text, a, ok, length
            in zip(docs, main["responses"], stated, right, main["length"], strict=False)]


everything = {(m, t): records(m, t) for m in plan.methods for t in T.TINY_TASKS}
print(f"{sum(map(len, everything.values())):,} responses graded again: all as saved")

# %% [markdown]
# **Lengths.** Reflection is paid for in tokens, at every answer. (The paper, too, reports longer responses than GRPO's.)

# %%
plots.response_lengths({m: [r.lengths[0] for r in everything[m, TASK]] for m in SHOWN})

# %% [markdown]
# **Behaviours** are counted by regular expressions that can be read and argued with (`behaviours.py`). A counter is an instrument, so it is
# measured first: *precision* is the share of its alarms that are right, *recall* the share of what is there that it finds. The labelled
# examples were written for this project, by the author of the detectors; those *held out* never led to a change of one.

# %%
examples = [e for e in H.labelled_examples() if e["part"] == "held-out"]
quality = {}
for name, q in H.measure(examples).items():
    precision, recall = (f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in (q.precision, q.recall))
    quality[name] = {"labelled": q.hits + q.misses, "precision": precision, "recall": recall}
print(f"{len(examples)} held-out examples")
pd.DataFrame(quality).T

# %%
shares = {m: {name: 100 * np.mean([name in H.behaviours(r.responses[0]) for r in everything[m, TASK]]) for name in H.DETECTORS}
          for m in plan.methods}
pd.DataFrame(shares).T.style.format("{:.0f}").set_caption(f"% of responses, {short_name[TASK]}, seed {FIRST}")

# %% [markdown]
# Words announce, they do not prove. What a second thought *does* shows where a response states two answers or more:
#
# **Does reflection correct, or over-think?**

# %%
moves = {m: H.transitions([r for t in T.TINY_TASKS for r in everything[m, t]]) for m in plan.methods}
moves = {m: c for m, c in moves.items() if sum(c.values()) >= c["one answer"] + c["no answer"] + 10}  # that reflect
display(plots.transition_bars(moves))
pd.DataFrame(moves).T


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
rows = []
for (method, task), found in everything.items():
    c = H.transitions(found)
    right, wrong = c["right to right"] + c["right to wrong"], c["wrong to right"] + c["wrong to wrong"]
    if min(right, wrong) < 10:
        continue  # too few that state two answers
    mends, spoils = c["wrong to right"] / wrong, c["right to wrong"] / right
    r, even = right / (right + wrong), mends / (mends + spoils) if mends + spoils else math.nan
    rows.append({"method": method, "benchmark": short_name[task], "reflecting": right + wrong, "mends": mends, "spoils": spoils,
                 "first answer right": r, "break-even": even, "gain, points": 100 * ((1 - r) * mends - r * spoils)})
    assert math.isnan(even) or (rows[-1]["gain, points"] > 0) == (r < even) or math.isclose(r, even)
shares = dict.fromkeys(("mends", "spoils", "first answer right", "break-even"), "{:.0%}")
pd.DataFrame(rows).style.format(shares | {"gain, points": "{:+.1f}"}).hide()

# %% [markdown]
# The last column is the gain *of the second thought over the first*, within the same responses; it is not a comparison with GRPO, whose
# first answers may be better. Where the first answer is nearly always right, even a rare spoiling costs: the paper reports ThinkTuning slightly below
# GRPO on GSM8K and StrategyQA, its easier sets, and names over-thinking.
#
# **By the number of steps.** 2 to 4 are of *test*, 5 and 6 of *harder*, longer than what any method was trained on here:

# %%
both = ("tt_tiny_test", "tt_tiny_harder")
plots.accuracy_by_steps({m: {int(n): part for t in both for n, part in saved_main(m, t)["by_steps"].items()} for m in SHOWN})

# %% [markdown]
# **Where wrong answers come from:** the operation of the first false equation; *setup*, when every equation is true and the answer still wrong.

# %%
errors = {m: H.first_errors([r for t in T.TINY_TASKS for r in everything[m, t]]) for m in plan.methods}
pd.DataFrame(errors).T.fillna(0).astype(int).assign(total=lambda f: f.sum(axis=1))

# %% [markdown]
# **Read them.** No count replaces a dozen responses read in full. The browser steps through the questions that exactly one of two methods gets
# right. (Without a kernel the first of them stands in.)

# %%
import html

import ipywidgets as w
from IPython.core.pylabtools import print_figure


class Browser(w.VBox):
    def __init__(self, first, second, task=TASK):
        self.pick = [w.Dropdown(options=names, value=value, description=label) for label, names, value in (
            ("benchmark", list(T.TINY_TASKS), task), ("one", plan.methods, first), ("other", plan.methods, second))]
        self.at, self.page = w.IntSlider(value=1, min=1, max=1, description="example"), w.HTML()
        super().__init__([w.HBox(self.pick), self.at, self.page])
        for control in (*self.pick, self.at):
            control.observe(self.show, "value")
        self.show()

    def show(self, change=None):
        task, *names = (p.value for p in self.pick)
        self.found = H.disagreements(*(everything[m, task] for m in names), tuple(names))
        self.at.max = max(1, len(self.found))
        self.page.value = self.text(self.found[self.at.value - 1]) if self.found else "These two never differ here."

    def text(self, d):
        boxes = "".join(f"<td style='width:50%;vertical-align:top'><b>{html.escape(m)} {'✓' if m == d.right else '✗'}</b>"
                        f"<pre style='white-space:pre-wrap'>{html.escape(t)}</pre></td>" for m, t in d.responses.items())
        return f"{len(self.found)} differ. <p>{html.escape(d.question)} <b>{d.answer}</b></p><table style='width:100%'>{boxes}</table>"


# %%
class WithStill(Browser):
    def _repr_mimebundle_(self, **kwargs):  # the widget, and a picture for where no kernel runs
        data = super()._repr_mimebundle_(**kwargs)
        if not self.found:
            return data
        title = f"1 of {len(self.found)} questions on which they differ"
        figure = plots.disagreement(**vars(self.found[0]), title=title)
        return data | {"image/png": print_figure(figure, "png", base64=True), "text/plain": title}


WithStill("GRPO", "ThinkTuning, released")

# %% [markdown]
# ## 9. Real models, and the paper's numbers
#
# On a machine with a GPU the same three calls evaluate any instruct model of the Hub, on the public benchmarks (`tt_gsm8k`, `tt_math500`,
# `tt_aime2024`, `tt_aime2025`, `tt_gpqa_diamond`, `tt_mmlu_pro`, `tt_strategyqa`, `tt_arc_challenge`, `tt_commonsenseqa`). None of this has been run
# by us at full size:
#
# ```python
# from thinktuning_lite.baselines import PROMPTED, SelfImprovingLM
#
# name = "meta-llama/Llama-3.2-3B-Instruct"             # or a folder that notebook 04 merged
# inner = hub_model(name, batch_size="auto")
# stored = StoredLM(inner, Path("runs/hub/llama-3b.db"))
# tasks = ["tt_gsm8k", "tt_math500"]
# zero_shot = run_tasks(stored, tasks, inner.tokenizer, limit=100)   # limit=None for all
# refined = run_tasks(SelfImprovingLM(stored, PROMPTED["self-refine"]), tasks, inner.tokenizer, limit=100)
# a, b = ([r.correct[0] for r in x["tt_gsm8k"]] for x in (refined, zero_shot))
# print(S.paired_bootstrap(a, b))
# ```
#
# For the full sets leave the notebook; vLLM is the harness's own switch, and needs `pip install vllm`:
#
# ```bash
# lm_eval --model vllm --model_args pretrained=meta-llama/Llama-3.2-3B-Instruct \
#     --include_path thinktuning_lite/tasks --tasks tt_gsm8k,tt_math500,tt_gpqa_diamond \
#     --apply_chat_template --batch_size auto --log_samples --output_path runs/hub
# ```
#
# GPQA is gated: accept its terms on the Hub, or set `THINKTUNING_DATA` to a folder that holds the original files.

# %% [markdown]
# **Reported by the paper** (RRV et al., 2025; Llama-3.2-3B-Instruct; *not* reproduced here): over all benchmarks +3.85 on average over
# zero-shot; AIME +2.23; slightly below GRPO on GSM8K and StrategyQA. With numbers for both methods:

# %%
reported = {"MATH-500": (500, 45.46, 47.54), "GPQA-Diamond": (198, 24.19, 28.18)}
rows = {}
for name, (n, grpo, ours) in reported.items():
    low, high = wilson(n * grpo / 100, n)
    one_run = any(abs(100 * k / n - grpo) < 0.005001 for k in range(n + 1))
    rows[name] = {"questions": n, "GRPO, %": f"{grpo:.2f}", "ThinkTuning, %": f"{ours:.2f}", "difference, points": f"{ours - grpo:+.2f}",
                  "half width for ONE run of GRPO, points": f"{50 * (high - low):.1f}", "a whole number of questions": one_run}
assert not any(row["a whole number of questions"] for row in rows.values())
pd.DataFrame(rows).T.style.set_caption("reported by the paper, a 3B model; the last two columns are computed here")

# %%
rows = {short_name[line.task]: {f"{T.REFERENCE}, %": f"{100 * T.correct_matrix(results, T.REFERENCE, line.task).mean():.1f}",
                                "ThinkTuning, %": f"{100 * line.accuracy:.1f}", "difference [95 %]": cell(line).split(" ", 1)[1]}
        for line in lines if line.method == "ThinkTuning, released"}
pd.DataFrame(rows).T.style.set_caption(
    f"ours: another world, 0.9 M parameters, released AAS, {len(plan.seeds)} seeds")

# %% [markdown]
# Two tables, two worlds: no number of one checks a number of the other. *How to read the first.* The shares are no whole numbers of questions, so
# they average several samples or runs, and their noise is smaller than one run's; by how much cannot be told from them, nor how many
# training seeds stand behind them. One run of that size could not have shown such gains unpaired.
#
# **What the tiny world can tell:** whether the machinery works, which comparisons a result survives, how a mechanism acts (a rare entry token, a
# route taken over, an answer spoilt), and what a method needs to be given. **What it cannot:** how large a gain is for a model that
# was not made for this lesson. It was *built* so that checking helps and the student role does not check; its questions are one family of
# templates; its teacher role was trained on attempts like the student's, which no frozen copy of an instruct model was.
#
# ## Where the code is
#
# | here | in the package |
# |---|---|
# | `run_tasks`, `StoredLM`, `hub_model`, `Record`; leaks of test questions | `harness.py` |
# | the benchmarks, their loaders and graders | `tasks/*.yaml`, `tasks/graders.py`, answers in `rewards.py` |
# | `proportion_interval`, `paired_bootstrap`, `crossed_difference`, `holm`, `pass_at_k`, `majority` | `statistics.py` |
# | self-verify, self-refine, self-correct, SFT, STaR | `baselines.py` |
# | the methods of the table, `make table`, `lines`, `markdown` | `table.py` |
# | detectors, transitions, first errors, `disagreements` | `behaviours.py` |
# | the figures | `plots.py` |
#
# Next: [06_movie_quote](06_movie_quote.ipynb), a behaviour that nobody would find by sampling.
