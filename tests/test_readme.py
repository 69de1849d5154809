"""The README and the model card say what the result files say."""

from pathlib import Path

import pytest

from benchmarks.table import DOCUMENTS, with_tables

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_the_tables_are_made_from_the_committed_results(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert with_tables(text, document, ROOT / "benchmarks" / "results") == text
