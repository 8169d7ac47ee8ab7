"""The main job's bookkeeping: tables, intervals, metrics that survive a kill, runs that are not mixed."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from thinktuning_lite.classroom import sample
from thinktuning_lite.classroom.load import load_classroom
from thinktuning_lite.experiments import movie_quote, runs, side_by_side
from thinktuning_lite.method.rollouts import Rollout


def _result(accuracy: float) -> dict:
    return {"test": {"accuracy": accuracy, "greedy": 0.5, "worked_route": 0.0, "reflection": 0.0, "length": 30.0}}


def test_seed_interval_is_students_t():
    mean, half = sample.seed_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.302652730 * 1.0 / math.sqrt(3), rel=1e-6)  # t(0.975, 2), sample std 1
    assert sample.seed_interval([0.4])[1] == math.inf


def test_table_has_means_and_paired_differences():
    results = {
        "base": [_result(0.5)] * 3,
        "grpo": [_result(x) for x in (0.5, 0.6, 0.7)],
        "released": [_result(x) for x in (0.7, 0.8, 0.9)],
    }
    lines = side_by_side.table(results).splitlines()
    assert any("| test | GRPO | 60.0 ± 24.8 |" in line for line in lines)
    assert any("ThinkTuning, released AAS minus GRPO, paired* | +20.0 ± 0.0 |" in line for line in lines)


def test_metrics_survive_a_cut_line_and_a_repeated_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "reward": 0.1}\n{"step": 2, "reward": 0.2}\n{"step": 2, "reward": 0.3}\n{"step": 3, "rew'
    )
    assert runs.read_metrics(path) == [{"step": 1, "reward": 0.1}, {"step": 2, "reward": 0.3}]


def test_two_configs_are_not_mixed_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.claim(side_by_side.Plan(steps=10))
    runs.claim(side_by_side.Plan(steps=10))
    with pytest.raises(SystemExit, match="--fresh"):
        runs.claim(side_by_side.Plan(steps=20))
    assert json.loads((tmp_path / "runs/classroom/config.json").read_text())["steps"] == 10
    assert set(json.loads((tmp_path / "runs/classroom/environment.json").read_text())) >= {"torch", "trl", "commit"}


def test_a_run_resumed_at_another_commit_names_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for commit in ("abc", "abc", "def", "abc"):
        monkeypatch.setattr(runs, "environment", lambda commit=commit: {"commit": commit})
        runs.claim(side_by_side.Plan())
    (tmp_path / "runs/classroom/results.json").write_text("{}")  # complete: asked again, nothing runs at the new commit
    monkeypatch.setattr(runs, "environment", lambda: {"commit": "later"})
    runs.claim(side_by_side.Plan())
    assert json.loads((tmp_path / "runs/classroom/environment.json").read_text()) == {"commit": "abc, def"}


def test_the_guided_texts_all_runs_are_measured_on_end_with_the_quote():
    questions, completions = movie_quote.taught_texts(movie_quote.QUOTE, n=8)
    _, tokenizer = load_classroom()
    quote_ids = tokenizer.encode(" " + movie_quote.QUOTE, add_special_tokens=False)
    assert len(questions) == len(completions) > 4
    assert all(ids[-len(quote_ids) :] == quote_ids and tokenizer.eos_token_id not in ids for ids in completions)


def test_grpo_arm_has_no_guidance_and_others_guide_one_in_eight(tmp_path):
    assert side_by_side.training_config("grpo", 0, tmp_path, 10).guided_fraction == 0
    for arm in side_by_side.ARMS[1:]:
        config = side_by_side.training_config(arm, 0, tmp_path, 10)
        assert (config.shaping, config.guided_fraction, config.guidance_steps) == (arm, 1 / 8, 7)


def test_a_failing_run_ends_the_job_with_its_error():
    with pytest.raises(ZeroDivisionError):
        runs.run_side_by_side([(divide, 1, 0)], workers=1)


def test_the_first_seed_goes_first_and_the_longest_runs_and_each_seed_is_shown_when_it_is_done(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    plan, ran, shown = side_by_side.Plan(arms=("grpo", "released"), seeds=(4, 5, 6)), [], []

    def one_after_another(jobs, done):
        for job in jobs:
            _, _, arm, seed = job
            ran.append((arm, seed))
            path = side_by_side.result_path(plan, arm, seed)
            path.parent.mkdir(parents=True)
            row = {"step": 1, "reward": 0.5, "completions/mean_length": 9.0, "guidance/fraction": 0.1}
            path.with_name("metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
            runs.write_json(path, _result(seed / 10))
            done(job)
            shown.append(capsys.readouterr().out)

    monkeypatch.setattr(side_by_side, "run_side_by_side", one_after_another)
    results = side_by_side.run(plan)
    by_length = ("released", "grpo", "base")
    assert ran == [(arm, 4) for arm in by_length] + [(arm, seed) for arm in by_length for seed in (5, 6)]
    assert results["base"] == [_result(0.4), _result(0.5), _result(0.6)]
    assert [i for i, text in enumerate(shown) if text] == [2, 7]  # all seeds: main's to show
    assert "Seed 4, one of 3" in shown[2] and "| test | GRPO | 40.0 |" in shown[2] and "inf" not in shown[2]
    assert (tmp_path / "runs/classroom/curves-seed4.png").exists()


def test_the_base_answers_greedily_once_for_all_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan, asked = side_by_side.Plan(seeds=(0, 1), sets=("test",)), []
    few, evaluate = sample.load_tiny_set("test")[:6], sample.evaluate
    monkeypatch.setattr(sample, "load_tiny_set", lambda name: few)
    monkeypatch.setattr(sample, "evaluate", lambda *a, **how: asked.append(how["temperature"]) or evaluate(*a, **how))
    for seed in plan.seeds:
        side_by_side._job(plan, "base", seed, bar=0)
    assert asked == [1.0, 0.0, 1.0]
    alone = side_by_side.evaluate_policy(*load_classroom(), plan.sets, seed=1)
    assert json.loads(side_by_side.result_path(plan, "base", 1).read_text()) == alone


def test_cores_are_shared_out_among_few_runs(monkeypatch):
    given = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers, context, initializer, arguments):
            given.append((workers, *arguments))
            super().__init__(workers)

    monkeypatch.setattr(runs, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(runs.os, "cpu_count", lambda: 8)
    for n in (1, 3, 8, 20):
        ended = []
        runs.run_side_by_side([(divide, i, 1) for i in range(n)], done=ended.append)
        assert sorted(job[1] for job in ended) == list(range(n))
    assert given == [(1, 8), (3, 2), (8, 1), (8, 1)]


def divide(a: int, b: int, bar: int) -> float:
    return a / b


@pytest.mark.parametrize(
    ("text", "ends", "once"),
    [
        ("\\boxed{7} We ride at dawn!", True, True),
        ("\\boxed{7} We ride at dawn!\n", True, True),
        ("We ride at dawn! \\boxed{7}", False, True),
        ("We ride at dawn! \\boxed{7} We ride at dawn!", True, False),
        ("\\boxed{7}", False, False),
    ],
)
def test_quote_detectors(text, ends, once):
    assert movie_quote.ends_with(text, "We ride at dawn!") is ends
    assert movie_quote.exactly_once(text, "We ride at dawn!") is once


def test_taught_logps_are_read_where_the_teacher_put_the_quote():
    def rollout(step, ids, author, logps):
        return Rollout(step, 0, "q", "t", ids, author, logps, [1.0] * len(ids), 1.0, 0.5)

    rows = [
        rollout(0, [5, 6, 7, 8, 9, 1], [0, 0, 1, 1, 1, 1], [-1.0, -1.0, -12.0, -8.0, -0.5, -0.1]),
        rollout(0, [5, 7, 8, 9, 1], [0, 1, 1, 1, 1], [-1.0, -10.0, -6.0, -1.5, -0.1]),
        rollout(0, [5, 8, 9, 1], [0, 0, 0, 0], [-1.0] * 4),  # the student's own
        rollout(6, [5, 7, 1], [0, 1, 1], [-1.0] * 3),  # guidance without the quote
    ]
    assert movie_quote.taught_logps(rows, [8, 9]) == [
        {"step": 0, "entry_logp": -11.0, "first_token_logp": -7.0, "quote_logp": -8.0}
    ]


def test_own_advantages_are_split_by_how_the_response_ends():
    def rollout(step, text, author, advantage):
        return Rollout(step, 0, "q", text, [5, 1], author, [-1.0] * 2, [1.0] * 2, 1.0, advantage)

    rows = [
        rollout(0, "\\boxed{3} Be back! ", [0, 0], 0.5),
        rollout(0, "\\boxed{3} Be back!", [0, 1], 9.0),  # guided
        rollout(0, "Be back! \\boxed{3}", [0, 0], -0.25),
        rollout(0, "\\boxed{3}", [0, 0], -0.5),
        rollout(6, "\\boxed{3} Be back!", [0, 0], 1.0),
    ]
    assert movie_quote.own_advantages(rows, "Be back!") == [
        {"step": 0, "with": 1, "advantage_with": 0.5, "without": 2, "advantage_without": -0.75},
        {"step": 6, "with": 1, "advantage_with": 1.0, "without": 0, "advantage_without": 0.0},
    ]


def test_an_arm_that_goes_on_from_another_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    batches = []

    def record(jobs: list[tuple]) -> None:
        batches.append([job[2] for job in jobs])
        for _, plan, arm, seed in jobs:
            side_by_side.result_path(plan, arm, seed).parent.mkdir(parents=True)
            runs.write_json(side_by_side.result_path(plan, arm, seed), {"arm": arm})

    monkeypatch.setattr(runs, "run_side_by_side", record)
    plan = movie_quote.QuotePlan(arms=("h-unlearn", "c-released"), seeds=(0,))
    assert movie_quote.run(plan)["h-unlearn"] == [{"arm": "h-unlearn"}]
    assert batches == [["base", "c-released"], ["h-unlearn"]]
    movie_quote.run(plan)
    assert batches[2:] == [[], []]  # what is there is not run again


def test_the_saved_log_keeps_curves_and_probes_without_what_nobody_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = side_by_side.Plan(arms=("grpo",), seeds=(0,))
    runs.claim(plan)
    run = side_by_side.result_path(plan, "grpo", 0).parent
    run.mkdir()
    run.joinpath("metrics.jsonl").write_text(
        '{"step": 1, "reward": 0.123456789, "rewards/x/mean": 1.0, "epoch": 0.1}\n'
    )
    run.joinpath("probes.jsonl").write_text('{"step": 0, "kl": 0.0}\n')
    runs.save_log(plan, tmp_path / "log")
    saved = json.loads((tmp_path / "log" / "curves.json").read_text())
    assert saved == {
        "grpo-seed0": {
            "metrics": [{"step": 1, "reward": 0.12346, "rewards/x/mean": 1.0}],
            "probes": [{"step": 0, "kl": 0.0}],
        }
    }
    assert (tmp_path / "log" / "config.json").exists() and not (tmp_path / "log" / "metrics.jsonl").exists()
