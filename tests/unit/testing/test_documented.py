"""docs/scenarios.md tells the truth about the grammar."""

from __future__ import annotations

import re
from pathlib import Path

from wasme.testing.grammar import parse

_PAGE = Path(__file__).parents[3] / "docs" / "scenarios.md"


def test_the_documented_file_of_scenarios_is_one() -> None:
    """The example of docs/scenarios.md is read, and says what its comments say."""
    found = re.search(r"```yaml\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found
    scenario = parse(found.group(1).encode(), _PAGE.name)
    assert (scenario.filter, scenario.root_id) == ("build/filter.wasm", "add_header")
    one, several, refused = scenario.tests
    assert len(one.steps) == 1
    assert [step.after for step in several.steps] == [0, 2.5]
    assert several.config == '{"requests":3}'
    assert refused.refused
