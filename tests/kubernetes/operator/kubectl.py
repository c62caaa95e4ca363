"""kubectl as a user runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.kubernetes.cluster import programs
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until


class Kubectl:
    """Runs the real kubectl against the server.

    Args:
        plane: the server.
        cache: where kubectl remembers what is served; each instance asks anew.
    """

    def __init__(self, plane: ControlPlane, cache: Path) -> None:
        self._api = plane.api
        self._words = [str(programs.kubectl()), f"--kubeconfig={plane.kubeconfig}", f"--cache-dir={cache}"]

    def when_found(self, name: str) -> Kubectl:
        """This, when a resource of wasme.io can be found: the server names it some time after it serves its objects."""

        def named() -> bool:
            found = self._api.find("/apis/wasme.io/v1") or {"resources": []}
            return any(name in (each["name"], *each.get("shortNames", ())) for each in found["resources"])

        wait_until(named, 60, f"the server does not name {name}")
        return self

    def __call__(self, *words: str, given: object = None) -> str:
        """What it prints; ``given`` is written as YAML to its standard input.

        Raises:
            KubectlFailed: with what it says.
        """
        text = given if isinstance(given, str) or given is None else yaml.safe_dump(given)
        done = subprocess.run([*self._words, *words], input=text, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise KubectlFailed(done.stderr)
        return done.stdout


class KubectlFailed(Exception):
    """It ended with an error."""
