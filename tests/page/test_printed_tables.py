"""Tables for a paper: what is escaped, and what stands where."""

import pytest

from mechshift.page.formats import Cell
from mechshift.page.printed_tables import (
    PrintedGroup,
    PrintedTable,
    latex,
    latex_table,
    markdown,
    markdown_table,
)

ATTACK = "\\input{/etc/passwd}\n& 50% of_#1 $x$ ~ ^ {b}"


@pytest.fixture
def table() -> PrintedTable:
    cells = (
        Cell(text="\N{MINUS SIGN}0.09", interval="[\N{MINUS SIGN}0.15, \N{MINUS SIGN}0.03]"),
        Cell(text="not decided", interval="0.61 [0.56, 0.68]", note="a long remark"),
    )
    return PrintedTable(
        name="numbers",
        caption="Brackets: 95\N{NO-BREAK SPACE}% intervals.",
        corner="Quantity",
        columns=("ioi", "my_task|2"),
        groups=(
            PrintedGroup(name="Depth", rows=(("Early share", cells),)),
            PrintedGroup(name="", rows=(("Late share", cells),)),
        ),
    )


def test_latex_reads_no_command_in_a_text() -> None:
    assert latex(ATTACK) == (
        r"\textbackslash{}input\{/etc/passwd\} \& 50\% of\_\#1 \$x\$"
        r" \textasciitilde{} \textasciicircum{} \{b\}"
    )
    assert latex("a\x1b\x85b") == "a  b"
    assert latex("\N{MINUS SIGN}0.1 < 日本") == r"$-$0.1 \textless{} 日本"


def test_markdown_reads_no_mark_up_in_a_text() -> None:
    assert markdown("<img src=x>|`a`*b*") == r"\<img src=x\>\|\`a\`\*b\*"
    assert markdown("[a](http://x)\nb &amp;") == r"\[a\](http://x) b \&amp;"


def test_the_latex_table_is_whole(table: PrintedTable) -> None:
    lines = latex_table(table).splitlines()
    assert lines[0] == r"% needs \usepackage{booktabs}"
    assert r"\caption{Brackets: 95~\% intervals.}" in lines
    assert r"\begin{tabular}{lll}" in lines
    assert r"Quantity & ioi & my\_task\textbar{}2 \\" in lines
    assert r"\multicolumn{3}{l}{\emph{Depth}} \\" in lines
    row = r"Early share & $-$0.09 [$-$0.15, $-$0.03] & not decided, 0.61 [0.56, 0.68] \\"
    assert row in lines
    begun = [line.partition("{")[2].partition("}")[0] for line in lines if r"\begin" in line]
    ended = [line.partition("{")[2].partition("}")[0] for line in lines if r"\end" in line]
    assert begun == ended[::-1] == ["table", "tabular"]


def test_every_row_of_the_markdown_table_has_every_column(table: PrintedTable) -> None:
    caption, _, *rows = markdown_table(table).splitlines()
    assert caption == "Brackets: 95\N{NO-BREAK SPACE}% intervals."
    assert rows[1] == "|---|---|---|"
    assert {row.replace(r"\|", "").count("|") for row in rows} == {4}
    assert rows[2] == "| **Depth** | | |"
