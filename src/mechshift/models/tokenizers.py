"""Tokenizers from folders, running nothing from them.

tokenizer.json is read by the one class that needs no other code. An MDM whose own tokenizer is
remote code (Dream's, for one) is read with the tokenizer of the ARM that it was made from:

1. the folder's data files say which id each of its tokens has; where the parent knows the token,
   or has another one with that id, the two must agree;
2. tokens that the MDM adds after the parent's are added, with the ids that they must get;
3. so is the name of the mask token.

The mask token of an MDM may be an ordinary word that its tokenizer knows as nothing else. The
loaded tokenizer names it, so that no text of a task holds a mask that no denoising placed.
"""

from copy import deepcopy
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from msgspec import Struct
from transformers import AddedToken, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mechshift.errors import ModelError
from mechshift.input_files import read_json
from mechshift.models.folders import first_line, resolve_folder


def load_tokenizer(path: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a local folder or hub id, read by the class that runs no other code.

    Raises:
        ModelError: no folder, no hub id, or no tokenizer.json.
    """
    return read_tokenizer(resolve_folder(path, None))


def read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in a folder.

    Raises:
        ModelError: no tokenizer.json, or a damaged one.
    """
    if not has_tokenizer(folder):
        raise ModelError(
            f"{folder} has no tokenizer.json, the one tokenizer format that needs no code; set"
            " tokenizer_path to a model with the same tokenizer, such as the parent ARM."
        )
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    # tokenizers raises bare Exception for a damaged file.
    except Exception as error:
        raise ModelError(f"cannot read the tokenizer in {folder}: {first_line(error)}") from error


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder's tokenizer can be read without code."""
    return (folder / "tokenizer.json").is_file()


def tokenizer_from_parent(parent: PreTrainedTokenizerFast, folder: Path) -> PreTrainedTokenizerFast:
    """The parent's tokenizer with what a folder adds to it.

    Raises:
        ModelError: the folder lists no tokens, or its tokens do not continue the parent's.
    """
    stated = _tokenizer_config(folder)
    vocabulary = _ids_in(folder / "vocab.json")
    # Tokens beside the vocabulary, from either of the two files that may list them.
    added = _ids_in(folder / "added_tokens.json")
    added |= {token.content: index for index, token in stated.added_tokens_decoder.items()}
    if not vocabulary:
        raise ModelError(
            f"{folder} has neither tokenizer.json nor vocab.json, so that its tokens cannot be"
            " checked against the parent's; set tokenizer_path if they are known to be the same."
        )
    _check_ids(parent, vocabulary, added, folder)
    tokenizer = deepcopy(parent)
    known = parent.get_vocab()
    for token, index in sorted(added.items(), key=lambda item: item[1]):
        if token in known:
            continue
        tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)])
        if (given := tokenizer.convert_tokens_to_ids(token)) != index:
            raise ModelError(
                f"the token {token!r} of {folder} has the id {index}, but after the parent's"
                f" {len(known)} tokens it gets {given}; the parent has another tokenizer."
            )
    if stated.mask_token is not None:
        named = stated.mask_token
        tokenizer.mask_token = named.content if isinstance(named, _Token) else named
    return tokenizer


@lru_cache(maxsize=8)
def num_tokens_around(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and after every text."""
    is_special: list[int] = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    before = len(list(takewhile(bool, is_special)))
    return before, len(list(takewhile(bool, reversed(is_special[before:]))))


def tokens_before(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The special tokens, such as BOS, that the tokenizer puts before every text."""
    ids: list[int] = tokenizer("a")["input_ids"]
    return [str(tokenizer.convert_ids_to_tokens(i)) for i in ids[: num_tokens_around(tokenizer)[0]]]


def naming_mask(
    tokenizer: PreTrainedTokenizerFast, mask_token_id: int | None
) -> PreTrainedTokenizerFast:
    """The tokenizer with this token for its mask token; it splits every text as before.

    Args:
        tokenizer: stays as it is.
        mask_token_id: None, or an id that no token has: then there is nothing to name.
    """
    if mask_token_id is None or tokenizer.mask_token_id == mask_token_id:
        return tokenizer
    token = tokenizer.convert_ids_to_tokens(mask_token_id)
    if token is None:
        return tokenizer
    named = deepcopy(tokenizer)
    # Named, not added: an added token would be cut out of the words that contain it.
    named.mask_token = token
    return named


def _check_ids(
    parent: PreTrainedTokenizerFast,
    vocabulary: dict[str, int],
    added: dict[str, int],
    folder: Path,
) -> None:
    known = parent.get_vocab()
    if unknown := sorted(vocabulary.keys() - known.keys()):
        raise ModelError(
            f"{folder}/vocab.json has {len(unknown)} tokens that its parent lacks, such as"
            f" {unknown[0]!r}; set tokenizer_path to a model with the MDM's tokenizer."
        )
    by_id = {index: token for token, index in known.items()}
    for token, index in (vocabulary | added).items():
        # Equal tokens have equal ids, and equal ids are equal tokens.
        if known.get(token, index) != index or by_id.get(index, token) != token:
            raise ModelError(
                f"{folder} gives the id {index} to the token {token!r}, and its parent gives"
                f" {known.get(token)} to it and {index} to {by_id.get(index)!r}; set"
                " tokenizer_path to a model with the MDM's tokenizer."
            )


class _Token(Struct):
    """A token as transformers writes it, with more properties than are read."""

    content: str


class _TokenizerConfig(Struct):
    """Parts of a tokenizer_config.json that are read."""

    added_tokens_decoder: dict[int, _Token] = {}
    """By id."""
    mask_token: str | _Token | None = None


def _ids_in(path: Path) -> dict[str, int]:
    """Token -> id, of a file that need not be there."""
    return read_json(path, dict[str, int], error=ModelError) if path.is_file() else {}


def _tokenizer_config(folder: Path) -> _TokenizerConfig:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return _TokenizerConfig()
    return read_json(path, _TokenizerConfig, error=ModelError)
