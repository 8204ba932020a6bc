"""Neurons of the early layers: the most attributed hidden units, when they fire, what they say.

For readers who ask what the early MLPs of both models look for. Tokens come from a tokenizer and
sentences from a language model, and both are shown as they are: the page escapes them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from mechshift.page.elements import Definition, Part
from mechshift.page.formats import UNDEFINED, Cell, entry_cell, number, percentage
from mechshift.page.theme import MODEL_NAMES
from mechshift.semantics import NO_TOKEN, Explanations, Neurons
from mechshift.topics.topic import KINDS, StoredTask, TaskResults, Topic

SHOWN_NEURONS, SHOWN_CONTEXTS, SHOWN_RADIUS = 8, 3, 7
"""On the page; the table beside it holds all."""

LINE_BREAK, UNPRINTABLE = "\N{RETURN SYMBOL}", "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedNeurons:
    """Neurons of one model, and sentences on some of them."""

    neurons: Neurons
    explanations: Explanations | None
    """Written by a model and so not to be trusted; None if none were asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronsOfPair:
    """Both models' neurons on one task, and the tokens that these name."""

    arm: ExplainedNeurons
    mdm: ExplainedNeurons
    token_ids: Int[np.ndarray, " token"]
    token_texts: tuple[str, ...]
    """Of each id; from the tokenizer, so not to be trusted."""

    @property
    def tokens(self) -> Mapping[int, str]:
        """Text of a token by its id."""
        return dict(zip(self.token_ids.tolist(), self.token_texts, strict=True))


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
    """Sentence of a text model on a neuron."""

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


def _conclude(stored: StoredTask) -> NeuronsOfPair | None:
    arm, mdm = stored.semantics("arm"), stored.semantics("mdm")
    if arm is None or mdm is None:
        return None
    neurons = (arm.neurons, mdm.neurons)
    if not any(one.num_scored for one in neurons):
        return None  # mixtures of experts
    texts = {**stored.token_texts("arm"), **stored.token_texts("mdm")}
    named = _named_tokens(neurons)
    explained = [
        ExplainedNeurons(neurons=one, explanations=stored.explanations(kind))
        for kind, one in zip(KINDS, neurons, strict=True)
    ]
    return NeuronsOfPair(
        arm=explained[0],
        mdm=explained[1],
        token_ids=named,
        token_texts=tuple(texts[token] for token in named.tolist()),
    )


def _named_tokens(neurons: Iterable[Neurons]) -> Int[np.ndarray, " token"]:
    """Ids of all tokens in contexts and among the promoted and suppressed, ascending."""
    named = [
        ids.ravel()
        for one in neurons
        for ids in (one.contexts.token_ids, one.promoted_ids, one.suppressed_ids)
    ]
    ids = np.unique(np.concatenate(named))
    return ids[ids != NO_TOKEN]


def neurons_views(
    found: NeuronsOfPair, *, num_neurons: int | None = SHOWN_NEURONS
) -> tuple[NeuronsView, ...]:
    """The first few neurons of each model (None: all), with a few short contexts."""
    tokens = found.tokens
    return tuple(
        NeuronsView(
            model=MODEL_NAMES[model],
            rows=tuple(
                _view(explained, unit, tokens, SHOWN_CONTEXTS, SHOWN_RADIUS)
                for unit in range(len(explained.neurons.layer))[:num_neurons]
            ),
            num_scored=explained.neurons.num_scored,
            explainer=explained.explanations.explainer if explained.explanations else "",
        )
        for model, explained in _by_model(found).items()
    )


def neurons_table(found: NeuronsOfPair) -> pl.DataFrame:
    """One row per model and neuron; several texts in a cell stand apart by ` | `.

    Columns of sentences are there if some neuron has one.
    """
    rows = []
    models, tokens = _by_model(found), found.tokens
    any_explained = any(explained.explanations for explained in models.values())
    for model, explained in models.items():
        neurons = explained.neurons
        num_contexts, window = neurons.contexts.token_ids.shape[1:]
        for unit, name in enumerate(neurons.names):
            view = _view(explained, unit, tokens, num_contexts, window // 2)
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
                | (_sentence_columns(explained, view.sentence) if any_explained else {})
            )
    return pl.DataFrame(rows).fill_nan(None)


def _by_model(found: NeuronsOfPair) -> dict[str, ExplainedNeurons]:
    return {"arm": found.arm, "mdm": found.mdm}


def _sentence_columns(
    explained: ExplainedNeurons, sentence: SentenceView | None
) -> dict[str, str | float | None]:
    explanations = explained.explanations
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
    explained: ExplainedNeurons,
    unit: int,
    tokens: Mapping[int, str],
    num_contexts: int,
    radius: int,
) -> NeuronView:
    neurons = explained.neurons
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
        sentence=_sentence(explained.explanations, neurons.names[unit]),
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
    return tuple(visible_text(tokens[token]) for token in ids.tolist() if token != NO_TOKEN)


def visible_text(text: str) -> str:
    """One line without characters that would change how the page reads."""
    one_line = text.replace("\n", LINE_BREAK)
    return "".join(c if c.isprintable() else UNPRINTABLE for c in one_line)


def _tables(task: TaskResults) -> dict[str, pl.DataFrame]:
    found = NEURONS.of(task)
    return {} if found is None else {NEURONS.name: neurons_table(found)}


def _parts(task: TaskResults) -> tuple[Part, ...]:
    found = NEURONS.of(task)
    if found is None:
        return ()
    content = {"models": neurons_views(found), "table": NEURONS.name}
    return (Part(template="neurons.html.j2", content=content),)


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    semantics = settings.get("semantics")
    if semantics is None:
        return ()
    return (
        Definition(
            term="Neurons",
            meaning="Hidden units of the first third of the MLPs with the largest |mean score|:"
            " corrupted minus clean activation times the gradient of the negative metric, mean over"
            f" {semantics['ig_steps']} points. Promoted tokens: whose logits its output raises"
            " most. Selectivity: lifetime sparseness over all tokens; 1 fires on a single one.",
        ),
    )


NEURONS: Topic[NeuronsOfPair] = Topic(
    name="neurons",
    title="Neurons",
    record_type=NeuronsOfPair,
    conclude=_conclude,
    reads=("semantics", "explanations"),
    tables=_tables,
    parts=_parts,
    method=_method,
)
