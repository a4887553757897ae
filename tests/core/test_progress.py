from edge_glass.core.progress import progress_bar


def test_no_bar_where_nobody_looks(capfd):
    with progress_bar("[brackets] are text", 3) as advance:
        advance(1)
        advance(2)
    assert capfd.readouterr() == ("", "")
