"""What a user sees of Envoy's log.

Why Envoy did not start is told once, as an error; so what it logs is held back until it answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from wasme.envoy.callouts import RefusedCalls
from wasme.envoy.log import Kind, Line

log = logging.getLogger(__name__)


class Screen:
    """Takes Envoy's log from the thread that reads it: shows what a user should see, and tells refused calls.

    Args:
        show: gets each line to be shown.
        hidden: the levels that are never shown.
        watch: finds refused calls; None does without.
        holds: hold lines back until `release`.
        container: what docker or podman says of their own work is shown at once.
    """

    def __init__(
        self,
        show: Callable[[str], None],
        hidden: frozenset[str],
        watch: RefusedCalls | None,
        *,
        holds: bool,
        container: bool,
    ) -> None:
        self._show = show
        self._hidden = hidden
        self._watch = watch
        self._container = container
        self._lock = threading.Lock()
        self._held: list[Line] | None = [] if holds else None

    def __call__(self, line: Line) -> None:
        """Take one line."""
        with self._lock:
            if line.level not in self._hidden and not ("debug" in self._hidden and line.is_noise):
                if self._held is None or self._is_progress(line):
                    self._show(line.raw)
                else:
                    self._held.append(line)
        told = self._watch.see(line) if self._watch else None
        if told:
            log.warning(told[0], extra={"fields": {"hint": told[1]}})

    def _is_progress(self, line: Line) -> bool:
        """Whether docker or podman tells of their own work, such as a pull; Envoy's lines come behind."""
        return self._container and not self._held and not line.level and not line.is_tools_complaint

    def release(self) -> None:
        """Show what was held back, and from now on each line as it comes."""
        self._drop(lambda _line: True)

    def settle(self, kind: Kind) -> None:
        """Envoy ended by itself: show what its error leaves untold.

        Args:
            kind: what the error is about, which is the whole of it unless "" or the filter's own doing.
        """
        if kind == "":
            self.release()
        else:
            self._drop(lambda line: kind == "filter" and line.is_filters)

    def _drop(self, shown: Callable[[Line], bool]) -> None:
        with self._lock:
            for line in self._held or ():
                if shown(line):
                    self._show(line.raw)
            self._held = None
