"""The names of the options that scripts of users have: what is there stays as it is called."""

import re

import pytest

from mechshift.cli.main import main
from mechshift.cli.words import check_words

SHARED = """
    arm arm-adapter attention attribution.batch-size attribution.chunk-size
    attribution.edges-per-pass attribution.examples-per-shard attribution.gim
    attribution.gradient-at attribution.grouped attribution.ig-steps attribution.method
    attribution.metric attribution.no-gim attribution.no-grouped attribution.rule attribution.steps
    beside block-length comparison.circuit-size comparison.level comparison.num-exchanges
    comparison.num-resamples comparison.num-shuffles comparison.num-splits
    comparison.num-splits-per-resample comparison.seed comparison.sizes continued-arm
    continued-arm-adapter device dtype mask-token-id mdm mdm-adapter no-quiet no-shift
    other-mdm other-mdm-adapter pair pool.max-candidates pool.num-examples pool.num-held-out
    pool.num-others pool.num-steps pool.order pool.seed pool.templates quiet shift skip tasks
    tokenizer
"""
"""Of a run and of a trajectory."""

RUN_ONLY = """
    ablation.batch-size ablation.decode ablation.kinds ablation.level ablation.no-decode
    ablation.norm-tolerance ablation.num-control-draws ablation.num-examples
    ablation.num-resamples ablation.replacements ablation.seed ablation.share-of-neurons
    ablation.single-replacement also alternatives.batch-size alternatives.factors
    alternatives.shares
    evaluation.ablation evaluation.baseline-sizes evaluation.batch-size
    evaluation.fractions evaluation.no-rediscover evaluation.num-random
    evaluation.rediscover evaluation.seed
    graph.experts graph.no-experts
    semantics.batch-size semantics.context-radius semantics.ig-steps semantics.level
    semantics.num-contexts semantics.num-neurons semantics.num-resamples
    semantics.num-sequences semantics.num-top-tokens semantics.role-threshold semantics.seed
    semantics.sequence-length sweep.batch-size sweep.chunk-size sweep.num-steps
"""

PLAN_ONLY = """
    devices file-system-gb float32-tflops host-memory-gb json machines matmul-tflops measure
    memory-gb no-json no-measure share-of-memory share-of-peak solved
"""
"""How fast and large the machine is, in place of --quiet."""

QUIET = {"--quiet", "--no-quiet"}


def options(words):
    return {f"--{word}" for word in words.split()}


OPTIONS = {
    "run": options(SHARED + RUN_ONLY + " devices cluster cpus-per-worker gpus-per-worker"),
    "plan": options(SHARED + RUN_ONLY + PLAN_ONLY) - QUIET,
    "trajectory": options(SHARED) | {"--steps", "--follow", "--no-follow"},
}


@pytest.mark.parametrize("command", OPTIONS)
def test_the_options_of_a_command_are_called_as_they_were(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main([command, "--help-all"])
    shown = capsys.readouterr().out
    starts = re.findall(r"^(?:│ |  )(?:-h, )?(--[a-z][^\s,]*(?:, --[^\s,]+)*)", shown, re.MULTILINE)
    assert {name for start in starts for name in start.split(", ")} == OPTIONS[command] | {"--help"}


def test_every_option_of_a_run_says_what_it_means(capsys, monkeypatch):
    """Every record and every option but the seeds and the type of numbers, whose names say it."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["run", "--help-all"])
    shown = capsys.readouterr().out
    for words in (
        "Which examples.",
        "How edges are scored.",
        "How circuits are tested.",
        "What is compared, and how uncertain it is.",
        "How components are read.",
        "What is ablated, how, and on how many examples.",
        "With which other numbers of denoising steps the models are compared.",
        "How other circuits of each model are looked for that are as faithful as its own.",
        "Stages to leave out; the report then lacks their parts.",
        "Names that `mechshift tasks` lists, or .jsonl files; by default the pair's own.",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "r", "--attention", "full"], "--attention is said of a model of your own, and a"),
        (["run", "r", "--pair", "tiny", "--shift"], "--shift is said of a model of your own"),
        (["doctor", "--attention=full"], "give --arm and --mdm too, or leave it out."),
        (["run", "r", f"--{'a' * 5000}"], "no option has a name of 5,002 letters: --aaa"),
    ],
)
def test_an_option_that_would_be_ignored_or_can_be_none_is_refused(words, said, capsys):
    """Also where the value that is said is the default, which a setting does not show."""
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    "words",
    [
        ["run", "r", "--arm", "a", "--mdm", "b", "--attention", "full", "--no-shift"],
        ["run", "r", "--arm=a", "--mdm=b", "--shift"],
        ["posttrain", "out", "--shift"],
        ["tasks", "a" * 5000],
    ],
)
def test_what_a_command_may_mean_is_left_to_its_parser(words):
    check_words(words)
