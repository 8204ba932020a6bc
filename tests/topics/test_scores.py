"""The words on a method: one for each that there is, true of its settings; and completeness."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mechshift.attribution import METHODS, method_options
from mechshift.topics.scores import (
    METHOD_WORDS,
    SCORES,
    completeness_meaning,
    edge_score_definition,
    shards_definition,
)
from mechshift.topics.topic import TaskResults


def test_every_method_has_words_that_its_own_options_fill() -> None:
    assert set(METHOD_WORDS) == set(METHODS)
    for method in METHODS:
        words = edge_score_definition({"method": method, **method_options(method)}).meaning
        assert "{" not in words and words.endswith("averaged over examples.")


@pytest.mark.parametrize(
    ("attribution", "definition", "completeness"),
    [
        (
            {"method": "eap-ig", "ig_steps": 7, "rule": "midpoint", "gim": False},
            "over 7 points (rule “midpoint”)",
            "If the path had infinitely many points",
        ),
        (
            {"method": "eap", "gradient_at": "corrupted", "gim": False},
            "on the corrupted prompt; summed",
            "only where the model is linear",
        ),
        (
            {"method": "eap", "gradient_at": "clean", "gim": True},
            "Gradients of attention follow GIM's rules",
            "those of no function",
        ),
        (
            {"method": "exact"},
            "where the destination alone reads the source's corrupted output",
            "Every score is measured, not estimated",
        ),
    ],
)
def test_the_words_say_which_method_made_the_scores_and_what_their_sum_means(
    attribution: dict, definition: str, completeness: str
) -> None:
    assert definition in edge_score_definition(attribution).meaning
    assert completeness in completeness_meaning(attribution)


def test_shards_are_defined_where_scores_were_averaged_over_them() -> None:
    settings = {
        "pool": {"num_examples": 40},
        "attribution": {"method": "exact", "examples_per_shard": 1},
    }
    assert [one.term for one in SCORES.method(settings)] == ["Edge scores", "Intervals"]
    settings["attribution"] = {"method": "exact", "examples_per_shard": 4}
    scores, shards, intervals = SCORES.method(settings)
    assert (scores.term, intervals.term) == ("Edge scores", "Intervals")
    assert shards == shards_definition(10, 4)
    assert "averaged over 4 consecutive examples" in shards.meaning
    assert "with these 10 shards" in shards.meaning


@pytest.mark.parametrize("task", ["ioi", "infilling"])
def test_what_the_scores_explain_is_reported(results: dict[str, TaskResults], task: str) -> None:
    comparison = results[task].comparison
    notes = list(SCORES.notes(results[task]))
    checks = {"ARM": comparison.arm_completeness, "MDM": comparison.mdm_completeness}
    for note, (name, check) in zip(notes, checks.items(), strict=True):
        lost, explained = (
            f"{value:.2f}".replace("-", "−") for value in (check.drop.value, check.attributed.value)
        )
        gap = f"{100 * check.relative_gap:.1f}".replace("-", "−")
        assert note == (
            f"{name}: corruption lowers the metric by {lost}; the scores of the edges out of the"
            f" input sum to {explained} (gap {gap}\N{NO-BREAK SPACE}%)"
        )


def test_where_corruption_changes_nothing_completeness_is_undefined(
    planted: Callable[..., TaskResults],
) -> None:
    task = planted("identical")
    check = replace(task.comparison.arm_completeness, relative_gap=None)
    comparison = replace(task.comparison, arm_completeness=check)
    first, second = SCORES.notes(replace(task, comparison=comparison))
    assert first == (
        f"ARM: corruption changes the metric by {check.drop.value:.2f}; completeness undefined"
    )
    assert "undefined" not in second
