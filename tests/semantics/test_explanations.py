"""Explanations through a real local HTTP server and a real tiny model; replies are untrusted."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mechshift.errors import SemanticsError
from mechshift.semantics.explanations import (
    MAX_CHARACTERS,
    explain_neurons,
    one_line,
    read_activations,
)
from mechshift.semantics.neurons import Neurons
from mechshift.semantics.text_models import EndpointModel, LocalModel, load_local_model
from mechshift.semantics.unit_activations import NO_TOKEN, Contexts
from mechshift.statistics import Estimates
from mechshift.testing import random_language_model

WORDS = ("Ann", "Bob", "so", "then", "says")
ANN, BOB, SO, THEN, SAYS = range(4, 9)
TEXTS = dict(zip(range(4, 9), WORDS, strict=True))


def neurons_of(*contexts):
    """One neuron; a context is a list of (token, rate), of equal length."""
    ids = np.array([[[token for token, _ in context] for context in contexts]])
    rates = np.array([[[rate for _, rate in context] for context in contexts]], dtype=float)
    one = np.array([1.0])
    estimate = Estimates(value=one, low=one, high=one, level=0.95)
    return Neurons(
        layer=np.array([0]),
        index=np.array([7]),
        direction=np.array([1]),
        score=estimate,
        share=one,
        selectivity=estimate,
        contexts=Contexts(example=np.arange(len(contexts))[None], token_ids=ids, rates=rates),
        promoted_ids=np.array([[ANN]]),
        suppressed_ids=np.array([[BOB]]),
        num_scored=10,
    )


@pytest.fixture
def fires_on_names():
    """Strength 4 on Ann and 2 on Bob; the second and fourth contexts are held out."""
    return neurons_of(
        [(SO, 0), (ANN, 4), (SAYS, 0)],
        [(THEN, 0), (ANN, 4), (BOB, 2)],
        [(NO_TOKEN, 0), (BOB, 2), (SO, 0)],
        [(NO_TOKEN, 0), (BOB, 2), (SAYS, 0)],
    )


def simulate_by(guess):
    """An endpoint's answer: one sentence, and a guess for each token of a simulation."""

    def answer(prompt):
        if "Here is a text" not in prompt:
            return "It fires\non names."
        tokens = json.loads(re.search(r"^\[.*\]$", prompt, re.MULTILINE)[0])
        return json.dumps([guess.get(token, 0) for token in tokens])

    return answer


def test_a_right_simulation_scores_one_and_sees_only_held_out_contexts(endpoint, fires_on_names):
    endpoint.answer = simulate_by({"Ann": 10, "Bob": 5})
    model = EndpointModel(base_url=endpoint.url, model="tiny", api_key_variable="NO_SUCH_KEY")
    found = explain_neurons(fires_on_names, TEXTS, model)
    assert (found.neurons, found.text, found.notes) == (("m0.n7",), ("It fires on names.",), ("",))
    assert found.score[0] == pytest.approx(1)
    assert found.num_tokens[0] == 5
    assert found.explainer == "tiny"
    explain, *simulations = [body["messages"][0]["content"] for _, _, body in endpoint.requests]
    assert '[["so", 0], ["Ann", 10], ["says", 0]]' in explain
    assert '[["Bob", 5], ["so", 0]]' in explain
    assert "then" not in explain
    assert [re.search(r"^\[.*\]$", text, re.MULTILINE)[0] for text in simulations] == [
        '["then", "Ann", "Bob"]',
        '["Bob", "says"]',
    ]
    assert all("It fires on names." in text for text in simulations)


def test_the_score_is_the_correlation_over_held_out_tokens_by_hand(endpoint, fires_on_names):
    """Real: 0 4 2 2 0; guessed: 0 1 0 0 0. Covariance 2.4 / 5, variances 11.2 / 5 and 0.8 / 5."""
    endpoint.answer = simulate_by({"Ann": 1})
    model = EndpointModel(base_url=endpoint.url, model="tiny")
    found = explain_neurons(fires_on_names, TEXTS, model)
    assert found.score[0] == pytest.approx(2.4 / math.sqrt(11.2 * 0.8))


def test_the_request_is_a_chat_completion_and_the_key_comes_from_the_environment(
    endpoint, monkeypatch
):
    monkeypatch.setenv("SOME_KEY", "secret")
    endpoint.answer = lambda prompt: prompt.upper()
    model = EndpointModel(
        base_url=endpoint.url + "/", model="tiny", api_key_variable="SOME_KEY", max_tokens=9
    )
    assert model.complete("hello") == "HELLO"
    path, headers, body = endpoint.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 9,
        "temperature": 0,
    }
    assert "secret" not in repr(model)


def test_without_a_key_none_is_sent(endpoint, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    EndpointModel(base_url=endpoint.url, model="tiny").complete("hello")
    assert "Authorization" not in endpoint.requests[0][1]


def test_an_unreadable_simulation_is_left_out_and_said(endpoint, fires_on_names):
    right = simulate_by({"Ann": 10, "Bob": 5})
    endpoint.answer = lambda prompt: "[1, 2]; rm -rf" if '"then"' in prompt else right(prompt)
    model = EndpointModel(base_url=endpoint.url, model="tiny")
    found = explain_neurons(fires_on_names, TEXTS, model)
    assert found.score[0] == pytest.approx(1)
    assert (found.num_tokens[0], found.notes) == (
        2,
        ("1 of 2 simulations were no list of numbers",),
    )


@pytest.mark.parametrize(
    ("guess", "note"),
    [({}, "the guesses are the same on every token"), ("?", "2 of 2 simulations were no list")],
)
def test_a_simulation_that_says_nothing_has_no_score(endpoint, fires_on_names, guess, note):
    endpoint.answer = simulate_by(guess) if isinstance(guess, dict) else lambda prompt: guess
    model = EndpointModel(base_url=endpoint.url, model="tiny")
    found = explain_neurons(fires_on_names, TEXTS, model)
    assert np.isnan(found.score[0])
    assert note in found.notes[0]


@pytest.mark.parametrize(
    ("reply", "values"),
    [
        ("[0, 3, 10]", [0, 3, 10]),
        ("Sure! Here:\n```json\n[0, 3.5, 99]\n```", [0, 3.5, 10]),
        ("[1, 2] no, [1, 2, 3]", [1, 2, 3]),
        ("[1, 2]", None),
        ("[1, 2, true]", None),
        ("[1, 2, NaN]", None),
        (f"[1, 2, 1{'0' * 400}]", None),
        ('[1, 2, "3"]', None),
        ("__import__('os')", None),
        ("", None),
    ],
)
def test_only_a_list_of_as_many_numbers_is_read(reply, values):
    found = read_activations(reply, 3)
    assert (found is None) if values is None else found.tolist() == values


def test_an_explanation_is_one_short_line_without_control_characters():
    assert one_line("a\x1b[31m\r\n b\u202e\t c") == "a [31m b c"
    assert len(one_line("x" * 5000)) == MAX_CHARACTERS


def test_a_local_model_answers_through_its_own_tokenizer(tmp_path):
    """A random model of 23 tokens saved and loaded again: what it says is what it generates."""
    source = random_language_model("qwen2")
    source.module.save_pretrained(tmp_path)
    source.tokenizer.save_pretrained(tmp_path)
    model = load_local_model(tmp_path, max_new_tokens=4)
    assert model.name == tmp_path.name
    prompt = "w1 w2 w3"
    ids = source.tokenizer(prompt, return_tensors="pt")["input_ids"]
    for _ in range(4):
        following = source.module(ids).logits[:, -1:].argmax(dim=-1)
        ids = torch.cat([ids, following], dim=1)
    expected = source.tokenizer.decode(ids[0, 3:], skip_special_tokens=True)
    assert model.complete(prompt) == expected
    assert expected


def test_a_chat_template_is_used_where_there_is_one():
    source = random_language_model("llama")
    template = "{% for m in messages %}w5 {{ m['content'] }} w6{% endfor %}"
    plain = LocalModel(
        name="plain", module=source.module, tokenizer=source.tokenizer, max_new_tokens=3
    )
    expected = plain.complete("w5 w1 w2 w6")
    source.tokenizer.chat_template = template
    chat = LocalModel(
        name="chat", module=source.module, tokenizer=source.tokenizer, max_new_tokens=3
    )
    assert chat.complete("w1 w2") == expected


def test_a_random_local_model_explains_nothing_and_says_so(fires_on_names):
    source = random_language_model("llama")
    model = LocalModel(
        name="random", module=source.module, tokenizer=source.tokenizer, max_new_tokens=5
    )
    found = explain_neurons(fires_on_names, TEXTS, model)
    assert np.isnan(found.score[0])
    assert found.notes == ("2 of 2 simulations were no list of numbers",)


def test_an_endpoint_that_refuses_is_named_with_what_to_check(endpoint):
    endpoint.status = 401
    model = EndpointModel(base_url=endpoint.url, model="tiny", api_key_variable="SOME_KEY")
    with pytest.raises(SemanticsError, match=r"did not answer: HTTP Error 401.*key in SOME_KEY"):
        model.complete("hello")


def test_a_redirect_is_not_followed_so_that_the_key_stays(endpoint):
    endpoint.status = 307
    with pytest.raises(SemanticsError, match="did not answer: HTTP Error 307"):
        EndpointModel(base_url=endpoint.url, model="tiny").complete("hello")
    assert len(endpoint.requests) == 1


def test_a_server_that_is_not_there_is_named():
    model = EndpointModel(base_url="http://127.0.0.1:9", model="tiny", timeout=2.0)
    with pytest.raises(SemanticsError, match="http://127.0.0.1:9/chat/completions did not answer"):
        model.complete("hello")


@pytest.mark.parametrize("raw", [b"<html>", b'{"choices": []}', b'{"choices": "no"}'])
def test_a_reply_in_another_format_is_refused(endpoint, raw):
    endpoint.raw = raw
    with pytest.raises(SemanticsError, match="not with a chat completion.*OpenAI-compatible"):
        EndpointModel(base_url=endpoint.url, model="tiny").complete("hello")


@pytest.mark.parametrize("url", ["http://me:secret@localhost/v1", "http://localhost/v1?key=secret"])
def test_an_address_that_holds_a_key_is_refused_without_repeating_it(url):
    with pytest.raises(SemanticsError, match="put the key into the environment.*OPENAI") as refused:
        EndpointModel(base_url=url, model="tiny")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8000", "http://"])
def test_an_address_that_is_not_http_is_refused(url):
    with pytest.raises(SemanticsError, match="is no http or https address"):
        EndpointModel(base_url=url, model="tiny")


def test_a_model_that_cannot_be_loaded_is_refused_without_running_its_code(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "dream", "auto_map": {"AutoModelForCausalLM": "evil.Model"}})
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    save_file({"w": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(SemanticsError, match="to explain neurons: .*stock transformers model"):
        load_local_model(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("num_hidden_layers", 10**25, "num_hidden_layers must lie between 1 and 4,096"),
        ("num_hidden_layers", 4_000, "says 4,000 layers, and its weights are 27 tensors"),
        ("pad_token_id", "x", "Validation error for field 'pad_token_id'"),
        ("pad_token_id", 1e30, "pad_token_id"),
        ("vocab_size", 12, "size mismatch|ignore_mismatched_sizes"),
        ("intermediate_size", 10**6, "is of a model of [0-9,]+ weights, and [0-9,]+ are stored"),
        ("quantization_config", 7, "to explain neurons"),
    ],
)
def test_a_config_that_no_class_can_read_is_one_line(tmp_path, capfd, setting, value, said):
    source = random_language_model("qwen2")
    source.module.save_pretrained(tmp_path)
    source.tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {setting: value}))
    capfd.readouterr()
    with pytest.raises(SemanticsError, match=said):
        load_local_model(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_an_adapter_is_not_attached_to_the_model_that_explains(tmp_path):
    source = random_language_model("qwen2")
    source.module.save_pretrained(tmp_path)
    source.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(
        SemanticsError, match="to explain neurons: .* holds an adapter .*config.json"
    ):
        load_local_model(tmp_path)


def test_a_single_context_cannot_be_split():
    neurons = neurons_of([(SO, 0), (ANN, 4), (SAYS, 0)])
    model = EndpointModel(base_url="http://127.0.0.1:9", model="tiny")
    with pytest.raises(SemanticsError, match="each neuron has 1; use more examples"):
        explain_neurons(neurons, TEXTS, model)


def test_only_so_many_of_the_strongest_are_asked_about_and_each_is_counted(endpoint):
    """Three times the same neuron, of which two are wanted."""
    contexts = [[(SO, 0), (ANN, 4), (SAYS, 0)], [(THEN, 0), (ANN, 4), (BOB, 2)]]
    one = neurons_of(*contexts)
    fields = ("layer", "index", "direction", "share", "promoted_ids", "suppressed_ids")
    thrice = {name: np.repeat(getattr(one, name), 3, axis=0) for name in fields}
    shown = {name: np.repeat(values, 3, axis=0) for name, values in vars(one.contexts).items()}
    neurons = replace(one, **thrice, contexts=Contexts(**shown))
    endpoint.answer = simulate_by({"Ann": 10, "Bob": 5})
    model, done = EndpointModel(base_url=endpoint.url, model="tiny"), []
    found = explain_neurons(neurons, TEXTS, model, num_neurons=2, progress=done.append)
    assert found.neurons == ("m0.n7", "m0.n7") and len(found.score) == 2
    assert done == [1, 1]
    assert len(endpoint.requests) == 4
