"""The command asks a real local server, or a real model, and the page shows what came back."""

import json
import re
import shutil
from dataclasses import asdict
from importlib.resources import files

import numpy as np
import polars as pl
import pytest

from mechshift.artifacts import read_manifest
from mechshift.cli.main import main
from mechshift.flat_records import read_record
from mechshift.run import write_report
from mechshift.run.folders import KINDS, explanations_folder
from mechshift.run.stored import RunTask
from mechshift.semantics import NO_TOKEN, Explanations

TASKS = ("ioi", "infilling")

AT = ["--model", "m", "--endpoint"]


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of the small run, without what no sentence needs."""
    for stage in ("pool", "semantics"):
        shutil.copytree(small_run / stage, tmp_path / "run" / stage)
    return tmp_path / "run"


def guess(token):
    """What the server says of a token, whatever the sentence is."""
    return len(token) % 5


def answer(prompt):
    if "Here is a text" not in prompt:
        return "It fires on <script>alert(1)</script>\nnames."
    tokens = json.loads(re.search(r"^\[.*\]$", prompt, re.MULTILINE)[0])
    return json.dumps([guess(token) for token in tokens])


def read(run, task, kind):
    return read_record(Explanations, explanations_folder(run, task, kind), stage="explanations")


def test_the_scores_of_an_endpoint_are_correlations_with_the_runs_own_activations(
    run, endpoint, monkeypatch
):
    """Of two contexts the second is held out; what the server guesses on it is known here."""
    monkeypatch.setenv("SOME_KEY", "do-not-store-me")
    endpoint.answer = answer
    words = ["--endpoint", endpoint.url, "--model", "my-model", "--api-key-variable", "SOME_KEY"]
    assert main(["explain", str(run), *words, "--num-neurons", "2", "--quiet"]) == 0
    for task in TASKS:
        for kind in KINDS:
            found = read(run, task, kind)
            neurons = RunTask(run=run, task=task).semantics(kind).neurons
            texts = RunTask(run=run, task=task).token_texts(kind)
            assert found.neurons == tuple(neurons.names[:2])
            assert found.text == ("It fires on <script>alert(1)</script> names.",) * 2
            for unit in range(2):
                ids, rates = (
                    getattr(neurons.contexts, name)[unit, 1] for name in ("token_ids", "rates")
                )
                inside = ids != NO_TOKEN
                guesses = [guess(texts[token]) for token in ids[inside].tolist()]
                expected = np.corrcoef(guesses, rates[inside])[0, 1]
                assert found.score[unit] == pytest.approx(expected)
    assert len(endpoint.requests) == len(TASKS) * len(KINDS) * 2 * 2
    for _, headers, body in endpoint.requests:
        assert headers["Authorization"] == "Bearer do-not-store-me"
        assert body["model"] == "my-model"
    for path in run.rglob("*"):
        assert path.is_dir() or b"do-not-store-me" not in path.read_bytes()


def test_what_is_there_is_not_asked_for_again_and_another_explainer_is_refused(
    run, endpoint, capsys
):
    endpoint.answer = answer
    words = ["explain", str(run), "--endpoint", endpoint.url, "--quiet", "--num-neurons", "1"]
    assert main([*words, "--model", "one"]) == 0
    num_asked = len(endpoint.requests)
    shutil.rmtree(explanations_folder(run, "infilling", "mdm"))
    assert main([*words, "--model", "one"]) == 0
    assert len(endpoint.requests) == num_asked + 2
    assert main([*words, "--model", "other"]) == 2
    assert 'config.explainer: "one" there, "other" now' in capsys.readouterr().err


def test_an_endpoint_that_fails_half_way_loses_nothing_that_was_finished(run, endpoint, capsys):
    endpoint.answer = answer
    words = ["explain", str(run), "--endpoint", endpoint.url, "--model", "m", "--quiet"]
    first = explanations_folder(run, "ioi", "arm")

    def refuse_later(prompt):
        endpoint.status = 500 if first.exists() else 200
        return answer(prompt)

    endpoint.answer = refuse_later
    assert main(words) == 2
    assert "did not answer: HTTP Error 500" in capsys.readouterr().err
    assert first.exists() and not explanations_folder(run, "ioi", "mdm").exists()
    endpoint.status, endpoint.answer = 200, answer
    assert main(words) == 0
    assert explanations_folder(run, "infilling", "mdm").exists()


def test_a_local_model_is_asked_in_this_process(run):
    """The embedded ARM knows no English, and its replies are no lists of numbers."""
    folder = str(files("mechshift.pairs") / "tiny" / "arm")
    words = ["--local", folder, "--max-tokens", "4", "--num-neurons", "1", "--device", "cpu"]
    assert main(["explain", str(run), *words, "--quiet"]) == 0
    found = read(run, "ioi", "mdm")
    assert found.explainer == "arm" and len(found.text) == 1
    assert np.isnan(found.score).all() and "no list of numbers" in found.notes[0]
    manifest = read_manifest(explanations_folder(run, "ioi", "mdm"))
    pool = read_manifest(run / "pool" / "ioi")
    assert manifest.inputs["explainer"] == pool.inputs["arm"]
    assert folder not in json.dumps(asdict(manifest))


def test_the_page_shows_sentences_beside_their_neurons_and_runs_nothing_of_them(
    small_run, run, endpoint, tmp_path
):
    for stage in ("scores", "faithfulness", "comparison"):
        shutil.copytree(small_run / stage, run / stage)
    endpoint.answer = answer
    words = ["--endpoint", endpoint.url, "--model", "<b>bold</b>", "--num-neurons", "2"]
    assert main(["explain", str(run), *words, "--quiet"]) == 0
    page = write_report(run)
    text = page.read_text(encoding="utf-8")
    sentence = "It fires on &lt;script&gt;alert(1)&lt;/script&gt; names."
    assert text.count(sentence) == len(TASKS) * len(KINDS) * 2
    assert "<script>alert" not in text and "<b>bold" not in text
    assert "Sentences by &lt;b&gt;bold&lt;/b&gt;" in text
    table = pl.read_csv(page.parent / "ioi-neurons.csv")
    assert table["explained_by"].to_list() == 2 * ["<b>bold</b>", "<b>bold</b>", None]
    scores = [*read(run, "ioi", "arm").score, None, *read(run, "ioi", "mdm").score, None]
    assert table["explanation_score"].to_list() == pytest.approx(scores)
    assert "conclusions/ioi/neurons" in read_manifest(page.parent).inputs
    shown = read_manifest(run / "conclusions" / "ioi" / "neurons").inputs
    assert {f"explanations/ioi/{kind}" for kind in KINDS} <= shown.keys()
    bare = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    assert "In a sentence" not in bare
    assert "explanation" not in pl.read_csv(small_run / "report" / "ioi-neurons.csv").columns


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --endpoint with --model, or --local, to explain with."),
        (["--local", "x", "--endpoint", "http://localhost"], "give either --endpoint with"),
        (["--endpoint", "http://localhost"], "--endpoint and --model belong together."),
        (["--local", "x", "--num-neurons", "0"], "num_neurons must be above 0 and finite, not 0."),
        ([*AT, "http://x/v1", "--timeout", "nan"], "timeout must be above 0 and finite, not nan."),
        ([*AT, "nonsense"], "the endpoint 'nonsense' is no http or https address"),
        ([*AT, "http://"], "the endpoint 'http://' is no http or https address"),
        ([*AT, "http://x:99999/v1"], "the endpoint 'http://x:99999/v1' is no http or https"),
        ([*AT, "http://[x/v1"], "the endpoint 'http://[x/v1' is no http or https address"),
        (["--local", "no/such/folder/here"], "cannot load 'no/such/folder/here' to explain"),
        (["--endpoint", "localhost:1", "--model", "m"], "is no http or https address"),
    ],
)
def test_a_users_mistake_is_one_line_and_nothing_is_written(words, message, run, capsys):
    assert main(["explain", str(run), *words, "--quiet"]) == 2
    shown = capsys.readouterr().err
    assert message in shown and len(shown.strip().splitlines()) == 1
    assert not (run / "explanations").exists()


def test_a_run_whose_components_were_not_analysed_is_refused(run, endpoint, capsys):
    shutil.rmtree(run / "semantics" / "infilling")
    words = ["--endpoint", endpoint.url, "--model", "m", "--quiet"]
    assert main(["explain", str(run), *words]) == 2
    assert "no neurons of the ARM on 'infilling'; run `mechshift analyse" in capsys.readouterr().err
    assert endpoint.requests == []
