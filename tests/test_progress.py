import pytest

from mechshift.progress import progress_bar


def test_a_finished_bar_names_the_work_and_how_much_was_done(capsys):
    with progress_bar("score edges", 3) as advance:
        advance(1)
        advance(2)
    said = capsys.readouterr()
    assert "score edges" in said.err and "3/3" in said.err
    assert said.out == ""


def test_work_that_ends_early_is_shown_as_done(capsys):
    with progress_bar("decode", 500) as advance:
        advance(7)
    assert "7/7" in capsys.readouterr().err


def test_a_quiet_bar_writes_nothing_and_still_counts(capsys):
    with progress_bar("score edges", 3, quiet=True) as advance:
        advance(3)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_without_a_terminal_the_bar_is_written_once(capsys):
    with progress_bar("score edges", 100) as advance:
        for _ in range(100):
            advance(1)
    assert capsys.readouterr().err.count("score edges") == 1


def test_a_bar_that_is_cut_short_says_how_far_it_came(capsys):
    with pytest.raises(KeyboardInterrupt), progress_bar("score edges", 10) as advance:
        advance(4)
        raise KeyboardInterrupt
    assert "4/10" in capsys.readouterr().err
