"""The pages in docs/ are made from the code, and up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]


def test_the_reference_pages_are_what_the_code_says() -> None:
    """docs/commands.md and docs/errors.md equal what `make docs` would write."""
    done = subprocess.run([sys.executable, _ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def test_the_error_tree_is_drawn_as_it_is() -> None:
    """Every error class of errors.py stands in the drawing at its top, below its parent."""
    from wasme import errors

    drawing = (errors.__doc__ or "").splitlines()
    depth = {}
    for line in drawing:
        name = line.lstrip(" │├└─").partition(" ")[0]
        depth[name] = len(line) - len(line.lstrip(" │├└─"))
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    assert len(classes) > 20
    for each in classes:
        assert each.__name__ in depth, f"{each.__name__} is not drawn"
        parent = each.__mro__[1].__name__
        if parent in depth:
            assert depth[each.__name__] == depth[parent] + 4, f"{each.__name__} is not drawn below {parent}"
