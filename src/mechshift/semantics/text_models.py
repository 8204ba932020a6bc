"""Text models: at an OpenAI-compatible endpoint, or on this machine.

Neither is needed by anything else, and nothing is sent anywhere unless one of these is made. What
comes back is untrusted data: it is parsed, never run, and whoever shows it must escape it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import torch
from msgspec import Struct
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from mechshift.errors import ModelError, SemanticsError
from mechshift.input_files import parse_json
from mechshift.models.folders import (
    check_no_adapter,
    first_line,
    read_config,
    resolve_folder,
    weight_files,
)
from mechshift.models.stock_classes import (
    check_depth,
    check_num_weights,
    check_sizes,
    without_reports,
)
from mechshift.models.tokenizers import read_tokenizer

MAX_REPLY_BYTES = 2**20
"""An endpoint's reply is read so far; an explanation takes a few hundred bytes."""


@runtime_checkable
class TextModel(Protocol):
    """Anything that answers a prompt."""

    @property
    def name(self) -> str: ...

    def complete(self, prompt: str) -> str:
        """The reply to one prompt.

        Raises:
            SemanticsError: there is none.
        """


class _NoRedirects(HTTPRedirectHandler):
    """Redirects are errors: urllib would send the key on to whatever host they name."""

    def redirect_request(self, *_args: object) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class EndpointModel:
    """A chat model behind an OpenAI-compatible HTTP endpoint (OpenAI, vLLM, llama.cpp, ...)."""

    base_url: str
    """Up to and including the version, for example `http://localhost:8000/v1`."""
    model: str
    """The name that the endpoint knows it by."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; without it no key is sent, as local servers allow.
    The key itself is never a setting, so that it is not written into a run."""
    max_tokens: int = 512
    """Longest reply [tokens]."""
    timeout: float = 60.0
    """[seconds] for one reply."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # brackets or a port that are none
            usable = False
        if not usable or not (self.base_url.isascii() and self.base_url.isprintable()):
            raise SemanticsError(
                f"the endpoint '{self.base_url}' is no http or https address; write it like"
                " 'http://localhost:8000/v1'."
            )
        if parts.username is not None or parts.query:
            raise SemanticsError(
                f"the endpoint at '{parts.hostname}' must be a bare address, without user, password"
                f" or '?'; put the key into the environment variable {self.api_key_variable}."
            )

    @property
    def name(self) -> str:
        return self.model

    def complete(self, prompt: str) -> str:
        """The endpoint's reply at temperature 0.

        Raises:
            SemanticsError: it cannot be reached, refuses, or answers in another format.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
        }
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        request = Request(url, json.dumps(body).encode(), self._headers())
        try:
            with build_opener(_NoRedirects).open(request, timeout=self.timeout) as reply:
                content = reply.read(MAX_REPLY_BYTES)
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            raise SemanticsError(
                f"the endpoint {url} did not answer: {error}; check its address, the model"
                f" '{self.model}' and the key in {self.api_key_variable}."
            ) from None
        return _reply_text(content, url)

    def _headers(self) -> Mapping[str, str]:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.api_key_variable)
        if key and not (key.isascii() and key.isprintable()):
            raise SemanticsError(
                f"the key in {self.api_key_variable} holds line ends or letters that no header can"
                " carry; set it again, without them."
            )
        return headers | ({"Authorization": f"Bearer {key}"} if key else {})


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalModel:
    """A causal language model in this process, decoded greedily."""

    name: str
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    max_new_tokens: int = 512
    """Longest reply [tokens]."""

    @torch.no_grad()
    def complete(self, prompt: str) -> str:
        """The model's reply, through its chat template where it has one."""
        text, has_template = prompt, self.tokenizer.chat_template is not None
        if has_template:
            turns = [{"role": "user", "content": prompt}]
            text = str(
                self.tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True
                )
            )
        encoded = self.tokenizer(text, return_tensors="pt", add_special_tokens=not has_template).to(
            self.module.device
        )
        length = encoded["input_ids"].shape[1]
        padding = self.tokenizer.pad_token_id
        generate: Any = self.module.generate
        written = generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.eos_token_id if padding is None else padding,
        )
        return str(
            self.tokenizer.decode(
                written[0, length:], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )


def load_local_model(
    path: str | Path, *, device: str = "cpu", max_new_tokens: int = 512
) -> LocalModel:
    """A stock causal language model from a folder or the hub; safetensors only, no remote code.

    Raises:
        SemanticsError: it cannot be loaded like that.
        ModelError: it has no tokenizer.json.
    """
    try:
        folder = resolve_folder(str(path), None)
        check_no_adapter(folder)  # which transformers would attach, or fetch another model for
        config = read_config(folder)
        check_sizes(config, str(folder))
    except ModelError as error:
        raise SemanticsError(f"cannot load '{path}' to explain neurons: {error}") from None
    try:
        files = weight_files(folder)
        check_depth(config, files, str(folder))
        settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        check_num_weights(
            lambda: AutoModelForCausalLM.from_config(settings, trust_remote_code=False),
            files,
            str(folder),
        )
        with without_reports():
            module = AutoModelForCausalLM.from_pretrained(
                folder, trust_remote_code=False, use_safetensors=True, dtype="auto"
            )
    except Exception as error:  # a class runs into whatever its settings lead to
        raise SemanticsError(
            f"cannot load '{path}' to explain neurons: {first_line(error).removesuffix('.')}. Give"
            " the folder or hub name of a stock transformers model with safetensors weights."
        ) from None
    return LocalModel(
        name=Path(path).name,
        module=module.eval().to(device),
        tokenizer=read_tokenizer(folder),
        max_new_tokens=max_new_tokens,
    )


def _reply_text(content: bytes, url: str) -> str:
    try:
        reply: _Reply = parse_json(content, _Reply, where=url, error=SemanticsError)
        return reply.choices[0].message.content
    except (SemanticsError, IndexError):
        raise SemanticsError(
            f"the endpoint {url} answered, but not with a chat completion:"
            f" {content[:80].decode(errors='replace')!r}; is it OpenAI-compatible?"
        ) from None


class _Message(Struct):
    content: str


class _Choice(Struct):
    message: _Message


class _Reply(Struct):
    """Parts of a chat completion that are read."""

    choices: list[_Choice]
