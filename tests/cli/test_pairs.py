"""`mechshift pairs` in-process, on the real embedded family."""

from importlib.resources import files

import pytest

from mechshift.cli.main import main
from mechshift.models import PAIRS, UNPAIRED_MDMS, load_language_model

TINY = files("mechshift") / "pairs" / "tiny"


@pytest.mark.parametrize("words", [["pairs"], ["pairs", "list"]])
def test_it_lists_every_pair_and_every_model_without_one(words, capsys):
    assert main(words) == 0
    table, _ = capsys.readouterr().out.split("\n\n")
    shown = [line.split()[0] for line in table.splitlines()]
    for name in (*PAIRS, *UNPAIRED_MDMS):
        assert name in shown


def test_the_list_says_how_to_get_a_pair_that_is_neither_embedded_nor_on_the_hub(capsys):
    assert main(["pairs", "list"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "smollm2 has to be fetched first: `mechshift pairs get smollm2`."


def test_get_writes_the_embedded_family_once(tmp_path, capsys):
    assert main(["pairs", "get", "tiny", str(tmp_path / "tiny")]) == 0
    assert f"{tmp_path / 'tiny' / 'mdm'}: written" in capsys.readouterr().out
    for kind, attention in (("arm", "causal"), ("mdm", "full")):
        model = load_language_model(
            tmp_path / "tiny" / kind, name=kind, kind=kind, attention=attention, shift=True
        )
        shipped = load_language_model(
            str(TINY / kind), name=kind, kind=kind, attention=attention, shift=True
        )
        assert model.weights_hash == shipped.weights_hash
    assert main(["pairs", "get", "tiny", str(tmp_path / "tiny")]) == 0
    assert f"{tmp_path / 'tiny' / 'mdm'}: there already" in capsys.readouterr().out


def test_without_a_folder_it_goes_to_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHSHIFT_CACHE", str(tmp_path))
    assert main(["pairs", "get", "tiny"]) == 0
    assert (tmp_path / "tiny" / "arm" / "model.safetensors").is_file()


def test_pack_writes_a_file_for_each_checkpoint_and_says_how_large(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "step-000008").symlink_to(str(TINY / "mdm"))
    assert main(["pairs", "pack", str(TINY / "arm"), str(run), str(tmp_path / "packed")]) == 0
    path = tmp_path / "packed" / "step-000008.safetensors"
    size = path.stat().st_size
    assert capsys.readouterr().out == f"{path}: {size:,} bytes\n"
    assert size <= 950_000  # twelve of them, and four models in bfloat16, fit into 24 MB


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "dream-7b"], "'dream-7b' cannot be fetched; what can be is smollm2, tiny"),
        (["pack", "ARM", "RUN", "RUN"], "holds no checkpoints"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_status_2(words, message, tmp_path, capsys):
    places = {"ARM": str(TINY / "arm"), "RUN": str(tmp_path)}
    assert main(["pairs", *(places.get(word, word) for word in words)]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1
