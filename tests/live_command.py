"""``rtseg-live`` as a command whose errors are to be one line each."""

from rtseg.cli.live import main

USAGE, FAILURE = 2, 1


def run_live(capfd, network, *arguments, window=False):
    """Run ``rtseg-live``, headless unless a window is asked for; gives status and error lines."""
    flags = [] if window else ["--headless"]
    try:
        status = main([*flags, "--network", str(network), *map(str, arguments)])
    except SystemExit as end:
        status = end.code
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("rtseg-live: ") for line in lines), lines
    return status, lines


def one_line(result, status, *words):
    """Check that a run ended with one line, that has these words, and the status."""
    found, lines = result
    assert found == status, lines
    assert len(lines) == 1, lines
    for word in words:
        assert str(word) in lines[0]
