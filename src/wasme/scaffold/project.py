"""A project folder for a new filter: what is asked for, rendered and written."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wasme.scaffold import bases, write
from wasme.scaffold.render import default_example, render
from wasme.wasm import proxies

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Created:
    """What was made.

    Attributes:
        directory: the project's absolute path.
        language: the filter's language.
        example: the example it began from.
        files: the paths in it, sorted.
        size: all their bytes.
    """

    directory: Path
    language: str
    example: str
    files: tuple[str, ...]
    size: int


def create(
    destination: Path,
    language: str,
    platform: str = "",
    platform_version: str = "",
    example: str | None = None,
    *,
    base: bases.Base | None = None,
    force: bool = False,
) -> Created:
    """Make a project.

    Args:
        destination: its folder; made with its parents where it does not exist.
        language: ``cpp``, ``rust``, ``assemblyscript`` or ``tinygo``.
        platform: ``istio``, ``gloo``, ``envoy``, ``envoy-gateway``; "" for what is current.
        platform_version: such as ``1.9.x``.
        example: the filter to begin with; None for the original's: ``auth`` in Rust, else ``add-header``.
        base: the template, where it is known already: for all of its platforms, or for ``platform``'s versions.
        force: overwrite files that are there.

    Raises:
        ScaffoldError: an unknown combination, a file in the way, a link that leads elsewhere.
        OSError: nothing can be written there.
    """
    is_chosen = base is not None
    typed = (f"{platform}:{platform_version}",) if platform else ()
    base = base or bases.find(language, platform, platform_version)
    targets = base.targets(platform) if is_chosen else typed
    chosen = example or default_example(base.language)
    content = render(base, chosen)
    # The folder may be a link of the user's own making; what is inside it may not.
    directory = Path(os.path.realpath(destination))
    write.check(directory, content, force=force)
    _warn(base, targets, is_chosen=is_chosen)
    size = sum(map(len, content.values()))
    log.info("extracting %d bytes to %s", size, directory)
    write.write(directory, content, force=force)
    return Created(directory, base.language, chosen, tuple(sorted(content)), size)


def _warn(base: bases.Base, targets: Sequence[str], *, is_chosen: bool) -> None:
    """Say so where the proxies of platforms, such as ``istio:1.8.x``, lack what the base's modules need."""
    answers = {target: proxies.can_run(base.needs, *target.split(":")) for target in targets}
    refused = {target: answer for target, answer in answers.items() if answer.runs != "yes"}
    if not refused:
        return
    first = next(iter(refused.values()))
    if is_chosen:
        told = f"the filter runs in {base.runs_in} only, since it needs {base.needs.because}"
    elif first.runs == "no":
        told = f"the filter will not run there: {first.reason}"
    else:
        told = f"whether the filter will run there is not known: {first.reason}"
    if base.platforms:
        told += "; abiVersions in runtime-config.json names the platform all the same, for whoever checks that list"
    log.warning("%s", told, extra={"fields": {"platform": ", ".join(refused)}})
