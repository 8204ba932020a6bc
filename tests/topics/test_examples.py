"""The metric of every example: a box for each condition of each model, and tables."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mechshift.errors import ReportError
from mechshift.run.stored import RunTask
from mechshift.topics.examples import (
    EXAMPLES,
    ExampleMetrics,
    MetricSample,
    metric_distributions,
    metric_distributions_table,
)
from mechshift.topics.topic import TaskResults


@pytest.fixture
def record(ioi: TaskResults) -> ExampleMetrics:
    """Twelve examples of both models under all four conditions, at circuits of 1,000 edges."""
    generator = np.random.default_rng(0)
    samples = tuple(
        MetricSample(model=model, condition=condition, values=generator.normal(size=12))
        for model in ("arm", "mdm")
        for condition in ("full", "own", "other", "empty")
    )
    found = EXAMPLES.of(ioi)
    assert found is not None
    return replace(found, samples=samples, circuit_size=1_000)


def test_every_condition_of_every_model_is_a_box_of_its_examples(record: ExampleMetrics) -> None:
    figure = metric_distributions(record, metric="logit_diff").to_plotly()
    assert [trace.name.replace("<br>", " ") for trace in figure.data] == [
        "whole model",
        "own circuit",
        "MDM's circuit",
        "corrupted prompt",
        "whole model",
        "own circuit",
        "ARM's circuit",
        "corrupted prompt",
    ]
    assert [trace.xaxis for trace in figure.data] == 4 * ["x"] + 4 * ["x2"]
    for trace, sample in zip(figure.data, record.samples, strict=True):
        np.testing.assert_array_equal(trace.y, sample.values)
    assert "n = 12 examples; circuits of 1,000 edges" in figure.layout.title.subtitle.text
    assert figure.layout.yaxis.title.text == "logit_diff, summed over steps"


@pytest.mark.parametrize(("ablation", "name"), [("mean", "all at their mean"), ("zero", "at zero")])
def test_the_last_box_is_called_after_what_ablates(
    record: ExampleMetrics, ablation: str, name: str
) -> None:
    figure = metric_distributions(replace(record, ablation=ablation), metric="kl").to_plotly()
    assert name in figure.data[3].name.replace("<br>", " ")


def test_the_table_holds_every_example(record: ExampleMetrics) -> None:
    table = metric_distributions_table(record)
    assert table.columns == ["model", "condition", "example", "metric"]
    assert len(table) == 8 * 12
    other = table.filter((pl.col("model") == "mdm") & (pl.col("condition") == "other"))
    assert other["metric"].to_list() == record.samples[6].values.tolist()
    assert other["example"].to_list() == list(range(12))


def test_where_the_compared_size_was_not_run_no_figure_is_drawn(
    ioi: TaskResults, record: ExampleMetrics
) -> None:
    none = replace(record, samples=())
    with pytest.raises(ReportError, match="there are no metrics of examples to draw"):
        metric_distributions(none, metric="logit_diff")
    task = replace(ioi, records={**ioi.records, "examples": none})
    assert EXAMPLES.exhibits(task) == ()
    assert list(EXAMPLES.examples(task)) == ["per-example"]


def test_samples_are_sums_over_steps_at_the_circuits_size(
    small_run, infilling: TaskResults
) -> None:
    record = EXAMPLES.of(infilling)
    assert record is not None
    size, stored = infilling.comparison.circuit_size, RunTask(run=small_run, task="infilling")
    assert record.circuit_size == size
    samples = {(one.model, one.condition): one.values for one in record.samples}
    assert len(samples) == 8
    for model, other in (("arm", "mdm"), ("mdm", "arm")):
        own, cross = (stored.circuit_metrics(model)[owner] for owner in (model, other))
        assert own.num_steps.max() > 1
        at = own.sizes.tolist().index(size)
        for condition, by_step in (
            ("full", own.full),
            ("own", own.metric[at]),
            ("other", cross.metric[at]),
            ("empty", own.empty),
        ):
            np.testing.assert_array_equal(samples[model, condition], by_step.sum(axis=-1))


def test_every_circuit_size_draw_example_and_step_is_in_the_table_of_examples(
    small_run, infilling: TaskResults
) -> None:
    table = EXAMPLES.examples(infilling)["per-example"]
    stored = RunTask(run=small_run, task="infilling")
    assert table.columns == [
        *("model", "owner", "draw", "size", "example", "step", "metric", "full", "empty")
    ]
    for model in ("arm", "mdm"):
        random, cross = stored.baselines(model).random, stored.circuit_metrics(model)["arm"]
        sizes = np.unique(random.sizes)
        draw = len(random.sizes) // len(sizes) - 1
        last = table.filter(model=model, owner="random", draw=draw, size=int(sizes[-1]))
        assert len(last) == random.num_steps.sum()
        example, step = last["example"].to_numpy(), last["step"].to_numpy()
        np.testing.assert_array_equal(last["metric"], random.metric[-1, example, step])
        np.testing.assert_array_equal(last["full"], random.full[example, step])
        of_arm = table.filter(model=model, owner="arm")
        assert of_arm["draw"].unique().to_list() == [0]
        assert len(of_arm) == len(cross.sizes) * cross.num_steps.sum()


def test_the_figure_names_the_file_of_every_example(ioi: TaskResults) -> None:
    (exhibit,) = EXAMPLES.exhibits(replace(ioi, task="Mary & John"))
    assert exhibit.name == "examples"
    assert "Mary-John-per-example.parquet, beside this page." in exhibit.reading


def test_without_circuits_there_are_no_examples(ioi: TaskResults) -> None:
    task = replace(ioi, records={})
    assert EXAMPLES.exhibits(task) == ()
    assert EXAMPLES.examples(task) == {}
