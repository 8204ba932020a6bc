"""Every benchmark runs and prints its table; what the numbers are is not a matter for tests."""

import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tyro

from mechshift.attribution import eap_ig
from mechshift.run.pair_options import PairOptions
from mechshift.tasks import PoolConfig, build_pool, load_task_file

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = [
    *("--problem.layers", "2", "--problem.heads", "2", "--problem.width", "16"),
    *("--problem.batch", "2", "--problem.tokens", "4"),
]
GROUPED = [*TINY, "--problem.key-value-heads", "1", "--problem.ig-steps", "2"]
SMALL_PAIR = [
    *("--shape.layers", "2", "--shape.heads", "2", "--shape.key-value-heads", "1"),
    *("--shape.width", "16", "--shape.mlp-width", "32", "--shape.vocabulary", "64"),
    *("--shape.examples", "20", "--shape.held-out", "20"),
]
FEW_DRAWS = [
    *("--comparison.num-resamples", "20", "--comparison.num-exchanges", "20"),
    *("--comparison.num-shuffles", "20", "--comparison.num-splits", "4"),
]
ARGUMENTS = {
    "attribution": [*GROUPED, "--rounds", "1"],
    "calibration": ["--num-pools", "1", "--resamples", "20", "--processes", "1"]
    + ["--scenarios", "60 examples"],
    "circuit_run": [*GROUPED, "--rounds", "1", "--edges", "20"],
    "comparison": ["--num-examples", "10", "--share", "0.002", "--shapes", "embedded pair"],
    "explorer": ["--layers", "2", "--heads", "2", "--tasks", "1", "--examples", "20"]
    + ["--steps", "2", "--circuit-size", "10", "--sizes", "10", "--rounds", "2"],
    "false_positives": ["--runs", "4", "--num-examples", "20", "--resamples", "20"],
    "floors": ["--tasks", "infilling", "--devices", "H200"],
    "gpu": [*GROUPED, "--rounds", "1", *SMALL_PAIR, *FEW_DRAWS]
    + ["--steps", "pair", "plan", "pool", "scores", "comparison", "devices"],
    "graphs": ["--rounds", "1"],
    "hops": ["--steps"],
    "large_input": ["--lines", "20", "--line-bytes", "2000000", "--only", "a line"],
    "plan": [*GROUPED, "--batches", "1", "--tasks", "ioi", "--examples", "10"]
    + ["--also", "--skip", "flow", "semantics", "ablation", "controls"],
    "precision": [*GROUPED, "--examples", "2", "--tasks", "infilling"],
    "scaling": [*GROUPED, "--rounds", "1", "--doublings", "1"],
    "selection": ["--pools", "1", "--resamples", "20", "--scenarios", "ARM .95, MDM .7"],
    "shards": ["--runs", "2", "--num-examples", "40", "--examples-per-shard", "1", "4"],
    "side_by_side": [*TINY, "--problem.key-value-heads", "2", "--rounds", "1"],
    "whole_run": SMALL_PAIR + FEW_DRAWS,
    "wording": ["--runs", "2", "--num-examples", "40", "--num-templates", "2"]
    + ["--resamples", "20", "--spreads", "0.5"],
    "workers": SMALL_PAIR,
}
EXPECTED = {
    "attribution": ["bare passes, m = 2", "EAP-IG, m = 8"],
    "calibration": ["one circuit, 60 examples", "structure, ratio to ceiling", "0 of 1"],
    "circuit_run": ["forward pass", "top, 20 edges", "random, 20 edges"],
    "comparison": ["embedded pair, shift", "x least"],
    "explorer": ["46 edges, 1 tasks, 20 examples", "open the page", "K slider at 10"],
    "false_positives": ["edges exchanged within layers and types", "Holm over 4 tasks"],
    "floors": ["dream-7b on an H200, computed", "faithfulness, infilling"],
    "gpu": ["46 edges, 20 + 20 examples", "| scores |", "| comparison |"]
    + ["scores by the batch and one by one differ by at most"],
    "graphs": ["LLaMA-2-7B", "1,592,881"],
    "hops": ["every number:", "right-to-left share:", "correction (topics/*:_corrected)"],
    "large_input": ["a line of 2,000,000 bytes", "it has more than 1,048,576 bytes"],
    "plan": ["EAP-IG, random model", "faithfulness: passes"],
    "precision": ["random", "infilling, tiny-mdm"],
    "scaling": ["4 examples, m = 2", "2 examples, m = 4"],
    "selection": ["ARM .95, MDM .7: 1 pools", "early share shift", "on_all"],
    "shards": ["shift of `moved`", "ratio to ceiling"],
    "side_by_side": ["skipped: auto-circuit cannot be imported", "TransformerLens 4.3"],
    "whole_run": ["46 edges, 20 + 20 examples", "semantics", "report", "x least"],
    "workers": ["scores", "Numbers that differ: 0", "A chunk more takes"],
    "wording": ["2 pools, factors of templates scatter by 0.5", "centre of mass shift"],
}


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """Import one script as it is when run from the command line."""
    monkeypatch.chdir(tmp_path)  # where a script writes
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("COLUMNS", "200")
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)


def test_every_script_is_run_here():
    shared = {"measuring", "random_pair", "random_problem", "same_numbers"}
    shared |= {"file_events", "mutations", "outside_files", "small_commands"}
    tested_alone = {"fuzz", "kills"}
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert scripts == shared | tested_alone | ARGUMENTS.keys()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_benchmark_prints_its_table(name, benchmark, capsys):
    if name == "explorer" and not (shutil.which("chromium") or shutil.which("chromium-browser")):
        pytest.skip("no chromium or chromium-browser on this machine")
    script = benchmark(name)
    script.main(tyro.cli(script.Options, args=[*ARGUMENTS[name], *threads(script)]))
    printed = capsys.readouterr().out
    for expected in EXPECTED[name]:
        assert expected in printed


def threads(script):
    return ["--threads", "1"] if "threads" in script.Options.__dataclass_fields__ else []


def test_peak_memory_counts_what_is_alive_together(benchmark):
    peak_megabytes = benchmark("measuring").peak_megabytes

    def work():
        kept = torch.zeros(2**18)  # 1 MB
        for _ in range(3):
            torch.zeros(2**19).add_(1)  # 2 MB, gone before the next
        kept.view(2, -1)[0] += 1  # views take nothing

    assert peak_megabytes(work) == pytest.approx(3.0, abs=0.01)


def test_memory_of_eap_ig_grows_neither_with_points_nor_with_examples(benchmark):
    peak_megabytes = benchmark("measuring").peak_megabytes
    problem = benchmark("random_problem").Problem(
        layers=2, heads=2, key_value_heads=1, width=64, batch=4, tokens=6
    )
    model = problem.model()
    canvases = problem.canvases(model, 16)

    def peak(num_examples, ig_steps):
        return peak_megabytes(
            lambda: eap_ig(
                model,
                canvases[:num_examples],
                metric="logit_diff",
                ig_steps=ig_steps,
                batch_size=problem.batch,
            )
        )

    once = peak(4, 3)
    assert peak(4, 12) == pytest.approx(once, rel=0.01)
    # The scores of one batch are still there when the next is begun.
    assert peak(16, 3) == pytest.approx(once, rel=0.01)


def test_side_by_side_compares_equal_numbers(benchmark):
    script = benchmark("side_by_side")
    rival = script.with_transformer_lens(
        tyro.cli(script.Options, args=ARGUMENTS["side_by_side"]).problem
    )
    ours, theirs = rival.ours(2), rival.theirs()
    assert abs(ours - theirs).max() < 1e-5 * abs(ours).max()


def test_both_models_of_a_random_pair_solve_its_task(benchmark, tmp_path):
    random_pair = benchmark("random_pair")
    shape = random_pair.PairShape(
        layers=2, heads=2, key_value_heads=1, width=16, mlp_width=32, vocabulary=64
    )
    stored = random_pair.write_random_pair(tmp_path, shape)
    options = PairOptions(pair="random", arm=str(stored.arm), mdm=str(stored.mdm))
    pair = options.load("cpu", controls=False)
    task = load_task_file(stored.task)
    pool = build_pool(pair, task, "held-out", PoolConfig(num_examples=60, num_held_out=24))
    assert len(pool.examples) == len(pool.candidate_ids) == 24
    assert pool.arm_accuracy == pool.mdm_accuracy == 1.0
    # Yet they are two models.
    assert not torch.equal(*(model.module.lm_head.weight for model in pair.models))


def test_a_gpu_step_that_fails_is_named_and_one_whose_result_is_there_is_skipped(
    benchmark, tmp_path, capsys, monkeypatch
):
    gpu = benchmark("gpu")
    words = [*ARGUMENTS["gpu"], "--folder", str(tmp_path), "--threads", "1", "--step-seconds", "1"]
    options = tyro.cli(gpu.Options, args=words)

    def forever(_bench):
        while True:
            pass

    monkeypatch.setattr(gpu.Bench, "write_pair", forever)
    row = ["EAP-IG, m = 8", "0.1", "1.10", "2.0", "1.50"]
    gpu.Bench(options).keep("eap-ig", {"rows": [row], "batch": 2, "tokens": 12})
    options = replace(options, steps=("pair", "scores", "eap-ig"))
    assert gpu.main(options) == 1
    printed = capsys.readouterr().out
    assert "- pair: OutOfTimeError: took more than 1 s" in printed
    assert "- scores: RuntimeError: there is no plan" in printed
    assert "eap-ig: begins" not in printed and "| EAP-IG, m = 8 | 0.1 | 1.10 |" in printed
    assert gpu.main(replace(options, only_table=True)) == 1
    again = capsys.readouterr().out
    assert "- pair: not done" in again and "pair: begins" not in again
    assert (tmp_path / "gpu.md").read_text() == again.rstrip("\n") + "\n"
