"""What a server answered, and the objects in it: JSON or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from wasme.deploy.cluster.depth import decode
from wasme.errors import ClusterError

NOT_ONE = "check the server's address in the kubeconfig, and any proxy on the way"


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked for, in the words of a message."""

    verb: str
    what: str
    server: str

    def __str__(self) -> str:
        return f"{self.verb} {self.what}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer.

    ``unsure``: an earlier try of the same request got no good answer, and the server may have carried it out.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    unsure: bool = False

    @property
    def ok(self) -> bool:
        """Whether the server did it."""
        return 200 <= self.status < 300

    def status_object(self) -> dict[str, Any]:
        """The ``Status`` of a refusal; empty where the server sent none."""
        try:
            found = decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return found if isinstance(found, dict) and found.get("kind") == "Status" else {}

    def object(self, asking: Asking) -> dict[str, Any]:
        """The object in an answer.

        Raises:
            ClusterError: the answer is no JSON object: HTML of a proxy, a cut answer.
        """
        try:
            found = decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = None
        if not isinstance(found, dict):
            raise ClusterError(f"{asking}: {asking.server} answered {self._looks()}", hint=NOT_ONE)
        return found

    def _looks(self) -> str:
        start = self.body[:200].lstrip().lower()
        if not start:
            return "nothing where a JSON object should be"
        if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
            return "a web page, not JSON: that is no Kubernetes API server, or something stands before it"
        if start.startswith((b"{", b"[")):
            return f"JSON that cannot be read, or was cut after {len(self.body)} bytes"
        return "something that is not JSON: that is no Kubernetes API server, or something stands before it"
