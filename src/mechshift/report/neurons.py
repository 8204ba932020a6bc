"""The most attributed neurons of both models as a reader sees them: when they fire, what they say.

Tokens come from a tokenizer and sentences from a language model, and both are shown as they are, so
whoever writes them must escape them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Int

from mechshift.page.theme import MODEL_NAMES
from mechshift.page.formats import Cell, entry_cell, number, percentage
from mechshift.report.records import ModelSemantics, TaskSemantics
from mechshift.semantics import NO_TOKEN, Explanations
from mechshift.verdict import UNDEFINED

SHOWN_NEURONS, SHOWN_CONTEXTS, SHOWN_RADIUS = 8, 3, 7
"""On the page; the table beside it holds all."""

LINE_BREAK, UNPRINTABLE = "\N{RETURN SYMBOL}", "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, kw_only=True)
class ContextView:
    """A piece of text around the token that a neuron fires on."""

    before: str
    token: str
    after: str

    @property
    def text(self) -> str:
        return f"{self.before}⟨{self.token}⟩{self.after}"


@dataclass(frozen=True, kw_only=True)
class SentenceView:
    """What a text model says of a neuron."""

    text: str
    score: float
    """Correlation on held-out contexts, in [-1, 1]; NaN where there is none."""
    note: str
    """Why the score is missing or rests on less; empty for nothing to say."""

    @property
    def cell(self) -> Cell:
        scored = number(self.score) if np.isfinite(self.score) else UNDEFINED
        return Cell(text=scored, note=self.note)


@dataclass(frozen=True, kw_only=True)
class NeuronView:
    """A line of the table of neurons."""

    name: str
    score: Cell
    share: str
    selectivity: str
    contexts: tuple[ContextView, ...]
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]
    sentence: SentenceView | None
    """None if this neuron was not explained."""


@dataclass(frozen=True, kw_only=True)
class NeuronsView:
    """The neurons of one model."""

    model: str
    """`ARM` or `MDM`."""
    rows: tuple[NeuronView, ...]
    num_scored: int
    explainer: str
    """Name of the text model that wrote the sentences; empty if there are none."""


def neurons_views(semantics: TaskSemantics) -> tuple[NeuronsView, ...]:
    """The first few neurons of each model, with a few short contexts."""
    return tuple(
        NeuronsView(
            model=MODEL_NAMES[model],
            rows=tuple(
                _view(of_model, unit, semantics.tokens, SHOWN_CONTEXTS, SHOWN_RADIUS)
                for unit in range(min(SHOWN_NEURONS, len(of_model.neurons.layer)))
            ),
            num_scored=of_model.neurons.num_scored,
            explainer=of_model.explanations.explainer if of_model.explanations else "",
        )
        for model, of_model in _by_model(semantics).items()
    )


def neurons_table(semantics: TaskSemantics) -> pl.DataFrame:
    """One row per model and neuron; several texts in a cell stand apart by ` | `.

    Columns of sentences are there if some neuron has one.
    """
    rows = []
    models = _by_model(semantics)
    explained = any(of_model.explanations for of_model in models.values())
    for model, of_model in models.items():
        neurons = of_model.neurons
        num_contexts, window = neurons.contexts.token_ids.shape[1:]
        for unit, name in enumerate(neurons.names):
            view = _view(of_model, unit, semantics.tokens, num_contexts, window // 2)
            rows.append(
                {
                    "model": model,
                    "neuron": name,
                    "score": neurons.score.value[unit],
                    "low": neurons.score.low[unit],
                    "high": neurons.score.high[unit],
                    "share": neurons.share[unit],
                    "selectivity": neurons.selectivity.value[unit],
                    "fires_on": " | ".join(context.text for context in view.contexts),
                    "promotes": " | ".join(view.promoted),
                    "suppresses": " | ".join(view.suppressed),
                }
                | (_sentence_columns(of_model, view.sentence) if explained else {})
            )
    return pl.DataFrame(rows).fill_nan(None)


def _by_model(semantics: TaskSemantics) -> dict[str, ModelSemantics]:
    return {"arm": semantics.arm, "mdm": semantics.mdm}


def _sentence_columns(
    of_model: ModelSemantics, sentence: SentenceView | None
) -> dict[str, str | float | None]:
    explanations = of_model.explanations
    if explanations is None or sentence is None:
        return dict.fromkeys(("explanation", "explanation_score", "explained_by"))
    return {
        "explanation": sentence.text,
        "explanation_score": sentence.score,
        "explained_by": explanations.explainer,
    }


def _sentence(explanations: Explanations | None, name: str) -> SentenceView | None:
    if explanations is None or name not in explanations.neurons:
        return None
    unit = explanations.neurons.index(name)
    return SentenceView(
        text=explanations.text[unit],
        score=float(explanations.score[unit]),
        note=explanations.notes[unit],
    )


def _view(
    of_model: ModelSemantics, unit: int, tokens: Mapping[int, str], num_contexts: int, radius: int
) -> NeuronView:
    neurons = of_model.neurons
    selectivity = float(neurons.selectivity.value[unit])
    contexts = neurons.contexts
    fires = contexts.rates[unit].max(axis=1) > 0
    return NeuronView(
        name=neurons.names[unit],
        score=entry_cell(neurons.score, unit),
        share=percentage(float(neurons.share[unit])),
        selectivity=number(selectivity) if np.isfinite(selectivity) else UNDEFINED,
        contexts=tuple(
            _context(ids, tokens, radius) for ids in contexts.token_ids[unit][fires][:num_contexts]
        ),
        promoted=_texts(neurons.promoted_ids[unit], tokens),
        suppressed=_texts(neurons.suppressed_ids[unit], tokens),
        sentence=_sentence(of_model.explanations, neurons.names[unit]),
    )


def _context(
    ids: Int[np.ndarray, " window"], tokens: Mapping[int, str], radius: int
) -> ContextView:
    middle = len(ids) // 2
    return ContextView(
        before="".join(_texts(ids[max(0, middle - radius) : middle], tokens)).lstrip(),
        token="".join(_texts(ids[middle : middle + 1], tokens)),
        after="".join(_texts(ids[middle + 1 : middle + 1 + radius], tokens)),
    )


def _texts(ids: Int[np.ndarray, " token"], tokens: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(_visible(tokens[token]) for token in ids.tolist() if token != NO_TOKEN)


def _visible(text: str) -> str:
    """One line without characters that would change how the page reads."""
    one_line = text.replace("\n", LINE_BREAK)
    return "".join(c if c.isprintable() else UNPRINTABLE for c in one_line)
