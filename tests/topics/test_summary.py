"""The sentences of the first screen: every verdict in words, and what is open said as such."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mechshift.page.formats import NOT_DECIDED
from mechshift.topics.decisions import decides
from mechshift.topics.registry import Verdict, rules, verdicts
from mechshift.topics.summary import listed, summary
from mechshift.topics.topic import Statement, TaskResults

Planted = Callable[..., TaskResults]

WORDS = {
    "structure": {
        "retained",
        "modest change",
        "rewired",
        "modest change by count, kept by weight",
        "rewired by count, kept by weight",
    },
    "core": {"retained", "modest change", "rewired"},
    "depth": {"front-loaded", "back-loaded"},
    "specialisation": {"more distributed", "sharper"},
    "direction": {"reads from the right", "hardly reads from the right"},
    "inheritance": {"suffices", "no longer suffices"},
    "intervention": {"MDM depends more on early heads", "MDM depends less on early heads"},
    "cause": set(),
}
"""Everything that the rules decide (docs/verdict.md)."""


def statement(axis: str, verdict: str) -> Statement:
    return Statement(
        axis=axis,
        verdict=verdict,
        by_itself=verdict,
        estimate=None,
        sentence=f"{verdict}.",
        corrected_p=0.02 if decides(verdict) else 1.0,
        population="on this task" if decides(verdict) else "",
    )


def said(task: TaskResults, **words: str) -> Verdict:
    """Of these axes; nothing is decided on the others, and there is nothing to explain."""
    axes = [rule.axis for rule in rules() if rule.axis != "cause"]
    statements = tuple(statement(axis, words.get(axis, NOT_DECIDED)) for axis in axes)
    return Verdict(task=task.task, statements=statements)


@pytest.fixture(scope="module")
def unshifted(planted: Planted) -> TaskResults:
    """Without a number that a control could explain."""
    task = planted("identical")
    missing = {
        name: replace(one, estimate=None, draws=None, scatter=None, reason="left out")
        for name, one in task.mdm.measured.items()
    }
    return replace(task, mdm=replace(task.mdm, measured=missing))


def test_every_verdict_has_plain_words() -> None:
    assert {rule.axis: set(rule.plain) for rule in rules()} == WORDS


@pytest.mark.parametrize(
    ("axis", "word"), [(axis, word) for axis, words in WORDS.items() for word in sorted(words)]
)
def test_a_decided_verdict_is_said_as_staying_or_moving(
    unshifted: TaskResults, axis: str, word: str
) -> None:
    (rule,) = (rule for rule in rules() if rule.axis == axis)
    plain = rule.plain[word]
    found = summary(unshifted, said(unshifted, **{axis: word}))
    rest = "stayed" if plain.moved else "moved"
    assert found.said == f"The MDM {plain.words}. Nothing is shown to have {rest}."
    assert found.certainty == "How sure: corrected p 0.020."
    assert found.speaks_of == f"{axis.capitalize()} on this task."
    assert axis not in found.open and found.open.startswith("Not decided: ")


def test_what_stayed_comes_before_what_moved(unshifted: TaskResults) -> None:
    words = {"structure": "rewired", "core": "retained", "depth": "back-loaded"}
    found = summary(unshifted, said(unshifted, **words))
    assert found.said == (
        "The MDM kept the stable core of the ARM's circuit, but rewired the circuit and does less"
        " of its work in early layers."
    )
    assert found.certainty == "How sure: corrected p 0.020 at most."
    assert found.cause == "No shift in depth or specialisation to explain."


def test_nothing_decided_is_said_plainly_with_the_reasons(unshifted: TaskResults) -> None:
    found = summary(unshifted, said(unshifted, core="too few clusters (7)"))
    assert found.said.startswith("Nothing is decided")
    assert found.certainty == found.speaks_of == ""
    assert found.open == (
        "Not decided: structure, depth, specialisation, direction, inheritance, intervention."
        " Too few clusters (7): core."
    )


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("diffusion's", "The shift in depth is diffusion's doing."),
        ("this checkpoint's", "The shift in depth is this checkpoint's doing."),
        (
            "also without diffusion (3 trainings)",
            "The shift in depth is there also without diffusion (3 trainings).",
        ),
        (NOT_DECIDED, "Whose doing the shift in depth is, is not decided."),
    ],
)
def test_a_shift_is_ascribed_as_its_cause_says(
    planted: Planted, control_of: Callable[..., object], cause: str, words: str
) -> None:
    task = planted("moved", control_of("arm-full", "identical"))
    explained = [s.axis for s in verdicts([task])[0].statements if s.axis == "cause"]
    assert explained == ["cause"]  # the planted shift is one in depth
    verdict = said(task, depth="back-loaded")
    verdict = replace(verdict, statements=(*verdict.statements, statement("cause", cause)))
    assert summary(task, verdict).cause == words


def test_words_are_listed_as_in_a_sentence() -> None:
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]
