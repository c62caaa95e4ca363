"""What a hub has published: one question to ours, several to a Harbor of version 1 (which webassemblyhub.io was)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

import msgspec

from wasme.errors import Forbidden, NotARegistry, RegistryError, RemoteNotFound, Unauthorized
from wasme.registry import guards
from wasme.registry.origin import with_query
from wasme.registry.session import Session
from wasme.registry.transport import Request, Response

log = logging.getLogger(__name__)

_LARGEST = 16 * 1024 * 1024
_MOST_PAGES = 1000
_PAGE = 100
_T = TypeVar("_T")


class Published(msgspec.Struct, frozen=True, rename="camel"):
    """One published tag.

    Attributes:
        name: ``SERVER/REPOSITORY``, the server as typed.
        tag: its tag.
        size: bytes, as the hub counts them.
        digest: the manifest's.
        module_digest: the module's; None where the hub does not tell.
        updated: when it was pushed.
    """

    name: str
    tag: str
    size: int
    digest: str
    module_digest: str | None
    updated: datetime


class _Result(msgspec.Struct, rename="camel"):
    name: str
    tag: str = ""
    size: int = 0
    digest: str = ""
    module_digest: str | None = None
    updated: str = ""


class _Page(msgspec.Struct):
    results: list[_Result]
    next: str | None = None


class _Project(msgspec.Struct):
    project_id: int
    repo_count: int = 0


class _Named(msgspec.Struct):
    name: str


class _Found(msgspec.Struct):
    repository_name: str


class _Search(msgspec.Struct):
    repository: list[_Found] | None = None


class _Tag(msgspec.Struct):
    name: str
    digest: str = ""
    size: int = 0
    push_time: str = ""


def published(session: Session, server: str, query: str = "") -> list[Published]:
    """Everything a hub has published that matches.

    Args:
        session: how to reach it.
        server: its name as typed.
        query: words to look for; "" lists everything.

    Raises:
        RegistryError: it cannot be asked, or knows no search.
    """
    what = f"searching {server}"
    prefix = session.endpoint(server).prefix
    found = _ours(session, server, query, what)
    if found is None:
        found = _harbor(session, server, query, what)
    shown = server.partition("://")[2] or server
    return [
        Published(
            f"{shown}/{guards.printable(each.name[len(prefix) :])}",
            guards.printable(each.tag),
            each.size,
            guards.printable(each.digest),
            guards.printable(each.module_digest) if each.module_digest else None,
            _time(each.updated),
        )
        for each in found
        if each.name.startswith(prefix)
    ]


def _ours(session: Session, server: str, query: str, what: str) -> list[_Result] | None:
    """Our hub's way; None where the server does not know it (Harbor gives its page for paths it does not know)."""
    found: list[_Result] = []
    asked: list[tuple[str, str]] = [("q", query)]
    for _ in range(_MOST_PAGES):
        request = Request("GET", with_query("/api/v1/search", *asked))
        try:
            response = session.call(server, request, what=what, expect=(200,))
        except (NotARegistry, RemoteNotFound, Unauthorized, Forbidden):
            if found:
                raise
            return None
        if not (response.header("Content-Type") or "").startswith("application/json"):
            response.drain()
            return None
        page = _read(response, _Page, what)
        found.extend(page.results)
        if not page.next:
            break
        asked = [("q", query), ("cursor", page.next)]
    return found


def _harbor(session: Session, server: str, query: str, what: str) -> list[_Result]:
    try:
        names = list(dict.fromkeys(_harbor_names(session, server, query, what)))
    except (RemoteNotFound, NotARegistry):
        if not _is_registry(session, server, what):
            raise
        raise NotARegistry(
            f"{session.endpoint(server).origin.netloc} is a registry without the hub's search API",
            hint="its images can be pulled by name; give a hub with --server",
        ) from None

    def tags(name: str) -> list[_Result]:
        path = f"/api/repositories/{quote(name, safe='/')}/tags?detail=true"
        try:
            rows = _read(session.call(server, Request("GET", path), what=what, expect=(200,)), list[_Tag], what)
        except RegistryError as error:
            fields = {"repository": guards.printable(name), "reason": error.message}
            log.warning("repository passed over", extra={"fields": fields})
            return []
        return [_Result(name, row.name, row.size, row.digest, None, row.push_time) for row in rows]

    pool = ThreadPoolExecutor(8, thread_name_prefix="search")
    try:
        return [row for rows in pool.map(tags, names) for row in rows]
    finally:
        # All are done by now, or it was Ctrl-C: then closing the session ends those that still wait for an answer.
        pool.shutdown(wait=False, cancel_futures=True)


def _is_registry(session: Session, server: str, what: str) -> bool:
    """Whether an OCI registry's door is there, open or not."""
    try:
        response = session.call(server, Request("GET", "/v2/"), what=what, expect=(200, 401), credentials=False)
    except RegistryError:
        return False
    response.drain()
    return True


def _harbor_names(session: Session, server: str, query: str, what: str) -> Iterator[str]:
    if query:
        url = with_query("/api/search", ("q", query))
        answer = _read(session.call(server, Request("GET", url), what=what, expect=(200,)), _Search, what)
        yield from (each.repository_name for each in answer.repository or [])
        return
    for project in _pages(session, server, "/api/projects", _Project, what):
        if project.repo_count:
            url = with_query("/api/repositories", ("project_id", str(project.project_id)))
            try:
                yield from [each.name for each in _pages(session, server, url, _Named, what)]
            except RegistryError as error:
                fields = {"project": project.project_id, "reason": error.message}
                log.warning("project passed over", extra={"fields": fields})


def _pages(session: Session, server: str, url: str, kind: type[_T], what: str) -> Iterator[_T]:
    """Every page of a list; a server that knows no pages sends the same one again, which ends it."""
    before: list[_T] = []
    for page in range(1, _MOST_PAGES):
        asked = with_query(url, ("page", str(page)), ("page_size", str(_PAGE)))
        rows = _read(session.call(server, Request("GET", asked), what=what, expect=(200,)), list[kind], what)  # type: ignore[valid-type]
        if not rows or rows == before:
            return
        yield from rows
        if len(rows) < _PAGE:
            return
        before = rows


def _read(response: Response, kind: type[_T], what: str) -> _T:
    with response:
        body = response.read_all(_LARGEST)
    guards.check_size(len(body), _LARGEST, "the hub's answer")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotARegistry(
            f"{what}: the answer is no list of images", hint="is this a hub? other registries cannot be searched"
        ) from None


def _time(text: str) -> datetime:
    """The moment in UTC; 1970 for what is none, or one that no calendar in UTC has."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
