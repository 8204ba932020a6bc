"""The words on a method: one for each that there is, true of its settings, and on the page."""

from dataclasses import replace

import pytest
from mechshift.report import ReportInput, render_report
from mechshift.report.definitions import (
    METHOD_WORDS,
    completeness_meaning,
    edge_score_definition,
)

from mechshift.attribution import METHODS, method_options


def test_every_method_has_words_that_its_own_options_fill():
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
def test_the_page_says_which_method_made_the_scores_and_what_their_sum_means(
    attribution, definition, completeness, report: ReportInput
) -> None:
    assert definition in edge_score_definition(attribution).meaning
    assert completeness in completeness_meaning(attribution)
    # Flow takes EAP-IG's gradients whatever the method, and says so.
    facts = replace(report.facts, attribution=attribution, flow=None)
    page = render_report(replace(report, facts=facts, tasks=report.tasks[1:])).replace("&#39;", "'")
    assert definition in page and completeness in page
    assert ("EAP-IG" in page) == (attribution["method"] == "eap-ig")
