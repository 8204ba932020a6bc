"""Verdicts where the truth is known: benchmarks/calibration.py in short, with fixed seeds."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro
from scipy.stats import binom

from mechshift.comparison.scores import row_clusters, summed_over_steps
from mechshift.testing import planted_pair

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
POOLS = 3
VERDICTS = ("structure", "edges changed", "weights", "specialisation", "depth", "inheritance")


@pytest.fixture
def calibration(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("COLUMNS", "200")
    return importlib.import_module("calibration")


@pytest.mark.parametrize(
    ("scenario", "right"),
    [
        ("one circuit, noise x 3", ()),
        ("one circuit, 26 clusters at .6", ()),
        ("overlap 0", ("structure", "edges changed", "weights", "inheritance")),
    ],
)
def test_verdicts_are_false_no_more_often_than_they_say_and_right_where_they_can_be(
    calibration, scenario, right
):
    """Of 3 pools at 5 %, all are false once in 8,000 times."""
    options = calibration.Options(resamples=60)
    pools = [calibration.pool_of(options, (scenario, seed)) for seed in range(POOLS)]
    for rule in pools[0].keys() & set(VERDICTS):
        readings = [pool[rule] for pool in pools]
        false = sum(one.decided and one.verdict != one.right for one in readings)
        assert false <= binom.ppf(0.999, POOLS, 0.05), rule
    for rule in right:
        assert all(pool[rule].verdict == pool[rule].right for pool in pools), rule


TRAINING_POOLS = 40


@pytest.mark.parametrize("num", [3, 4, 6])
@pytest.mark.parametrize("sd", [0, 1, 3])
def test_trainings_that_do_not_differ_are_called_diffusions_no_more_often_than_the_level_says(
    calibration, num, sd
):
    """And the interval holds the truth; no rule at 5 % has more in 1,000 repetitions."""
    scenario = f"{num} trainings a side, sd {sd}, a small shift, no difference"
    readings = of_trainings(calibration, scenario)
    assert sum(one.false for one in readings) <= binom.ppf(0.999, TRAINING_POOLS, 0.05)
    covered = sum(one.covers for one in readings)
    assert covered >= binom.ppf(0.001, TRAINING_POOLS, 0.95)


def test_trainings_that_shift_alike_are_found_to(calibration):
    readings = of_trainings(calibration, "4 trainings a side, sd 1, no difference")
    assert not any(one.false for one in readings)
    assert sum(one.decided for one in readings) >= 0.8 * TRAINING_POOLS


@pytest.mark.parametrize(("num", "least"), [(3, 0.4), (6, 0.9)])
def test_a_difference_of_four_standard_deviations_of_a_training_is_found(calibration, num, least):
    readings = of_trainings(calibration, f"{num} trainings a side, sd 1, difference 4")
    assert not any(one.false for one in readings)
    assert sum(one.decided for one in readings) >= least * TRAINING_POOLS


def test_an_interval_that_holds_trainings_fixed_misses_the_truth(calibration):
    """Which is why they are drawn again in that of the rule."""
    scenario = "3 trainings a side, sd 3, no difference"
    readings = of_trainings(calibration, scenario, "cause, trainings held fixed")
    assert sum(one.covers for one in readings) < binom.ppf(0.001, TRAINING_POOLS, 0.95)


def of_trainings(calibration, scenario, rule="cause"):
    options = calibration.Options(resamples=60)
    return [calibration.pool_of(options, (scenario, seed))[rule] for seed in range(TRAINING_POOLS)]


def test_stored_scores_are_split_into_clusters_of_their_own(calibration):
    """Two fifths against two others, the last for circuits to be run on; none in two parts."""
    scores = planted_pair("identical", num_examples=80).arm
    scores = replace(scores, clusters=np.random.default_rng(0).integers(50, size=80))
    table, clusters = summed_over_steps(scores), row_clusters(scores)
    options = calibration.Options(resamples=20)
    pool = calibration.split_pool(scores, options, 1)
    rows = [
        [int(np.flatnonzero((table == row).all(axis=1))[0]) for row in part]
        for part in (*pool.scores, pool.held_out * np.sign(pool.effects[0]))
    ]
    parts = [set(clusters[part].tolist()) for part in rows]
    assert all(parts) and sum(map(len, parts)) == len(set.union(*parts)) == len(np.unique(clusters))
    assert len(pool.clusters) == len(rows[0]) == len(rows[1])
    for cluster in np.unique(pool.clusters):
        for part in rows[:2]:
            assert len(set(clusters[np.array(part)[pool.clusters == cluster]].tolist())) == 1
    readings = calibration.readings_of(pool)
    assert readings["structure"].truth == 1.0
    assert readings["depth"].truth == readings["specialisation"].truth == 0.0


def test_every_stored_table_of_a_run_is_a_scenario(calibration, small_run):
    tables = calibration.tables_of(small_run)
    assert {"ioi: ARM against itself", "infilling: MDM against itself"} <= tables.keys()
    for folder in tables.values():
        assert calibration.stored_scores(folder).graph.num_edges == 1108


def test_a_pool_that_stands_in_the_file_is_not_drawn_again(
    calibration, tmp_path, monkeypatch, capsys
):
    found = {
        "structure": {
            "verdict": "rewired",
            "right": "retained",
            "value": 0.25,
            "truth": 1.0,
            "covers": False,
            "p": 0.01,
        }
    }
    file = tmp_path / "pools.jsonl"
    file.write_text(json.dumps(["one circuit, 60 examples", 0, found]) + "\n", encoding="utf-8")
    monkeypatch.setattr(calibration, "pool_of", lambda *_: pytest.fail("a pool was drawn"))
    words = ["--file", str(file), "--num-pools", "1", "--scenarios", "60 examples"]
    calibration.main(tyro.cli(calibration.Options, args=[*words, "--processes", "1"]))
    printed = capsys.readouterr().out
    assert "1 of 1" in printed and "-0.750" in printed and "0.00 of 1" in printed


def test_a_run_of_four_tasks_is_corrected_for_all_its_verdicts(calibration):
    """Of twelve verdicts, a false one at .02 does not survive, and a right one at .001 does."""

    def reading(verdict, p):
        return calibration.Reading(
            verdict=verdict, right="moved", value=1.0, truth=1.0, covers=True, p=p
        )

    nothing = {rule: reading("not decided", 1.0) for rule in calibration.VERDICTS}
    pools = [nothing, nothing | {"depth": reading("stayed", 0.02)}, nothing, nothing]
    pools[3] = nothing | {"structure": reading("moved", 0.001)}
    table = calibration.table_of_runs({"some": pools * 2}, 0.95)
    (row,) = zip(*(column.cells for column in table.columns), strict=True)
    assert row == ("some", "2 of 2", "0 of 2", "2", "2")
