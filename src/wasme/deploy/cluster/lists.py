"""Lists of a kind, page by page; of whole objects, or of their metadata alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from wasme.deploy.cluster import depth
from wasme.deploy.cluster.answers import NOT_ONE, Answer, Asking
from wasme.deploy.cluster.kinds import Kind
from wasme.deploy.cluster.refusals import expired
from wasme.deploy.cluster.wire import Ask
from wasme.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 500
MOST = 1_000_000  # objects of one list; more is a server that lies

Object = dict[str, Any]

# What a server that knows no such form gives is the whole, which is as good
# (https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches).
_AS = "application/json;as={};g=meta.k8s.io;v=v1,application/json"
METADATA_LIST = _AS.format("PartialObjectMetadataList")
METADATA = _AS.format("PartialObjectMetadata")


@dataclass(frozen=True, slots=True)
class Listing:
    """A list at one moment: the place from which a watch goes on without a gap."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        items: decoded one by one as they are iterated, so a page of large objects is never in memory whole.
        resource_version: of the whole list; the same on all its pages.
        first: the list begins here; again where the server has forgotten the moment of the pages before.
    """

    items: Iterator[Object]
    resource_version: str
    first: bool


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str | None = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw] | None


_DECODER = msgspec.json.Decoder(_List)


def pages(
    send: Callable[[Ask], Answer],
    refuse: Callable[[Answer], None],
    kind: Kind,
    path: str,
    asking: Asking,
    selectors: Mapping[str, str],
    *,
    metadata: bool,
    limit: int,
) -> Iterator[Page]:
    """The pages of a list; see ``Reader.pages``.

    Args:
        send: sends a request and gives its answer.
        refuse: raises the error of an answer that is not 2xx.
    """
    token, started, count, many, first = "", 0, 0, 0, True
    accept = METADATA_LIST if metadata else ""
    while True:
        query = {**selectors, "limit": str(limit), **({"continue": token} if token else {})}
        answer = send(Ask("GET", path, asking, query, accept=accept))
        if expired(answer) and token and started < 5:
            # The server has forgotten the moment that this list was of: begin again, with today's.
            token, started, count, first = "", started + 1, 0, True
            continue
        refuse(answer)
        found = _page(answer, asking)
        items = found.items or []
        yield Page(_objects(items, kind, asking), found.metadata.resource_version, first)
        first = False
        count += len(items)
        many += 1
        last, token = token, found.metadata.continue_ or ""
        if not token:
            return
        # A page may be empty and not the last: a selector left nothing of it.
        if token == last or count > MOST or many > 20 + MOST // 50:
            raise ClusterError(f"{asking}: {asking.server} sends a list without an end", hint=NOT_ONE)


def _page(answer: Answer, asking: Asking) -> _List:
    try:
        try:
            return _DECODER.decode(answer.body)
        except RecursionError:
            return _DECODER.decode(depth.cut(answer.body, depth.LEVELS + 2))
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer.object(asking)  # says what it looks like where it is no JSON object
        raise _no_list(asking) from None


def _objects(items: list[msgspec.Raw], kind: Kind, asking: Asking) -> Iterator[Object]:
    for raw in items:
        try:
            item = depth.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            item = None
        if not is_object(item):
            raise _no_list(asking)
        named(item, kind)
        yield item


def named(item: Object, kind: Kind) -> None:
    """Items of a list do not say what they are, and metadata alone says only that it is that; everything that takes an
    object wants to know."""
    if item.get("kind") == "PartialObjectMetadata":
        item["apiVersion"], item["kind"] = kind.api_version, kind.kind
    item.setdefault("apiVersion", kind.api_version)
    item.setdefault("kind", kind.kind)


def is_object(found: object) -> bool:
    """Whether something is an object of a Kubernetes API: it has metadata."""
    return isinstance(found, dict) and isinstance(found.get("metadata"), dict)


def _no_list(asking: Asking) -> ClusterError:
    return ClusterError(f"{asking}: {asking.server} answered an object that is no list", hint=NOT_ONE)
