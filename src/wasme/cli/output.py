"""Results on stdout: tables as the original laid them out, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from datetime import datetime

    from wasme.image.descriptor import Descriptor
    from wasme.image.reference import Reference

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def emit(text: str) -> None:
    """Print one result; a reader that has gone away (``| head``) is no error."""
    click.echo(text)


def emit_json(value: Any) -> None:
    """Print ``value`` (plain values or msgspec Structs) as indented JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def emit_objects(
    objects: Sequence[Mapping[str, Any]], output: str, deleted: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Print Kubernetes objects, fit for ``kubectl apply -f -``.

    Args:
        objects: what there is to be.
        output: ``json`` for one object of kind List; anything else for YAML documents.
        deleted: objects that would go: a key of the List beside ``items``, comments in YAML, neither of which kubectl
            reads. None where nothing ever does.
    """
    gone = [{"apiVersion": each["apiVersion"], "kind": each["kind"], "metadata": _name(each)} for each in deleted or ()]
    if output == "json":
        told = {} if deleted is None else {"deleted": gone}
        emit_json({"apiVersion": "v1", "kind": "List", "items": list(objects), **told})
        return
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    comments = [f"# deleted: {each['kind']} {'/'.join(reversed(each['metadata'].values()))}" for each in gone]
    text = yaml.dump_all(objects, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120).rstrip("\n")
    click.echo("\n".join([*comments, *([text] if text or not comments else [])]))


def _name(obj: Mapping[str, Any]) -> dict[str, str]:
    return {key: obj["metadata"][key] for key in ("name", "namespace") if obj["metadata"].get(key)}


def emit_image(reference: Reference, module: Descriptor, manifest: Descriptor, layout: str) -> None:
    """Print what push and pull moved, as JSON; ``digest`` and ``size`` (bytes) are the module's."""
    emit_json(
        {
            "image": str(reference),
            "digest": module.digest,
            "manifestDigest": manifest.digest,
            "size": module.size,
            "layout": layout,
        }
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out as Go's tabwriter did: columns one wider than their widest cell, the last unpadded."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) + 1 for column in range(len(rows[0]) - 1)]
    lines = ["".join(f"{cell:<{size}}" for cell, size in zip(row[:-1], widths, strict=True)) + row[-1] for row in rows]
    return "\n".join(lines)


def human_size(size: int) -> str:
    """Bytes in decimal SI units as the original shows them: ``999 B``, ``12.6 kB``, ``1.0 MB``."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} EB"


def rfc822(moment: datetime) -> str:
    """A time as the original shows it, in the zone it carries: ``28 Aug 21 13:58 CST``."""
    month = _MONTHS[moment.month - 1]  # in English, whatever the locale
    clock = f"{moment.hour:02d}:{moment.minute:02d}"
    return f"{moment.day:02d} {month} {moment.year % 100:02d} {clock} {moment.tzname() or 'UTC'}"
