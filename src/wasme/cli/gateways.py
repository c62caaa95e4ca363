"""What the commands for gateways print: the changed objects of a dry run, or what was done to which."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wasme.cli.output import emit_json, emit_objects

if TYPE_CHECKING:
    from wasme.deploy.gateways import Change

log = logging.getLogger(__name__)


def tell_configuration(text: str) -> None:
    """Show the exact bytes that the filter will get, if it gets any."""
    from wasme.deploy.configuration import shown

    if text:
        log.info("configuration of the filter", extra={"fields": {"config": shown(text)}})


def emit(changes: Sequence[Change], filter_id: str, dry_run: str, output: str, *, only_changed: bool = False) -> None:
    """Print what was changed, or would be.

    Args:
        changes: what became of each object.
        filter_id: the filter's.
        dry_run: print the objects, fit to commit.
        output: ``text`` prints what was done on stderr only, where the log has it already.
        only_changed: of a dry run, leave out objects that stay as they are.
    """
    if dry_run:
        shown = [each for each in changes if each.action != "deleted" and not (only_changed and _same(each))]
        for each in changes:
            if each.action == "deleted":
                log.info("would delete %s", each.object["kind"], extra={"fields": {"name": _name(each)}})
        gone = [each.object for each in changes if each.action == "deleted"] if only_changed else None
        emit_objects([each.committable for each in shown], output, gone)
    elif output != "text":
        told: list[dict[str, Any]] = [
            {
                "action": each.action,
                "kind": each.object["kind"],
                "namespace": each.object["metadata"].get("namespace", ""),
                "name": each.object["metadata"]["name"],
            }
            for each in changes
        ]
        if output == "json":
            emit_json({"id": filter_id, "changes": told})
        else:
            emit_objects([{"id": filter_id, "changes": told}], output)


def _same(change: Change) -> bool:
    return change.action == "unchanged"


def _name(change: Change) -> str:
    meta = change.object["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"
