"""Tell a user that a filter's HTTP call was refused, and for which cluster.

When a filter calls out to a cluster that Envoy does not have, it gets a bare status code, and Envoy logs nothing. What
Envoy can log is each host call with its arguments (``wasm:trace``). The first two are where in the module's memory the
cluster's name stands; a name that the module holds as a constant is found there. A module that builds its name while
running keeps at least its length, and the texts of that length which the module and its configuration hold are told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from wasme.envoy.log import Line

HOST_CALL = "proxy_http_call"
_CALL = re.compile(rf"\[vm->host\] env\.{HOST_CALL}\((\d+), (\d+),")
_RETURN = re.compile(rf"\[vm<-host\] env\.{HOST_CALL} return: (\d+)")
_BAD_ARGUMENT = 2
_LONGEST_NAME = 1000
_MOST_CANDIDATES = 3
_NAME = re.compile(r"[A-Za-z0-9][\w.|:/-]*")

Constants = Callable[[int, int], bytes | None]


class RefusedCalls:
    """Watches Envoy's log for refused calls.

    Args:
        constants: reads what the module has at an address of its memory: (address, length) -> bytes or None.
        texts: where names may stand that are no constants: the module's data, the filter's configuration.
        clusters: the names that Envoy knows.
    """

    def __init__(self, constants: Constants, texts: Iterable[bytes], clusters: Iterable[str]) -> None:
        self._constants = constants
        self._texts = list(texts)
        self._clusters = sorted(clusters)
        self._pending: list[tuple[int, int]] = []
        self._told: set[str] = set()

    def see(self, line: Line) -> tuple[str, str] | None:
        """Take one line of the log.

        Returns:
            What was refused, and what to do; None if nothing was, or if it has been told already.
        """
        if HOST_CALL not in line.text:
            return None
        call = _CALL.search(line.text)
        if call:
            self._pending.append((int(call[1]), int(call[2])))
            return None
        returned = _RETURN.search(line.text)
        if not returned or not self._pending:
            return None
        address, length = self._pending.pop()
        if int(returned[1]) != _BAD_ARGUMENT:
            return None
        told = self._explain(address, length)
        if told[0] in self._told:
            return None
        self._told.add(told[0])
        return told

    def _explain(self, address: int, length: int) -> tuple[str, str]:
        known = ", ".join(self._clusters) or "none"
        name = self._name_at(address, length)
        if name in self._clusters:
            return (
                f"the filter's HTTP call to the cluster {name!r} was refused",
                "it must carry the headers :method, :path and :authority",
            )
        if name is not None:
            return (
                f"the filter called out to the cluster {name!r}, which Envoy does not have (it has: {known})",
                f"add --cluster '{name}=HOST:PORT'",
            )
        guesses = self._guesses(length)
        if any(guess in self._clusters for guess in guesses):
            return (
                "a filter's HTTP call was refused",
                f"either it lacks the header :method, :path or :authority, or its cluster is unknown (known: {known})",
            )
        perhaps = f", probably {' or '.join(map(repr, guesses))}" if guesses else ""
        example = guesses[0] if len(guesses) == 1 else "NAME"
        return (
            f"the filter called out to a cluster that Envoy does not have (it has: {known}); "
            f"the name has {length} letters{perhaps}",
            f"add --cluster '{example}=HOST:PORT'",
        )

    def _name_at(self, address: int, length: int) -> str | None:
        if not 0 < length <= _LONGEST_NAME:
            return None
        found = self._constants(address, length)
        if found is None:
            return None
        text = found.decode("utf-8", "replace")
        return text if text.isprintable() else None

    def _guesses(self, length: int) -> list[str]:
        """Texts of that length that look like a cluster's name, most telling first."""
        if not 0 < length <= _LONGEST_NAME:
            return []
        found: dict[str, None] = {}
        for text in self._texts:
            for name in _names(text, length):
                found.setdefault(name)
        telling = sorted(found, key=lambda name: -sum(name.count(sign) for sign in "|.-_:"))
        return telling[:_MOST_CANDIDATES]


def _names(text: bytes, length: int) -> Iterable[str]:
    """In UTF-8, between bytes that no name has; in UTF-16, as AssemblyScript keeps strings: behind their size."""
    head = (2 * length).to_bytes(4, "little")
    at = text.find(head)
    while at >= 0:
        wide = text[at + 4 : at + 4 + 2 * length]
        if len(wide) == 2 * length and not any(wide[1::2]):
            name = wide[::2].decode("latin-1")
            if _NAME.fullmatch(name):
                yield name
        at = text.find(head, at + 1)
    for match in re.finditer(rb"[A-Za-z0-9][\w.|:/-]*", text):
        if len(match[0]) == length:
            yield match[0].decode("ascii")
