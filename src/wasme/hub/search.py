"""Search over tags: one question, one answer with everything a list shows.

A query is words; each must be found in a tag's repository, name or annotations, as the beginning of a word or, from
three letters on, anywhere. Results come by repository and tag, and go on from a cursor, which is the last one shown.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

import msgspec

from wasme.hub.database import Database
from wasme.hub.exchange import Request, Response, json_response
from wasme.hub.refusal import Refusal

_DEFAULT_PAGE = 500
_MAX_PAGE = 5000
_MAX_QUERY = 200
_MAX_WORDS = 8


class Result(msgspec.Struct, rename="camel", omit_defaults=True):
    """One tag as search tells it: ``size`` in bytes as the hub counts, ``updated`` in RFC 3339."""

    name: str
    tag: str
    size: int
    digest: str
    updated: str
    module_digest: str | None = None


class Page(msgspec.Struct, omit_defaults=True):
    """One answer; ``next`` is the cursor of the following one."""

    results: list[Result]
    next: str | None = None


class Search:
    """Answers ``/api/v1/search``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def answer(self, request: Request) -> Response:
        """``?q=&n=&cursor=``; every tag for an empty q.

        Raises:
            Refusal: 400 for a cursor that is none of ours.
        """
        size = max(1, min(request.number("n") or _DEFAULT_PAGE, _MAX_PAGE))
        return json_response(self.find(request.parameter("q") or "", size, request.parameter("cursor")))

    def find(self, query: str, size: int, cursor: str | None = None) -> Page:
        """At most ``size`` tags that match.

        Raises:
            Refusal: 400 for a cursor that is none of ours.
        """
        repository, tag = _position(cursor)
        matching, parameters = _matching(query)
        rows = self._database.connection.execute(
            f"""SELECT r.name, t.name, m.image_size, m.digest, m.module_digest, t.updated
                FROM tags t JOIN repositories r ON r.id = t.repository_id JOIN manifests m ON m.id = t.manifest_id
                WHERE (r.name, t.name) > (?, ?) {matching} ORDER BY r.name, t.name LIMIT ?""",  # noqa: S608 - constants
            (repository, tag, *parameters, size + 1),
        ).fetchall()
        results = [
            Result(name, tag, image_size, digest, rfc3339(updated), module)
            for name, tag, image_size, digest, module, updated in rows[:size]
        ]
        return Page(results, _cursor(results[-1]) if len(rows) > size else None)


def _matching(query: str) -> tuple[str, list[Any]]:
    """The condition for a query and its parameters; nothing of the query becomes SQL or FTS5 syntax."""
    words = [word for word in query.replace("\0", " ").split()[:_MAX_WORDS] if any(map(str.isalnum, word))]
    if not words:
        return ("", []) if not query.strip() else ("AND 0", [])
    quoted = ['"{}"'.format(word[:_MAX_QUERY].replace('"', '""')) for word in words]
    condition = "AND (t.id IN (SELECT rowid FROM tag_words WHERE tag_words MATCH ?)"
    parameters: list[Any] = [" AND ".join(f"{word} *" for word in quoted)]
    if all(len(word) >= 3 for word in words):
        condition += " OR t.id IN (SELECT rowid FROM tag_trigrams WHERE tag_trigrams MATCH ?)"
        parameters.append(" AND ".join(quoted))
    return condition + ")", parameters


def rfc3339(moment: int) -> str:
    """Milliseconds since 1970 as ``2026-01-31T12:00:00.000Z``."""
    text = datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _cursor(last: Result) -> str:
    return base64.urlsafe_b64encode(f"{last.name} {last.tag}".encode()).decode()


def _position(cursor: str | None) -> tuple[str, str]:
    if not cursor:
        return "", ""
    try:
        name, space, tag = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        if not space:
            raise ValueError
    except (ValueError, binascii.Error):
        raise Refusal(400, "UNSUPPORTED", "the cursor is none of this hub's") from None
    return name, tag
