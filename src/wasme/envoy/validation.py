"""Envoy's own judgement: ``--mode validate`` loads, starts and configures every filter of a configuration, and ends."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wasme.envoy.binary import Binary
from wasme.envoy.log import FORMAT, Reason, decisive, parse
from wasme.envoy.process import death_with_parent
from wasme.errors import EnvoyError

_VERSION = re.compile(r"version: \w+/(\d+\.\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What Envoy said of a configuration.

    Attributes:
        accepted: whether it would run it.
        reason: why not; empty if it would.
        log: all that it wrote.
    """

    accepted: bool
    reason: Reason
    log: str


def validate(binary: Binary, bootstrap: dict[str, Any], timeout: float = 60.0) -> Judgement:
    """Let Envoy judge a bootstrap.

    Args:
        timeout: seconds after which it is ended, for a filter may loop for ever in its configuration; 0 is no limit.

    Raises:
        EnvoyError: it gave no answer in time, or cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="wasme-envoy-") as folder:
        path = Path(folder, "bootstrap.json")
        path.write_text(json.dumps(bootstrap))
        argv = [str(binary.path), "--mode", "validate", "-c", str(path), "--disable-hot-restart"]
        log_flags = ["-l", "warning", "--component-log-level", "wasm:info", "--log-format", FORMAT]
        try:
            done = subprocess.run(
                [*argv, *log_flags],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout or None,
                check=False,
                preexec_fn=death_with_parent(),
            )
        except subprocess.TimeoutExpired:
            raise EnvoyError(
                f"Envoy gave no judgement within {timeout:g} s", hint="does the filter loop when it is configured?"
            ) from None
        except OSError as error:
            raise EnvoyError(f"cannot run {binary.path}: {error.strerror or error}") from None
    log = done.stderr.decode("utf-8", "replace")
    reason = Reason("") if done.returncode == 0 else decisive([parse(line) for line in log.splitlines()])
    return Judgement(done.returncode == 0, reason, log)


def version(binary: Binary) -> str:
    """Its version, such as ``1.40.0``; "" where it does not tell."""
    try:
        done = subprocess.run([str(binary.path), "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = _VERSION.search(done.stdout.decode("utf-8", "replace"))
    return found[1] if found else ""
