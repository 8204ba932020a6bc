"""The common-correct pool: examples that both models of a pair get right.

1. Draw candidates from a split of the task, the same ones for both models.
2. Let both models decode them greedily; the MDM in the order and number of steps that attribution
   will use.
3. Keep the first N that both get right, and say what became of the others.
4. For discovery, keep a random sample of the others too.

Comparing circuits on examples that only one model solves would mix failure with mechanism; keeping
only common successes selects examples, and where each model solves what suits it, selection alone
makes equal models differ. With the sample of the others, and how many there were, every number can
be had on all candidates too. The accuracies on all candidates are kept beside the pool.

Where the MDM is not trained yet, the pool holds what the ARM alone gets right: then the first
checkpoint stands for the MDM, decodes all the same, and decides nothing but the order.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from mechshift.denoising import EncodedExample, Schedule
from mechshift.errors import PoolError
from mechshift.models import LanguageModel, ModelPair
from mechshift.statistics import cluster_numbers
from mechshift.summaries import Summarised
from mechshift.tasks.answers import answer
from mechshift.tasks.encoding import encode_example
from mechshift.tasks.example import Example, Split, Task
from mechshift.tasks.pool_config import MIN_EXAMPLES, PoolConfig

SolvedBy = Literal["both", "arm"]
"""Models that must get an example right for it to be pooled."""

PARTS = {"prefix_ids": "prompt", "target_ids": "target", "suffix_ids": "suffix"}
"""Ids of an encoded example -> what a user calls them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OtherExamples:
    """A uniform random sample of the candidates that not both models solve."""

    examples: tuple[Example, ...]
    """In the order in which they were tried; none where both models solve every candidate."""
    places: Int[np.ndarray, " example"]
    """Of each among the candidates."""
    schedule: Schedule
    """The order in which the MDM wrote its own answer, right or wrong, as of the pool's."""

    def __post_init__(self) -> None:
        lengths = len(self.examples), len(self.places), len(self.schedule.commit_step)
        assert len(set(lengths)) == 1, f"examples, places and schedule are {lengths}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CommonPool(Summarised):
    """Examples of one split that both models get right, and the schedule they are scored by."""

    task: str
    split: Split
    examples: tuple[Example, ...]
    schedule: Schedule
    candidate_ids: tuple[str, ...]
    """Every example that was tried, in order."""
    candidate_clusters: tuple[str, ...]
    """The cluster of each; empty where it is one of its own."""
    arm_completions: tuple[str, ...]
    mdm_completions: tuple[str, ...]
    arm_correct: Bool[np.ndarray, " candidate"]
    mdm_correct: Bool[np.ndarray, " candidate"]
    others: OtherExamples | None = None
    """Candidates that not both models solve; None of held-out pools, and where none were asked
    for."""

    def __post_init__(self) -> None:
        lengths = len(self.examples), len(self.schedule.commit_step)
        assert len(set(lengths)) == 1, f"examples and schedule are {lengths}"
        candidates = (
            *(len(self.candidate_ids), len(self.candidate_clusters)),
            *(len(self.arm_completions), len(self.mdm_completions)),
            *(len(self.arm_correct), len(self.mdm_correct)),
        )
        assert len(set(candidates)) == 1, f"what is known of each candidate is {candidates}"
        if self.others is not None:
            places = self.others.places
            assert ((0 <= places) & (places < candidates[0])).all(), "others are no candidates"

    def facts(self) -> dict[str, object]:
        """How many examples, of how many that were tried."""
        return {
            "task": self.task,
            "split": self.split,
            "examples": len(self.examples),
            "clusters": len(set(self.clusters.tolist())),
            "candidates tried": len(self.candidate_ids),
            "ARM accuracy": f"{self.arm_accuracy:.2f}",
            "MDM accuracy": f"{self.mdm_accuracy:.2f}",
            "denoising steps": self.schedule.num_steps,
        }

    @property
    def both_correct(self) -> Bool[np.ndarray, " candidate"]:
        """Which candidates both models solve, whether they are in the pool or not."""
        return self.arm_correct & self.mdm_correct

    @property
    def clusters(self) -> Int[np.ndarray, " example"]:
        """Number of each example's cluster."""
        return cluster_numbers([example.cluster for example in self.examples])

    @property
    def arm_accuracy(self) -> float:
        """Share of candidates, in [0, 1]."""
        return float(self.arm_correct.mean())

    @property
    def mdm_accuracy(self) -> float:
        """Share of candidates, in [0, 1]."""
        return float(self.mdm_correct.mean())

    @property
    def dropped(self) -> dict[str, int]:
        """Why the other candidates are not in the pool, and how many each reason holds."""
        arm, mdm = self.arm_correct, self.mdm_correct
        return {
            "right but not needed": int((arm & mdm).sum()) - len(self.examples),
            "only the ARM is right": int((arm & ~mdm).sum()),
            "only the MDM is right": int((~arm & mdm).sum()),
            "both are wrong": int((~arm & ~mdm).sum()),
        }


def build_pool(
    pair: ModelPair,
    task: Task,
    split: Split,
    config: PoolConfig,
    *,
    solved_by: SolvedBy = "both",
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> CommonPool:
    """The first examples of a split that both models get right, or the ARM alone.

    Args:
        pair: both models.
        task: whose examples they are.
        split: of the task.
        config: how many, and how the MDM denoises them.
        solved_by: `arm` where the pair's MDM is a checkpoint of a training that goes on.
        batch_size: examples that are decoded at once.
        progress: called with the number of candidates that were just decoded by one model.

    Raises:
        PoolError: too few, and the message gives both accuracies and what to change; or the two
            tokenizers cut an example differently.
        TaskError: the tokenizer cannot express the task.
    """
    wanted = config.num_examples if split == "discovery" else config.num_held_out
    candidates = task.generate(
        # Of the pair's tokenizers the one that may know more, such as the mask token.
        pair.mdm.tokenizer,
        split=split,
        num_examples=wanted * config.max_candidates,
        seed=config.seed,
        templates=config.templates,
    )
    tried: list[_Attempts] = []
    # Rounds of `wanted` candidates: a pair that is always right decodes no more than it needs.
    for start in range(0, len(candidates), wanted):
        part = candidates[start : start + wanted]
        tried.append(_attempt(pair, task, part, config, batch_size, progress))
        if sum(int(attempts.right(solved_by).sum()) for attempts in tried) >= wanted:
            break
    attempts = _joined(tried)
    chosen = np.flatnonzero(attempts.right(solved_by))[:wanted]
    if len(chosen) < wanted:
        raise PoolError(_too_few(task, split, config, attempts, solved_by))
    examples = tuple(attempts.examples[i] for i in chosen)
    return CommonPool(
        task=task.name,
        split=split,
        examples=examples,
        schedule=_schedule(attempts, chosen),
        candidate_ids=tuple(example.id for example in attempts.examples),
        candidate_clusters=tuple(example.cluster for example in attempts.examples),
        arm_completions=attempts.arm_completions,
        mdm_completions=attempts.mdm_completions,
        arm_correct=attempts.arm_correct,
        mdm_correct=attempts.mdm_correct,
        others=_sampled_others(attempts, config, solved_by)
        if split == "discovery" and config.num_others
        else None,
    )


def encode_pool(
    task: Task, examples: tuple[Example, ...], model: LanguageModel
) -> list[EncodedExample]:
    """The examples as this model reads them."""
    return [encode_example(task, example, model.tokenizer, model.kind) for example in examples]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Attempts:
    """Answers of both models on some candidates."""

    examples: tuple[Example, ...]
    arm_completions: tuple[str, ...]
    mdm_completions: tuple[str, ...]
    arm_correct: Bool[np.ndarray, " candidate"]
    mdm_correct: Bool[np.ndarray, " candidate"]
    commit_steps: tuple[Int[np.ndarray, " target"], ...]
    """The MDM's own order, one array per candidate."""

    def right(self, solved_by: SolvedBy) -> Bool[np.ndarray, " candidate"]:
        """Which candidates may be pooled."""
        return self.arm_correct if solved_by == "arm" else self.arm_correct & self.mdm_correct


def _attempt(
    pair: ModelPair,
    task: Task,
    candidates: list[Example],
    config: PoolConfig,
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> _Attempts:
    for example in candidates:
        _check_same_ids(pair, task, example)
    arm, mdm = (
        answer(model, task, candidates, config, batch_size=batch_size, progress=progress)
        for model in pair.models
    )
    return _Attempts(
        examples=tuple(candidates),
        arm_completions=arm.texts,
        mdm_completions=mdm.texts,
        arm_correct=arm.correct,
        mdm_correct=mdm.correct,
        commit_steps=tuple(row[row >= 0] for row in mdm.schedule.commit_step),
    )


def _check_same_ids(pair: ModelPair, task: Task, example: Example) -> None:
    """Refuse an example whose text the two tokenizers cut differently, at whatever place.

    A pair is checked on a short text when it is loaded, which cannot show every difference.
    """
    ours, theirs = (encode_example(task, example, model.tokenizer, "mdm") for model in pair.models)
    for part in ("prefix_ids", "target_ids", "suffix_ids"):
        if getattr(ours, part) != getattr(theirs, part):
            raise PoolError(
                f"the {PARTS[part]} of example '{example.id}' of '{task.name}' is"
                f" {len(getattr(ours, part))} tokens to the tokenizer of '{pair.arm.name}' and"
                f" {len(getattr(theirs, part))} others to that of '{pair.mdm.name}'; give both"
                " models the same tokenizer."
            )


def _joined(parts: list[_Attempts]) -> _Attempts:
    empty = np.zeros(0, dtype=bool)
    return _Attempts(
        examples=tuple(example for part in parts for example in part.examples),
        arm_completions=tuple(text for part in parts for text in part.arm_completions),
        mdm_completions=tuple(text for part in parts for text in part.mdm_completions),
        arm_correct=np.concatenate([empty, *(part.arm_correct for part in parts)]),
        mdm_correct=np.concatenate([empty, *(part.mdm_correct for part in parts)]),
        commit_steps=tuple(steps for part in parts for steps in part.commit_steps),
    )


def _sampled_others(
    attempts: _Attempts, config: PoolConfig, solved_by: SolvedBy = "both"
) -> OtherExamples:
    """As many of the candidates that are not solved as are wanted, each as likely as any other."""
    missed = np.flatnonzero(~attempts.right(solved_by))
    lots = [_lot(attempts.examples[place], config.seed) for place in missed]
    drawn = missed[np.argsort(lots, kind="stable")[: config.num_others]]
    places = np.sort(drawn)
    return OtherExamples(
        examples=tuple(attempts.examples[place] for place in places),
        places=places,
        schedule=_schedule(attempts, places),
    )


def _lot(example: Example, seed: int) -> str:
    """What an example draws: of its text alone, so the order of the candidates changes nothing."""
    text = "\0".join((str(seed), example.prompt, example.target, example.suffix))
    return hashlib.sha256(text.encode()).hexdigest()


def _schedule(attempts: _Attempts, chosen: Int[np.ndarray, " example"]) -> Schedule:
    """The order in which the MDM decoded these examples; attribution follows it."""
    steps = [attempts.commit_steps[i] for i in chosen]
    commit_step = np.full((len(steps), max(map(len, steps), default=0)), -1, dtype=np.int64)
    for row, own in zip(commit_step, steps, strict=True):
        row[: len(own)] = own
    return Schedule(commit_step=commit_step)


def _too_few(
    task: Task, split: Split, config: PoolConfig, attempts: _Attempts, solved_by: SolvedBy
) -> str:
    num_tried, num_right = len(attempts.examples), int(attempts.right(solved_by).sum())
    if not num_tried:
        return f"task '{task.name}' has no {split} examples; add some, or use another task."
    setting = "num_examples" if split == "discovery" else "num_held_out"
    wanted: int = getattr(config, setting)
    advice = []
    if num_right >= MIN_EXAMPLES:
        advice.append(f"lower {setting} to at most {num_right}")
    if num_tried == wanted * config.max_candidates:
        advice.append("raise max_candidates")
    advice.append("use an easier task")
    by = "both models" if solved_by == "both" else "the ARM"
    return (
        f"only {num_right} of {num_tried} {split} candidates of '{task.name}' are solved by {by}"
        f" (ARM {attempts.arm_correct.mean():.2f}, MDM {attempts.mdm_correct.mean():.2f}),"
        f" and {setting} asks for {wanted}: {', or '.join(advice)}."
    )
