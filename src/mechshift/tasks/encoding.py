"""How does an example become tokens, for any tokenizer and both kinds of model?

The prompt is encoded as a user would encode it, alone. Target and suffix are what the encoding of
the longer text adds, so no token can straddle a boundary: where one does, the example is refused.
"""

from collections.abc import Mapping
from typing import Literal

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import EncodedExample
from mechshift.errors import TaskError
from mechshift.tasks.example import Example, Task


def continuation_ids(tokenizer: PreTrainedTokenizerBase, prefix: str, text: str) -> tuple[int, ...]:
    """The token ids that `text` adds after `prefix`.

    Raises:
        TaskError: the first token of `text` merges with the last of `prefix`.
    """
    before: list[int] = tokenizer(prefix)["input_ids"]
    whole: list[int] = tokenizer(prefix + text)["input_ids"]
    if whole[: len(before)] != before:
        raise TaskError(
            f"{text[:40]!r} merges with the text before it, {prefix[-40:]!r}, in this tokenizer;"
            " move a space or a word across the boundary."
        )
    return tuple(whole[len(before) :])


def count_tokens(tokenizer: PreTrainedTokenizerBase, prefix: str, text: str) -> int:
    """How many tokens `text` adds after `prefix`; 0 where the two merge."""
    try:
        return len(continuation_ids(tokenizer, prefix, text))
    except TaskError:
        return 0


def encode_example(
    task: Task,
    example: Example,
    tokenizer: PreTrainedTokenizerBase,
    kind: Literal["arm", "mdm"],
) -> EncodedExample:
    """The token ids of an example as a model of this kind reads it.

    An ARM reads `causal_prompt` where there is a suffix, and no suffix; an MDM reads the suffix in
    its place.

    Raises:
        TaskError: lengths differ between clean and corrupted, the target is empty, or a word is
            unknown to the tokenizer; the message names the example.
    """
    try:
        return _encode(task, example, tokenizer, kind)
    except TaskError as error:
        raise TaskError(f"example '{example.id}': {error}") from None


def _encode(
    task: Task, example: Example, tokenizer: PreTrainedTokenizerBase, kind: Literal["arm", "mdm"]
) -> EncodedExample:
    prompt, corrupted = _prompts(example, kind)
    suffix, corrupted_suffix = (
        ("", "") if kind == "arm" else (example.suffix, example.corrupted_suffix)
    )
    target = continuation_ids(tokenizer, prompt, example.target)
    distractor = continuation_ids(tokenizer, prompt, example.distractor)
    prefix = tuple(tokenizer(prompt)["input_ids"])
    corrupted_prefix = tuple(tokenizer(corrupted)["input_ids"])
    suffix_ids = continuation_ids(tokenizer, prompt + example.target, suffix)
    corrupted_suffix_ids = continuation_ids(tokenizer, corrupted + example.target, corrupted_suffix)
    _check_lengths("target", target, "distractor", distractor)
    _check_lengths("prompt", prefix, "corrupted prompt", corrupted_prefix)
    _check_lengths("suffix", suffix_ids, "corrupted suffix", corrupted_suffix_ids)
    if not target:
        raise TaskError("the target is empty; give the text that the model should produce.")
    if target == distractor:
        raise TaskError(f"target and distractor are both {example.target!r}; they must differ.")
    _check_known(tokenizer, prefix + target + suffix_ids + corrupted_prefix + distractor)
    return EncodedExample(
        id=example.id,
        task=example.task,
        prefix_ids=prefix,
        target_ids=target,
        suffix_ids=suffix_ids,
        corrupted_prefix_ids=corrupted_prefix,
        corrupted_suffix_ids=corrupted_suffix_ids,
        distractor_ids=distractor,
        contrasts=task.contrasts(example, tokenizer),
        spans=_token_spans(tokenizer, example, kind),
    )


def _prompts(example: Example, kind: Literal["arm", "mdm"]) -> tuple[str, str]:
    if kind == "mdm" or not (example.suffix or example.causal_prompt):
        return example.prompt, example.corrupted_prompt
    if example.causal_prompt is None or example.corrupted_causal_prompt is None:
        raise TaskError(
            "an example with a suffix needs 'causal_prompt' and 'corrupted_causal_prompt', since"
            " an autoregressive model cannot see what comes after the target."
        )
    return example.causal_prompt, example.corrupted_causal_prompt


def _check_lengths(
    name: str, ids: tuple[int, ...], other_name: str, other_ids: tuple[int, ...]
) -> None:
    if len(ids) != len(other_ids):
        raise TaskError(
            f"{name} has {len(ids)} tokens and {other_name} {len(other_ids)}; both need as many,"
            " so that positions correspond."
        )


def _check_known(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...]) -> None:
    unknown = tokenizer.unk_token_id
    if unknown is not None and unknown in ids:
        raise TaskError("it holds a word that this tokenizer does not know; use other words.")
    mask = tokenizer.mask_token_id
    if mask is not None and mask in ids:
        raise TaskError(
            f"it holds the mask token {tokenizer.mask_token!r}, which only denoising may place."
        )


def _token_spans(
    tokenizer: PreTrainedTokenizerBase, example: Example, kind: Literal["arm", "mdm"]
) -> Mapping[str, tuple[int, int]]:
    """Token spans of the text that the model reads, wherever an ARM's prompt tells it."""
    text = example.prompt + example.target + example.suffix
    read, _ = _prompts(example, kind)
    if kind == "mdm" or read == example.prompt:
        read = text
    offsets = tokenizer(read, return_offsets_mapping=True)["offset_mapping"]
    spans = {}
    for name, (start, end) in example.spans.items():
        if not 0 <= start < end <= len(text):
            raise TaskError(
                f"span '{name}' is [{start}, {end}), outside the {len(text)} characters of prompt,"
                " target and suffix."
            )
        # An ARM's prompt tells the same words in another order; the last mention is the one meant.
        at = start if read == text else read.rfind(text[start:end])
        if at >= 0:
            inside = [
                i for i, (a, b) in enumerate(offsets) if a < at + end - start and b > at and b > a
            ]
            spans[name] = (inside[0], inside[-1] + 1)
    return spans
