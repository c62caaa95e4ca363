"""Fail if a test was skipped for a reason that nobody allowed.

Usage: skips.py JUNIT.XML ALLOWED; a line of ALLOWED is a regular expression for the reason, `#` begins a comment.
"""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree


def main() -> int:
    """Compare and tell."""
    report, allowed = sys.argv[1:3]
    lines = (line.partition("#")[0].strip() for line in Path(allowed).read_text().splitlines())
    patterns = [re.compile(line) for line in lines if line]
    tree = ElementTree.parse(report)
    tests = sum(1 for _ in tree.iter("testcase"))
    unexpected = 0
    for case in tree.iter("testcase"):
        for skip in case.iter("skipped"):
            reason = skip.get("message", "")
            if skip.get("type") == "pytest.xfail":
                continue  # it ran, and failed as its strict mark says that it does
            if not any(pattern.search(reason) for pattern in patterns):
                unexpected += 1
                print(f"skipped, and not allowed to be: {case.get('classname')}.{case.get('name')}: {reason}")
    print(f"{tests} tests, {unexpected} skipped without leave")
    return 1 if unexpected or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
