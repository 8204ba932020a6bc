"""The metric of every example: a box for each condition of each model, and a table."""

import numpy as np
import polars as pl
import pytest

from mechshift.errors import ReportError
from mechshift.figures import MetricSample, metric_distributions, metric_distributions_table


def test_every_condition_of_every_model_is_a_box_of_its_examples(
    samples: list[MetricSample],
) -> None:
    figure = metric_distributions(samples, metric="logit_diff", circuit_size=1_000)
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
    for trace, sample in zip(figure.data, samples, strict=True):
        np.testing.assert_array_equal(trace.y, sample.values)
    assert "n = 12 examples; circuits of 1,000 edges" in figure.layout.title.subtitle.text


@pytest.mark.parametrize(("ablation", "name"), [("mean", "all at their mean"), ("zero", "at zero")])
def test_the_last_box_is_called_after_what_ablates(
    samples: list[MetricSample], ablation: str, name: str
) -> None:
    figure = metric_distributions(samples, metric="kl", circuit_size=30, ablation=ablation)
    assert name in figure.data[3].name.replace("<br>", " ")


def test_the_table_holds_every_example(samples: list[MetricSample]) -> None:
    table = metric_distributions_table(samples)
    assert table.columns == ["model", "condition", "example", "metric"]
    assert len(table) == 8 * 12
    other = table.filter((pl.col("model") == "mdm") & (pl.col("condition") == "other"))
    assert other["metric"].to_list() == samples[6].values.tolist()
    assert other["example"].to_list() == list(range(12))


def test_a_figure_of_no_examples_is_refused() -> None:
    with pytest.raises(ReportError, match="no metrics of examples to draw"):
        metric_distributions([], metric="kl", circuit_size=30)
