"""Several runs as records: their tables, and the numbers by which they are compared."""

import polars as pl

from mechshift.topics.run_list import ListedRun, RunList, numbers


def test_every_run_is_a_row_whatever_its_state(run_list: RunList) -> None:
    frame = run_list.to_frame()
    assert frame["run"].to_list() == ["one", "two", "far/three", "training", "begun"]
    assert frame["tasks"].to_list()[:2] == [["ioi", "infilling"], ["ioi"]]
    assert frame["problem"].to_list()[-1] == "not finished"
    assert frame["written"].dtype == pl.Date and frame["written"].to_list()[-1] is None
    assert repr(run_list) == "RunList(5 runs, 3 finished)"


def test_every_statement_of_every_finished_run_is_a_row(run_list: RunList) -> None:
    frame = run_list.verdicts()
    assert frame.height == 4 * 4  # tasks of finished runs, statements of each
    (row,) = frame.filter(run="two", axis="structure").to_dicts()
    assert (row["mdm"], row["task"], row["verdict"]) == ("wedlm", "ioi", "modest change")
    assert (row["value"], row["corrected_p"]) == (0.7, 0.002)
    assert frame.filter(axis="cause")["value"].null_count() == 4


def test_every_quantity_of_every_finished_run_is_a_row(run_list: RunList) -> None:
    frame = run_list.quantities()
    assert frame.height == 4 * 3
    found = frame.filter(run="one", quantity="noise-free overlap", task="infilling")
    assert found.select("value", "neutral").rows() == [(0.9, 1.0)]
    assert frame.filter(quantity="centre of mass shift")["value"].null_count() == 4


def test_numbers_are_quantities_and_what_other_verdicts_rest_on(run_list: RunList) -> None:
    found = {one.name: one for one in numbers(run_list)}
    # Centre of mass is undefined everywhere; structure and depth rest on quantities.
    assert list(found) == ["noise-free overlap", "early share shift", "inheritance"]
    assert found["noise-free overlap"].neutral == 1.0 and found["inheritance"].neutral is None
    task = run_list.runs[0].tasks[0]
    assert found["inheritance"].of(task) == task.verdict.of("inheritance").estimate
    assert found["noise-free overlap"].of(task) == task.measured["noise-free overlap"]


def test_without_a_finished_run_the_tables_are_empty_and_have_their_columns() -> None:
    empty = RunList(runs=())
    assert empty.to_frame().width == 7 and empty.verdicts().width == 14
    assert empty.quantities().height == 0 and numbers(empty) == ()


def test_a_notebook_shows_texts_as_texts(run_list: RunList) -> None:
    hostile = ListedRun(name="<b>", path=run_list.runs[0].path, problem="<script>")
    shown = RunList(runs=(*run_list.runs, hostile))._repr_html_()
    assert "wedlm" in shown and "ioi, infilling" in shown
    assert "<b>" not in shown and "<script>" not in shown
