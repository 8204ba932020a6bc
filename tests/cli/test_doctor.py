"""What the doctor finds of a sound pair, one that is read wrongly, and one that is not there."""

from dataclasses import replace
from importlib.resources import files

import pytest

from mechshift.cli.main import main
from mechshift.models import ModelPair, ModelSource, PairEntry
from mechshift.run.doctor import _revisions
from mechshift.testing import random_language_model

TINY = files("mechshift") / "pairs" / "tiny"
OWN = ["--arm", str(TINY / "arm"), "--mdm", str(TINY / "mdm")]


def examined(capsys, *words):
    """Exit status, what was found by its name, and the last line on standard error."""
    status = main(["doctor", "--num-examples", "3", "--device", "cpu", "--quiet", *words])
    shown = capsys.readouterr()
    lines = [line.split(": ", 2) for line in shown.out.splitlines() if line.startswith("- ")]
    return status, {about: (word, text) for word, about, text in lines}, shown.err


def test_a_sound_pair_passes_and_its_task_that_the_tokenizer_cannot_write_is_a_note(capsys):
    status, found, error = examined(capsys, "--tasks", "ioi", "infilling", "countdown-3")
    assert status == 0 and error == ""
    assert [word for word, _ in found.values()] == [
        *("- note", "- ok", "- note", "- note", "- ok"),
        *("- ok", "- ok", "- note"),
    ]
    assert "full attention as probed, mask token 3" in found["models"][1]
    assert found["ioi"][1].startswith("ARM 3 of 3 right, MDM 3 of 3 right; the first calls for ' ")
    no_commit = "from a folder, of no known commit"
    assert found["revisions"][1] == f"ARM {no_commit}; MDM {no_commit}"
    assert "does not know" in found["countdown-3"][1]
    assert "the pair says the one before (shift)" in found["shift"][1]


def test_a_wrong_shift_fails_and_the_other_checks_are_made(capsys):
    status, found, error = examined(capsys, *OWN, "--no-shift", "--tasks", "ioi")
    assert status == 2 and error == "mechshift: 1 of 6 checks failed; see above.\n"
    assert found["shift"][0] == "- FAILED" and "their own (no shift)" in found["shift"][1]
    assert found["models"][0] == "- ok"
    assert "ARM 3 of 3 right" in found["ioi"][1]


def test_models_that_do_not_load_are_one_line(capsys, tmp_path):
    status, found, _ = examined(capsys, "--arm", str(TINY / "arm"), "--mdm", str(tmp_path))
    assert status == 2 and list(found) == ["versions", "models"]
    assert found["models"][0] == "- FAILED" and str(tmp_path) in found["models"][1]


@pytest.mark.parametrize("number", ["0", "1000000000"])
def test_an_impossible_number_of_examples_is_refused(capsys, number):
    assert main(["doctor", "--num-examples", number]) == 2
    assert "1 to 1,000 examples can be answered" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pinned", "said"), [("a" * 40, "as pinned"), (None, "pinned to none")], ids=["pinned", "not"]
)
def test_the_commits_that_were_loaded_are_named(pinned, said):
    arm = ModelSource(path="some/arm", revision=pinned)
    entry = PairEntry(name="p", arm=arm, mdm=ModelSource(path="some/mdm"), shift=True)
    arm_model, mdm_model = (random_language_model("llama", kind) for kind in ("arm", "mdm"))
    pair = ModelPair(name="p", arm=replace(arm_model, revision="a" * 40), mdm=mdm_model)
    found = _revisions(entry, pair)
    assert found.passed is None
    expected = f"ARM some/arm at {'a' * 40}, {said}; MDM from a folder, of no known commit"
    assert found.text == expected
