from aejax.evaluation import drawing


def test_a_table_has_a_cell_for_each_of_its_head():
    shown = drawing.markdown(["", "count"], [["first", 3], ["second", "-"]])
    assert shown.splitlines() == ["| | count |", "|---|---|", "| first | 3 |", "| second | - |"]


def test_a_figure_stands_with_its_spread_where_there_is_one():
    assert drawing.with_spread(1234.5, 0.25, ",.1f") == "1,234.5 ± 0.2"
    assert drawing.with_spread(1.0, 0.0, ".2f") == "1.00 ± 0.00"
    assert drawing.with_spread(1.0, None, ".2f") == "1.00"
    assert drawing.with_spread(None, None, ".2f") == "-"
