"""Encoding of examples as tokens, for any tokenizer and both kinds of model.

The prompt is encoded as a user would encode it, alone. Target and suffix are what the encoding of
the longer text adds, so no token can straddle a boundary: where one does, the example is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from transformers import PreTrainedTokenizerBase

from mechshift.denoising import EncodedExample
from mechshift.errors import TaskError
from mechshift.models import Kind
from mechshift.models.tokenizers import num_tokens_around
from mechshift.tasks.example import Example, Task


def continuation_ids(tokenizer: PreTrainedTokenizerBase, prefix: str, text: str) -> tuple[int, ...]:
    """The token ids that `text` adds after `prefix`.

    Raises:
        TaskError: the first token of `text` merges with the last of `prefix`.
    """
    return _continuation(_TextIds(tokenizer), prefix, text)


class _TextIds(dict[str, tuple[int, ...]]):
    """Text -> token ids, each encoded when it is first asked for, and once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self._offsets: dict[str, list[tuple[int, int]]] = {}

    def __missing__(self, text: str) -> tuple[int, ...]:
        self[text] = text_ids(self.tokenizer, text)
        return self[text]

    def add(self, texts: Iterable[str]) -> None:
        """Encode many at a time, which takes half as long."""
        distinct = list(dict.fromkeys(texts))
        after = num_tokens_around(self.tokenizer)[1]
        encoded = self.tokenizer(
            distinct,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=self.tokenizer.is_fast,
        )
        for text, ids in zip(distinct, encoded["input_ids"], strict=True):
            self[text] = tuple(ids[: len(ids) - after])
        if self.tokenizer.is_fast:
            self._offsets.update(zip(distinct, encoded["offset_mapping"], strict=True))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where in a text each of its tokens begins and ends; (0, 0) for one that is put around."""
        if text not in self._offsets:
            encoded = self.tokenizer(text, return_offsets_mapping=True)
            self._offsets[text] = encoded["offset_mapping"]
        return self._offsets[text]


def _continuation(ids: _TextIds, prefix: str, text: str) -> tuple[int, ...]:
    before, whole = ids[prefix], ids[prefix + text]
    if whole[: len(before)] != before:
        raise TaskError(
            f"{text[:40]!r} merges with the text before it, {prefix[-40:]!r}, in this tokenizer;"
            " move a space or a word across the boundary."
        )
    return whole[len(before) :]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The token ids of a text that goes on: BOS is put before it, and no EOS after it."""
    ids: list[int] = tokenizer(text)["input_ids"]
    return tuple(ids[: len(ids) - num_tokens_around(tokenizer)[1]])


def is_one_token(tokenizer: PreTrainedTokenizerBase, prefix: str, text: str) -> bool:
    """Whether `text` adds exactly one token after `prefix`, and one that is not "unknown"."""
    try:
        ids = continuation_ids(tokenizer, prefix, text)
    except TaskError:
        return False
    return len(ids) == 1 and ids[0] != tokenizer.unk_token_id


def has_words(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Whether the tokenizer can write a text, as most can write any."""
    first = num_tokens_around(tokenizer)[0]
    return tokenizer.unk_token_id not in text_ids(tokenizer, text)[first:]


def usable_templates(
    samples: Mapping[str, str], chosen: Sequence[str], tokenizer: PreTrainedTokenizerBase, task: str
) -> list[str]:
    """The names of those of a task's templates that are to be used.

    Args:
        samples: a text in each of them, by name; one that holds a word which the tokenizer cannot
            write leaves its template out.
        chosen: names, some of which may be other tasks'; without one of the task's, all are used.
        tokenizer: of the models.
        task: its name.

    Raises:
        TaskError: the tokenizer can write none of them, or not one that was chosen.
    """
    usable = [name for name, text in samples.items() if has_words(tokenizer, text)]
    if not usable:
        raise TaskError(
            f"task '{task}' does not fit this tokenizer: it does not know some word or mark of"
            f" each of the templates {', '.join(samples)}; use another task."
        )
    wanted = [name for name in samples if name in chosen]
    unwritten = [name for name in wanted if name not in usable]
    if unwritten:  # left out without a word, a result would seem to speak of it
        raise TaskError(
            f"this tokenizer does not know some word or mark of the template '{unwritten[0]}' of"
            f" task '{task}'; it can write {', '.join(usable)}."
        )
    return wanted or usable


def encode_example(
    task: Task,
    example: Example,
    tokenizer: PreTrainedTokenizerBase,
    kind: Kind,
) -> EncodedExample:
    """The token ids of an example as a model of this kind reads it.

    An ARM reads `causal_prompt` where there is a suffix, and no suffix; an MDM reads the suffix in
    its place.

    Raises:
        TaskError: lengths differ between clean and corrupted, the target is empty, or a word is
            unknown to the tokenizer; the message names the example.
    """
    try:
        return _encode(task, example, _TextIds(tokenizer), kind)
    except TaskError as error:
        raise TaskError(f"example '{example.id}': {error}") from None


def check_encodes(task: Task, example: Example, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse an example that a model of either kind could not read.

    Raises:
        TaskError: as `encode_example`, without the example's name.
    """
    ids = _TextIds(tokenizer)
    ids.add(_texts(example))
    _check_encodes(task, example, ids)


def check_all_encode(
    task: Task,
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    name: Callable[[int], str],
    progress: Callable[[int], None],
) -> None:
    """The same of thousands of examples.

    Args:
        task: whose they are.
        examples: in the order in which they are looked at.
        tokenizer: of the models.
        name: place among the examples -> how a message begins that is about this one.
        progress: called with how many more have been looked at.

    Raises:
        TaskError: as `check_encodes`, of the first example that does not fit.
    """
    coming, start = iter(examples), 0
    while part := list(islice(coming, _CHECKED_AT_ONCE)):
        ids = _TextIds(tokenizer)
        ids.add(text for example in part for text in _texts(example))
        for place, example in enumerate(part, start=start):
            try:
                _check_encodes(task, example, ids)
            except TaskError as error:
                raise TaskError(f"{name(place)}: {error}") from None
        progress(len(part))
        start += len(part)


_CHECKED_AT_ONCE = 500


def _texts(example: Example) -> Iterator[str]:
    """What is encoded to check an example."""
    for prompt, corrupted in (
        (example.prompt, example.corrupted_prompt),
        (example.causal_prompt, example.corrupted_causal_prompt),
    ):
        if prompt is not None and corrupted is not None:
            yield from (prompt, corrupted, prompt + example.target, prompt + example.distractor)
    if example.suffix or example.corrupted_suffix:
        corrupted = example.corrupted_prompt + example.target
        yield example.prompt + example.target + example.suffix
        yield from (corrupted, corrupted + example.corrupted_suffix)


def _check_encodes(task: Task, example: Example, ids: _TextIds) -> None:
    _encode(task, example, ids, "mdm")
    if example.suffix or example.causal_prompt is not None:
        _encode(task, example, ids, "arm")


def _encode(task: Task, example: Example, ids: _TextIds, kind: Kind) -> EncodedExample:
    tokenizer = ids.tokenizer
    prompt, corrupted = _prompts(example, kind)
    prefix, corrupted_prefix = ids[prompt], ids[corrupted]
    target = _continuation(ids, prompt, example.target)
    distractor = _continuation(ids, prompt, example.distractor)
    suffix, corrupted_suffix = _suffixes(ids, example, kind)
    if not target:
        raise TaskError("the target is empty; give the text that the model should produce.")
    # BOS may be the unknown or the mask token under another name, as it is in GPT-2.
    first = num_tokens_around(tokenizer)[0]
    texts = (prefix[first:], target, suffix, corrupted_prefix[first:], distractor, corrupted_suffix)
    _check_known(tokenizer, {token for text in texts for token in text})
    _check_lengths("target", target, "distractor", distractor)
    _check_lengths("prompt", prefix, "corrupted prompt", corrupted_prefix)
    _check_lengths("suffix", suffix, "corrupted suffix", corrupted_suffix)
    if target == distractor:
        raise TaskError(f"target and distractor are both {example.target!r}; they must differ.")
    if prefix + suffix == corrupted_prefix + corrupted_suffix:
        raise TaskError("clean and corrupted text are the same; change what the answer depends on.")
    return EncodedExample(
        id=example.id,
        task=example.task,
        prefix_ids=prefix,
        target_ids=target,
        suffix_ids=suffix,
        corrupted_prefix_ids=corrupted_prefix,
        corrupted_suffix_ids=corrupted_suffix,
        distractor_ids=distractor,
        contrasts=task.contrasts(example, tokenizer),
        cluster=example.cluster,
        spans=_token_spans(ids, example, kind),
    )


def _suffixes(
    ids: _TextIds, example: Example, kind: Kind
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids of the clean and the corrupted suffix after the target; none for an ARM."""
    if kind == "arm" or not (example.suffix or example.corrupted_suffix):
        return (), ()
    clean, corrupted = example.prompt + example.target, example.corrupted_prompt + example.target
    return (
        _continuation(ids, clean, example.suffix),
        _continuation(ids, corrupted, example.corrupted_suffix),
    )


def _prompts(example: Example, kind: Kind) -> tuple[str, str]:
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


def _check_known(tokenizer: PreTrainedTokenizerBase, ids: set[int]) -> None:
    unknown = tokenizer.unk_token_id
    if unknown is not None and unknown in ids:
        raise TaskError("it holds a word that this tokenizer does not know; use other words.")
    mask = tokenizer.mask_token_id
    if mask is not None and mask in ids:
        raise TaskError(
            f"it holds the mask token {tokenizer.mask_token!r} ({mask}), which only denoising may"
            " place; use other words."
        )


def _token_spans(ids: _TextIds, example: Example, kind: Kind) -> Mapping[str, tuple[int, int]]:
    """Token spans of the text that the model reads, without those that an ARM's prompt lacks."""
    if not example.spans:
        return {}
    text = example.prompt + example.target + example.suffix
    read = _prompts(example, kind)[0] + example.target + ("" if kind == "arm" else example.suffix)
    offsets = ids.offsets(read)
    spans = {}
    for name, (start, end) in example.spans.items():
        if not 0 <= start < end <= len(text):
            raise TaskError(
                f"span '{name}' is [{start}, {end}), outside the {len(text)} characters of prompt,"
                " target and suffix."
            )
        at = start if read == text else _find_in_causal_text(example, read, start, end)
        if at is None:
            continue
        to = at + end - start
        inside = [i for i, (a, b) in enumerate(offsets) if a < to and b > at and b > a]
        if not inside:
            raise TaskError(f"span '{name}' is {read[at:to]!r}, which holds no token.")
        spans[name] = (inside[0], inside[-1] + 1)
    return spans


def _find_in_causal_text(example: Example, read: str, start: int, end: int) -> int | None:
    """Where an ARM, whose prompt tells the suffix first, reads characters [start, end).

    The target stands at its end, and the words before the target if they are the same. Of words
    that stand elsewhere, the last mention is the one meant.
    """
    words = (example.prompt + example.target + example.suffix)[start:end]
    up_to_gap = len(example.prompt + example.target)
    moved = start + len(read) - up_to_gap
    if end <= up_to_gap and moved >= 0 and read.startswith(words, moved):
        return moved
    at = read.removesuffix(example.target).rfind(words)
    return at if at >= 0 else None
