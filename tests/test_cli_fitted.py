"""A table cut to a screen: it fits, it keeps both ends, and what is cut shows that it is."""

from __future__ import annotations

import pytest

from submeter.cli.fitted import CELL_MIN, CUT, Fitted, fitted

GAP = 3


def wide(fits: Fitted) -> int:
    lines = [fits.columns, *fits.rows]
    return sum(max(map(len, column)) for column in zip(*lines, strict=True)) + GAP * (len(fits.columns) - 1)


def test_what_fits_stays_as_it_is() -> None:
    fits = fitted(["run", "calls"], [["chatdev/r-1", "12"]], width=80, gap=GAP)
    assert (fits.columns, fits.rows, fits.left_out) == (["run", "calls"], [["chatdev/r-1", "12"]], 0)


def test_the_longest_cell_is_cut_first_and_says_so() -> None:
    fits = fitted(["name", "error"], [["short", "x" * 200]], width=60, gap=GAP)
    assert fits.rows == [["short", "x" * 51 + CUT]]
    assert wide(fits) == 60


def test_columns_that_do_not_fit_are_left_out_from_the_middle() -> None:
    columns = [f"column_{number:02}" for number in range(40)]
    fits = fitted(columns, [[str(number) for number in range(40)]], width=80, gap=GAP)
    assert (fits.columns[0], fits.columns[-1]) == ("column_00", "column_39")
    assert fits.columns.count(CUT) == 1
    assert fits.left_out == 40 - (len(fits.columns) - 1)
    assert wide(fits) <= 80


@pytest.mark.parametrize("width", [1, 20, 30, 79, 80, 81, 120, 200, 500])
@pytest.mark.parametrize("count", [1, 2, 7, 57])
def test_a_table_fits_every_screen_that_has_room_for_one_cell(width: int, count: int) -> None:
    columns = [f"c{number}" for number in range(count)]
    fits = fitted(columns, [["y" * (number * 7 % 60) for number in range(count)]], width=width, gap=GAP)
    kept = len(fits.columns) - (CUT in fits.columns)
    assert kept + fits.left_out == count
    assert kept >= 1
    assert wide(fits) <= max(width, 2 * CELL_MIN)


def test_a_cell_of_several_lines_is_one_line() -> None:
    assert fitted(["a"], [["SELECT 1\n\tFROM x"]], width=80, gap=GAP).rows == [["SELECT 1 FROM x"]]


def test_an_answer_without_rows_has_its_columns() -> None:
    assert fitted(["a", "b"], [], width=80, gap=GAP).columns == ["a", "b"]
