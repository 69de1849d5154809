"""The README says what the result files say."""

from pathlib import Path

import pytest

from benchmarks.table import with_tables

ROOT = Path(__file__).parent.parent


def test_the_tables_are_made_from_the_committed_results() -> None:
    results = ROOT / "benchmarks" / "results"
    if not results.is_dir():
        pytest.skip("no committed results beside these tests")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_tables(text, results) == text
