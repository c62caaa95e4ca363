"""``wasme list``: what is stored here, or published to a registry."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, NamedTuple

from wasme.cli.grammar import command, exactly, option
from wasme.cli.options import auth_options, output_option, registry_map_option, store_option

log = logging.getLogger(__name__)

_LONGEST_TAG = 32


class _Row(NamedTuple):
    """One image, wherever it is.

    Attributes:
        digest: what the column SHA shows: the module's digest here, the manifest's in a registry.
        updated: in the zone it is shown in.
    """

    name: str
    tag: str
    size: int
    digest: str
    manifest_digest: str
    updated: datetime
    directory: str = ""
    module_digest: str | None = None


@command(
    "list",
    use="list",
    args=exactly(0),
    help="List Envoy WASM Filters stored locally or published to a registry.\n\n"
    "SHA is the module's digest for local images, and the manifest's for published ones; --digests shows the "
    "manifest's in full for both.",
    examples="wasme list --published --search auth",
)
@option("--published", kind="bool", help="list what a registry has, instead of what is stored here")
@option("--wide", "-w", kind="bool", help="show tags in full length")
@option("--show-dir", "-d", kind="bool", help="show where local images lie; not for published ones")
@option("--digests", kind="bool", help="show the manifests' digests, which `push` prints and `name@digest` takes")
@option(
    "--server",
    "-s",
    help="the registry to list with --published; the default is $WASM_IMAGE_REGISTRY, else webassemblyhub.io",
)
@option("--search", help="list published images that match this text")
@auth_options
@store_option
@registry_map_option
@output_option
def list_images(
    args: tuple[str, ...],  # noqa: ARG001
    published: bool,
    wide: bool,
    show_dir: bool,
    digests: bool,
    server: str,
    search: str,
    store: str,
    output: str,
    **connection: Any,
) -> None:
    """Print images by name, each name's by age."""
    from wasme.cli.output import emit, emit_json, table

    remote = published or bool(search)
    rows = _published(server, search, **connection) if remote else _stored(store)
    rows.sort(key=lambda row: (row.name, row.updated))
    if output == "json":
        emit_json([_plain(row, remote) for row in rows])
    else:
        emit(table(_cells(rows, wide=wide, show_dir=show_dir and not remote, digests=digests)))


def _stored(store: str) -> list[_Row]:
    """What is here; an image that cannot be used is told on stderr and hides no other."""
    from wasme.cli.stores import opened

    rows = []
    for entry in opened(store).entries():
        if entry.problem:
            image = f"{entry.name}:{entry.tag}" if entry.tag else entry.name
            log.warning("image cannot be used", extra={"fields": {"image": image, "problem": entry.problem}})
            continue
        rows.append(
            _Row(
                name=entry.name,
                tag=entry.tag,
                size=entry.size,
                digest=entry.digest,
                manifest_digest=entry.manifest_digest,
                updated=entry.updated.astimezone(),
                directory=str(entry.directory),
            )
        )
    return rows


def _published(server: str, search: str, **connection: Any) -> list[_Row]:
    """What a registry tells of its images."""
    from wasme.cli import sessions
    from wasme.registry.endpoint import default_server
    from wasme.registry.search import published

    with sessions.opened(**connection) as session:
        images = published(session, server or default_server(), search)
    return [
        _Row(
            name=found.name,
            tag=found.tag,
            size=found.size,
            digest=found.digest,
            manifest_digest=found.digest,
            updated=found.updated.astimezone(UTC),
            module_digest=found.module_digest,
        )
        for found in images
    ]


def _cells(rows: list[_Row], *, wide: bool, show_dir: bool, digests: bool) -> list[list[str]]:
    """The table's cells, its head first."""
    from wasme.cli.output import human_size, rfc822

    manifest, directory = ["MANIFEST"] if digests else [], ["DIRECTORY"] if show_dir else []
    cells = [["NAME", "TAG", "SIZE", "SHA", *manifest, "UPDATED", *directory]]
    for row in rows:
        tag = (
            row.tag if wide or len(row.tag) <= _LONGEST_TAG else row.tag.removeprefix("sha256:")[:_LONGEST_TAG] + "..."
        )
        manifest = [row.manifest_digest] if digests else []
        directory = [row.directory] if show_dir else []
        sha = row.digest.partition(":")[2][:8]
        cells.append([row.name, tag, human_size(row.size), sha, *manifest, rfc822(row.updated), *directory])
    return cells


def _plain(row: _Row, remote: bool) -> dict[str, object]:
    """One row of the JSON array; of a published image, ``size`` and ``digest`` are what the registry tells."""
    plain: dict[str, object] = {
        "name": row.name,
        "tag": row.tag,
        "size": row.size,
        "digest": row.digest,
        "manifestDigest": row.manifest_digest,
        "updated": row.updated.isoformat(),
    }
    if remote:
        plain["moduleDigest"] = row.module_digest
    return plain
