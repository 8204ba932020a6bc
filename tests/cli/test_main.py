import json

import pytest

from mechshift.cli.main import main


def test_without_words_the_command_teaches_what_it_can_do(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for command in ("run", "pool", "attribute", "evaluate", "compare", "report", "export", "pairs"):
        assert command in shown


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "pool",
        "attribute",
        "flow",
        "analyse",
        "explain",
        "evaluate",
        "compare",
        "sweep",
        "alternatives",
        "report",
        "export",
        "trajectory",
        "index",
        "serve",
        "figures",
        "tables",
    ],
)
def test_every_stage_explains_its_options(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert "PATH" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mechshift 0.")


def test_tasks_lists_every_task(capsys):
    assert main(["tasks"]) == 0
    shown = capsys.readouterr().out
    for name in ("ioi", "greater-than", "countdown-3", "countdown-5", "infilling"):
        assert name in shown


def test_tasks_shows_examples_of_every_split(capsys):
    assert main(["tasks", "ioi", "--num-examples", "1"]) == 0
    shown = capsys.readouterr().out
    for split in ("train", "discovery", "held-out"):
        assert split in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tasks", "chess"], "no task 'chess'; known are ioi, greater-than"),
        (["run", "RUN", "--pair", "big"], "no pair 'big'; known are tiny"),
        (["run", "RUN", "--arm", "here"], "--arm and --mdm belong together"),
        (["run", "RUN", "--pool.num-examples", "0"], "a pool needs at least 2 examples"),
        (["run", "RUN", "--pool.num-examples", "1000000000"], "holds up to 1,000,000 examples"),
        (["run", "RUN", "--pool.seed", "-1"], "a pool's seed must be at least 0, not -1"),
        (["run", "RUN", "--comparison.seed", "-1"], "setting seed must be at least 0, not -1"),
        (["run", "RUN", "--semantics.seed", "-1"], "setting seed must be at least 0, not -1"),
        (["run", "RUN", "--ablation.seed", "-1"], "setting seed must be at least 0, not -1"),
        (["run", "RUN", "--attribution.ig-steps", "100000"], "ig_steps must be at most 1,000"),
        (["tasks", "ioi", "-n", "0"], "1 to 1,000 examples can be shown, not 0"),
        (["tasks", "ioi", "-n", "1000000000"], "1 to 1,000 examples can be shown, not 1000000000"),
        (["tasks", "ioi", "--seed", "-1"], "a seed is at least 0, not -1"),
        (["run", "RUN", "--device", "tpu9"], "unknown device 'tpu9'"),
        (["run", "RUN", "--arm", "no/where/at/all", "--mdm", "x"], "neither a folder nor a hub id"),
        (["attribute", "RUN"], "holds no pool; run `mechshift pool"),
        (["flow", "RUN"], "holds no pool; run `mechshift pool"),
        (["analyse", "RUN"], "holds no pool; run `mechshift pool"),
        (["analyse", "RUN", "--ig-steps", "0"], "ig_steps must be at least 1, not 0"),
        (["explain", "RUN", "--local", "x"], "holds no pool; run `mechshift pool"),
        (["explain", "RUN"], "give either --endpoint with --model, or --local"),
        (["sweep", "RUN"], "holds no pool; run `mechshift pool"),
        (["sweep", "RUN", "--num-steps", "0"], "a number of steps must be at least 1, not 0"),
        (["alternatives", "RUN"], "holds no pool; run `mechshift pool"),
        (["alternatives", "RUN", "--factors", "1"], "factors of alternatives must lie in [0, 1)"),
        (["alternatives", "RUN", "--shares", "0"], "shares of alternatives must lie in (0, 1]"),
        (["compare", "RUN"], "holds no pool; run `mechshift pool"),
        (["report", "RUN"], "holds no pool; run `mechshift pool"),
        (["index", "RUN"], "is no folder; give one that holds runs"),
        (["serve", "RUN"], "is no folder; give one that holds runs"),
        (["tables", "RUN"], "is no folder; give one that `mechshift run` has written"),
        (["trajectory", "RUN", "--arm", "here"], "--arm and --mdm belong together"),
        (["export", "RUN", "OUT", "--format", "graphml"], "holds no pool; run `mechshift pool"),
        (["run", "RUN", "--tasks", "no-such.jsonl"], "cannot read no-such.jsonl"),
        (["run", "RUN", "--tasks", "ioi", "ioi"], "hold a name twice"),
        (
            ["posttrain", "RUN", "--parent", "untrained-tiny", "--num-steps", "0"],
            "must be positive",
        ),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_status_2(words, message, tmp_path, capsys):
    words = [str(tmp_path / "run") if word == "RUN" else word for word in words]
    assert main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert shown.out == ""


@pytest.mark.parametrize("command", ["run", "pool", "trajectory"])
def test_a_pair_that_is_not_fetched_yet_is_one_line_that_says_how_to_get_it(
    command, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MECHSHIFT_CACHE", str(tmp_path / "cache"))
    assert main([command, str(tmp_path / "run"), "--pair", "smollm2"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("run `mechshift pairs get smollm2`.")
    assert not any(tmp_path.iterdir())


def test_an_unknown_option_is_exit_status_2(tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(tmp_path), "--no-such-option"])
    assert stopped.value.code == 2


def test_a_bad_line_of_a_task_file_is_named(tmp_path, capsys):
    good = {"prompt": "Mary and", "target": " John", "distractor": " Tom", "corrupted_prompt": "x"}
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(good) + "\n{broken\n", encoding="utf-8")
    assert main(["tasks", str(path)]) == 2
    assert f"{path}, line 2: not valid JSON" in capsys.readouterr().err
