"""``wasme list``: what is stored here, or published to a registry."""

from __future__ import annotations

import logging
from datetime import UTC
from typing import TYPE_CHECKING, Any

from wasme.cli.grammar import command, exactly, option
from wasme.cli.options import auth_options, output_option, registry_map_option, store_option

if TYPE_CHECKING:
    from wasme.errors import StoreError
    from wasme.image.store import Entry

    _Image = tuple[Entry, str | None]
    """What the table shows of an image, and of a published one the module's digest where the registry tells it."""

log = logging.getLogger(__name__)

_LONGEST_TAG = 32


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
    images, problem = (_published(server, search, **connection), None) if remote else _stored(store)
    if problem and not images:
        raise problem
    images.sort(key=lambda image: (image[0].name, image[0].updated))
    if output == "json":
        emit_json([_plain(entry, module, remote) for entry, module in images])
    else:
        entries = [entry for entry, _ in images]
        emit(table(_cells(entries, remote, wide=wide, show_dir=show_dir and not remote, digests=digests)))
    if problem:
        raise problem  # a store that cannot be read hides no other, and is a failure all the same


def _stored(store: str) -> tuple[list[_Image], StoreError | None]:
    """What is here; an image that cannot be used is told on stderr and hides no other, a store neither."""
    from wasme.cli.stores import opened

    images: list[_Image] = []
    here = opened(store)
    entries, problem = here.listing()
    if not entries and not problem and (strange := here.stranger()):
        log.warning("the folder is no image store", extra={"fields": {"folder": str(here.path), "holds": strange}})
    for entry in entries:
        if entry.problem:
            image = f"{entry.name}:{entry.tag}" if entry.tag else entry.name
            log.warning("image cannot be used", extra={"fields": {"image": image, "problem": entry.problem}})
        else:
            images.append((entry, None))
    return images, problem


def _published(server: str, search: str, **connection: Any) -> list[_Image]:
    """What a registry tells of its images: its digests are the manifests', its sizes its own."""
    from wasme.cli import sessions
    from wasme.image.store import Entry
    from wasme.registry.endpoint import default_server
    from wasme.registry.search import published

    with sessions.opened(**connection) as session:
        images = published(session, server or default_server(), search)
    return [
        (Entry(found.name, found.tag, found.size, found.digest, found.digest, found.updated, ""), found.module_digest)
        for found in images
    ]


def _cells(entries: list[Entry], remote: bool, *, wide: bool, show_dir: bool, digests: bool) -> list[list[str]]:
    """The table's cells, its head first."""
    from wasme.cli.output import human_size, rfc822

    zone = UTC if remote else None  # None is the local zone, with the name it has at that time of the year
    manifest, directory = ["MANIFEST"] if digests else [], ["DIRECTORY"] if show_dir else []
    cells = [["NAME", "TAG", "SIZE", "SHA", *manifest, "UPDATED", *directory]]
    for entry in entries:
        tag = entry.tag
        if len(tag) > _LONGEST_TAG and not wide:
            tag = tag.removeprefix("sha256:")[:_LONGEST_TAG] + "..."
        manifest = [entry.manifest_digest] if digests else []
        directory = [entry.directory] if show_dir else []
        sha = entry.digest.partition(":")[2][:8]
        when = rfc822(entry.updated.astimezone(zone))
        cells.append([entry.name, tag, human_size(entry.size), sha, *manifest, when, *directory])
    return cells


def _plain(entry: Entry, module: str | None, remote: bool) -> dict[str, object]:
    """One row of the JSON array; of a published image, ``size`` and ``digest`` are what the registry tells."""
    plain: dict[str, object] = {
        "name": entry.name,
        "tag": entry.tag,
        "size": entry.size,
        "digest": entry.digest,
        "manifestDigest": entry.manifest_digest,
        "updated": entry.updated.astimezone(UTC if remote else None).isoformat(),
    }
    if remote:
        plain["moduleDigest"] = module
    return plain
