"""Texts of one's own as training rows.

- A `.txt` file is one document, and a line of a `.jsonl` file with `text` is one too. Documents
  are packed: joined, each ended by the tokenizer's end token, and cut into rows of equal length,
  so that no row is padded. A rest that fills no row is left out.
- A line with `prompt` and `response` is a row of its own, of which the response and the end token
  are the target.

A text that holds the mask token is refused for an MDM, which would read a mask that no noise placed
and learn that nothing stands behind it. Cutting the text there would leave out what surrounds an
ordinary word; which token is the mask is the user's choice, so that another one costs nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from mechshift.errors import PosttrainingError
from mechshift.input_files import (
    as_declared,
    check_regular,
    parse_json,
    read_bytes,
    read_lines,
)
from mechshift.posttraining.corpus_rows import Corpus, pad_rows

TEXT_KEYS, DIALOGUE_KEYS = {"text"}, {"prompt", "response"}

MAX_BYTES = 2**32
"""Size of the largest file that is read; its tokens take several times that in memory."""
MAX_LINE_BYTES = 2**26
"""A line is one document, such as a book."""


def is_text_file(source: str) -> bool:
    """Whether a source is a file of texts rather than a task or a task file.

    Raises:
        PosttrainingError: the file cannot be read.
    """
    path = Path(source)
    if path.suffix == ".txt":
        check_regular(path, MAX_BYTES, error=PosttrainingError)
        return True
    if path.suffix != ".jsonl":
        return False
    first = next(_lines(path), None)
    return first is not None and set(_read_line(path, *first)) in (TEXT_KEYS, DIALOGUE_KEYS)


def build_text_corpus(
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    kind: Literal["arm", "mdm"],
    *,
    num_rows: int,
    context_length: int,
) -> Corpus:
    """Rows of a file of texts.

    Args:
        source: a `.txt` or `.jsonl` file.
        tokenizer: of the model that is trained.
        kind: what it becomes; an ARM reads the mask token as the word that it is.
        num_rows: the first so many; 0: all.
        context_length: tokens of a packed row, and the most that prompt and response may have.

    Raises:
        PosttrainingError: a line is not as it should be, a text holds the mask token of an MDM, or
            there are fewer rows than asked for.
    """
    path = Path(source)
    if kind == "mdm":
        _check_end(tokenizer)
    if path.suffix == ".txt":
        texts = {str(path): _read(path)}
        if kind == "mdm":
            _check_without_mask(texts, tokenizer)
        rows = _pack(list(texts.values()), tokenizer, context_length)
    else:
        lines = [(number, _read_line(path, number, line)) for number, line in _lines(path)]
        keys = set(lines[0][1])
        for number, fields in lines:
            if set(fields) != keys:
                raise PosttrainingError(
                    f"{path}, line {number}: has the keys {', '.join(sorted(fields))}, and the"
                    f" first line has {', '.join(sorted(keys))}; use one kind of line in a file."
                )
        if kind == "mdm":
            _check_without_mask(
                {
                    f"{path}, line {number}, '{key}'": text
                    for number, fields in lines
                    for key, text in fields.items()
                },
                tokenizer,
            )
        if keys == TEXT_KEYS:
            rows = _pack([fields["text"] for _, fields in lines], tokenizer, context_length)
        else:
            rows = [
                _dialogue(path, number, fields, tokenizer, context_length)
                for number, fields in lines
            ]
    if len(rows) < max(1, num_rows):
        raise PosttrainingError(
            f"{path} gives {len(rows)} rows of at most {context_length} tokens, not"
            f" {max(1, num_rows)}; ask for fewer, or lower --context-length."
        )
    return pad_rows(rows[: num_rows or None], tokenizer)


def _pack(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, length: int
) -> list[tuple[list[int], slice]]:
    ends = _end(tokenizer)
    ids = list(
        chain.from_iterable(
            [*tokenizer.encode(text, add_special_tokens=False), *ends] for text in texts
        )
    )
    # The first token of a row has nothing to be predicted from.
    return [
        (ids[start : start + length], slice(1, length))
        for start in range(0, len(ids) - length + 1, length)
    ]


def _dialogue(
    path: Path,
    number: int,
    fields: dict[str, str],
    tokenizer: PreTrainedTokenizerBase,
    length: int,
) -> tuple[list[int], slice]:
    prompt = tokenizer.encode(fields["prompt"], add_special_tokens=True)
    response = tokenizer.encode(fields["response"], add_special_tokens=False) + _end(tokenizer)
    if not prompt or len(prompt) + len(response) > length:
        raise PosttrainingError(
            f"{path}, line {number}: prompt and response have {len(prompt)} and {len(response)}"
            f" tokens; both are needed, and together at most {length} (--context-length)."
        )
    return prompt + response, slice(len(prompt), len(prompt) + len(response))


def _check_without_mask(texts: Mapping[str, str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse texts, by where they stand, that hold the mask token."""
    mask = tokenizer.mask_token_id
    if mask is None:
        return
    counts = {
        where: tokenizer.encode(text, add_special_tokens=False).count(mask)
        for where, text in texts.items()
    }
    holding = [where for where, count in counts.items() if count]
    if holding:
        raise PosttrainingError(
            f"{holding[0]}: holds the mask token {tokenizer.mask_token!r} ({mask}), as"
            f" {len(holding)} of {len(counts)} texts do, {sum(counts.values())} times in all;"
            " choose a token that no text has (--mask-token), or change the texts."
        )


def _check_end(tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.mask_token_id is not None and tokenizer.mask_token_id in _end(tokenizer):
        raise PosttrainingError(
            f"the tokenizer ends every text with its mask token {tokenizer.mask_token!r}"
            f" ({tokenizer.mask_token_id}); choose another one (--mask-token)."
        )


def _end(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]


def _read(path: Path) -> str:
    try:
        return read_bytes(path, MAX_BYTES, error=PosttrainingError).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PosttrainingError(f"cannot read {path}: {error}.") from None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    for number, line in read_lines(path, MAX_BYTES, MAX_LINE_BYTES, error=PosttrainingError):
        if line.strip():
            yield number, line


def _read_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    where = f"{path}, line {number}"
    fields: dict[str, Any] = parse_json(line, dict[str, Any], where=where, error=PosttrainingError)
    if set(fields) <= TEXT_KEYS | DIALOGUE_KEYS:  # any other is a task's
        texts: dict[str, str] = as_declared(
            fields, dict[str, str], where=where, error=PosttrainingError
        )
        if not texts or "" in texts.values():
            raise PosttrainingError(f"{where}: its values must be text, not empty.")
    return fields
