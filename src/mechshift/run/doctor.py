"""Examination of a pair before the wait: whether it loads, how it is read, and what it answers.

1. Both models are loaded, which compares the names of all weights, the shapes and the tokens, and
   probes attention.
2. The commit on the hub that each is of.
3. The most probable tokens after a fixed text, with their logits: to hold against what the model's
   makers, or another machine, get.
4. Shift, which loading cannot check: one target token at a time is masked, and looked for in the
   logits at its own position and at the one before.
5. Some examples of each task, which both models answer by themselves.

The result is text in Markdown that can be pasted into an issue.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising import EncodedExample, masked_target, pad_left
from mechshift.errors import MechshiftError, TaskError
from mechshift.models import LanguageModel, ModelPair, PairEntry
from mechshift.run.pair_options import PairOptions
from mechshift.tasks import Example, PoolConfig, Task, answer, encode_example, load_tasks

PROBE = "The war lasted from the year 1732 to the year 17"
"""The text after which both models' most probable tokens are shown."""

NUM_SHOWN = 5
"""Of the most probable tokens."""

CANNOT_TELL = 0.2
"""Share of target tokens that must be found at one of two positions to say that it is the one."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check."""

    about: str
    text: str
    passed: bool | None = True
    """None: nothing to pass, or not to be told."""

    def __str__(self) -> str:
        word = {True: "ok", False: "FAILED", None: "note"}[self.passed]
        return f"- {word}: {self.about}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Examination:
    """All that was found of a pair."""

    pair: str
    findings: tuple[Finding, ...]

    @property
    def num_failed(self) -> int:
        return sum(finding.passed is False for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"### mechshift doctor: {self.pair}", "", *map(str, self.findings)]
        return "\n".join(lines)


def examine_pair(
    options: PairOptions,
    *,
    tasks: Sequence[str] = (),
    num_examples: int = 10,
    device: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> Examination:
    """Load a pair, read a little with it, and say what was found; a failed check stops no other.

    Args:
        options: which two models.
        tasks: names or .jsonl files; by default the pair's own.
        num_examples: examples of each task that are answered.
        device: `cpu`, `cuda`, `cuda:1`, or `auto`.
        progress: called with 1 after each check.

    Raises:
        ConfigError: no such pair.
        TaskError: no such task.
    """
    name = options.entry().name
    chosen = load_tasks(tasks or options.default_tasks())
    findings = []
    for finding in _findings(options, chosen, num_examples, device):
        findings.append(finding)
        if progress is not None:
            progress(1)
    return Examination(pair=name, findings=tuple(findings))


def num_checks(num_tasks: int) -> int:
    """Of a pair that loads."""
    return 5 + num_tasks


def _findings(
    options: PairOptions, tasks: Sequence[Task], num_examples: int, device: str
) -> Iterator[Finding]:
    yield Finding(about="versions", text=_versions(), passed=None)
    try:
        pair = options.load(device)
    except MechshiftError as error:
        yield Finding(about="models", text=str(error), passed=False)
        return
    yield Finding(about="models", text="; ".join(map(_described, pair.models)))
    yield _revisions(options.entry(), pair)
    yield Finding(about=f"logits after '{PROBE}'", text=_logits(pair), passed=None)
    examples, unfit = _examples(pair, tasks, num_examples)
    yield _shift(pair.mdm, [(task, examples[task.name]) for task in tasks if task.name in examples])
    for task in tasks:
        if task.name in unfit:
            yield Finding(about=task.name, text=unfit[task.name], passed=None)
        else:
            yield _answers(pair, task, examples[task.name])


def _versions() -> str:
    packages = ("mechshift", "torch", "transformers", "tokenizers")
    found = [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{', '.join(found)}; {platform.platform()}, {cuda}"


def _described(model: LanguageModel) -> str:
    blocks = f" of {model.block_length}" if model.block_length else ""
    mask = "" if model.mask_token_id is None else f", mask token {model.mask_token_id}"
    return (
        f"{model.kind.upper()} {type(model.module).__name__}, {model.module.num_parameters():,}"
        f" parameters in {str(model.dtype).removeprefix('torch.')}, {model.attention}{blocks}"
        f" attention as probed{mask}, weights {model.weights_hash[:16]}, settings"
        f" {model.settings_hash[:16]}"
    )


def _revisions(entry: PairEntry, pair: ModelPair) -> Finding:
    """Which commit of the hub each model is of, and whether the catalogue names it."""
    said = []
    for source, model in zip((entry.arm, entry.mdm), pair.models, strict=True):
        if model.revision is None:
            said.append(f"{model.kind.upper()} from a folder, of no known commit")
            continue
        pinned = "as pinned" if model.revision == source.revision else "pinned to none"
        said.append(f"{model.kind.upper()} {source.path} at {model.revision}, {pinned}")
    return Finding(about="revisions", text="; ".join(said), passed=None)


@torch.no_grad()
def _logits(pair: ModelPair) -> str:
    """The most probable tokens of both models at the place behind the text."""
    shown = []
    for model in pair.models:
        ids = list(model.tokenizer(PROBE)["input_ids"])
        if model.mask_token_id is not None and model.kind == "mdm":
            ids.append(model.mask_token_id)
        inputs = pad_left([ids], model.device)
        row = len(ids) - 1 - int(model.kind == "mdm" and model.shift)
        logits = model.parts.unembedding(model.hidden(*inputs)[0, row]).double()
        values, tokens = logits.topk(min(NUM_SHOWN, len(logits)))
        words = [
            f"{model.tokenizer.convert_ids_to_tokens(token)!r} {value:.4f}"
            for token, value in zip(tokens.tolist(), values.tolist(), strict=True)
        ]
        shown.append(f"{model.kind.upper()} {', '.join(words)}")
    return "; ".join(shown)


def _examples(
    pair: ModelPair, tasks: Sequence[Task], num_examples: int
) -> tuple[dict[str, list[Example]], dict[str, str]]:
    """Held-out examples of each task by its name, and why the others have none."""
    found: dict[str, list[Example]] = {}
    unfit: dict[str, str] = {}
    for task in tasks:
        try:
            found[task.name] = task.generate(
                pair.mdm.tokenizer, split="held-out", num_examples=num_examples, seed=0
            )
        except TaskError as error:
            unfit[task.name] = str(error)
    return found, unfit


@torch.no_grad()
def _shift(model: LanguageModel, examples: Sequence[tuple[Task, list[Example]]]) -> Finding:
    """Whether one masked token is predicted where the pair says, or at the other position."""
    own = before = total = 0
    for task, several in examples:
        for example in several:
            encoded = encode_example(task, example, model.tokenizer, "mdm")
            for place, target in enumerate(encoded.target_ids):
                at_place, at_place_before = _predicted(model, encoded, place)
                own += at_place == target
                before += at_place_before == target
                total += 1
    if not total:
        return Finding(about="shift", text="no task has an example to look at", passed=None)
    text = (
        f"of {total} target tokens, masked one at a time, {own / total:.2f} are the most probable"
        f" at their own position and {before / total:.2f} at the one before; the pair says"
        f" {'the one before (shift)' if model.shift else 'their own (no shift)'}"
    )
    if max(own, before) < CANNOT_TELL * total:
        return Finding(about="shift", text=f"{text}; neither tells", passed=None)
    return Finding(about="shift", text=text, passed=(before > own) == model.shift)


def _predicted(model: LanguageModel, encoded: EncodedExample, place: int) -> tuple[int, int | None]:
    """The most probable tokens at a masked target's position, and at the one before it."""
    committed = [other != place for other in range(len(encoded.target_ids))]
    middle = masked_target(model, encoded.target_ids, committed)
    ids = [*encoded.prefix_ids, *middle, *encoded.suffix_ids]
    hidden = model.hidden(*pad_left([ids], model.device))[0]
    position = len(encoded.prefix_ids) + place
    at_place = _most_probable(model, hidden[position])
    return at_place, _most_probable(model, hidden[position - 1]) if position else None


def _most_probable(model: LanguageModel, hidden: Float[Tensor, " d_model"]) -> int:
    """Of all tokens but the mask."""
    logits = model.parts.unembedding(hidden).float()
    logits[model.mask_token_id] = -torch.inf
    return int(logits.argmax())


def _answers(pair: ModelPair, task: Task, examples: Sequence[Example]) -> Finding:
    """What both models write; only a model that is always wrong fails."""
    found = {m.kind: answer(m, task, examples, PoolConfig(), batch_size=8) for m in pair.models}
    shares = ", ".join(
        f"{kind.upper()} {int(one.correct.sum())} of {len(examples)} right"
        for kind, one in found.items()
    )
    first = "; ".join(f"{kind.upper()} {one.texts[0]!r}" for kind, one in found.items())
    wanted = f"the first calls for {examples[0].target!r}"
    passed = all(one.correct.any() for one in found.values())
    return Finding(about=task.name, text=f"{shares}; {wanted}: {first}", passed=passed)
