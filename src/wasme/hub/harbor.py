"""The five endpoints of Harbor 1.x that wasme 0.0.33 calls, so that the original binary works against this hub.

Real Harbor answers ten entries where no page is asked for, and the original never asks: it only ever saw the first
page. Here an answer without ``page_size`` is whole. With it, ``X-Total-Count`` and ``Link`` are Harbor's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from wasme.hub.accounts import User
from wasme.hub.database import Database
from wasme.hub.exchange import Headers, Request, Response, json_response
from wasme.hub.names import check_repository, namespace
from wasme.hub.refusal import name_unknown
from wasme.hub.repositories import Repositories
from wasme.hub.search import Search, rfc3339
from wasme.image.media_types import ABI_VERSION, RUNTIME_TYPE

_MAX_PAGE = 100
_MAX_FOUND = 5000
_ANNOTATIONS = (ABI_VERSION, RUNTIME_TYPE)


class Harbor:
    """Answers ``/api/users/current``, ``/api/projects``, ``/api/repositories…`` and ``/api/search``."""

    def __init__(self, database: Database, repositories: Repositories, search: Search) -> None:
        self._database = database
        self._repositories = repositories
        self._search = search

    @staticmethod
    def current_user(user: User) -> Response:
        """``/api/users/current``: what ``wasme login`` asks."""
        return json_response(
            {
                "user_id": user.id,
                "username": user.name,
                "email": user.email,
                "realname": user.realname,
                "deleted": False,
                "role_name": "",
                "role_id": 0,
                "sysadmin_flag": user.admin,
                "admin_role_in_auth": False,
                "creation_time": rfc3339(user.created),
                "update_time": rfc3339(user.updated),
            }
        )

    def projects(self, request: Request) -> Response:
        """``/api/projects``: name spaces that hold something."""
        rows = self._database.connection.execute(
            """SELECT n.id, n.name, n.created, count(DISTINCT r.id) FROM namespaces n
               JOIN repositories r ON r.namespace_id = n.id JOIN tags t ON t.repository_id = r.id
               WHERE n.name LIKE ? ESCAPE '\\' GROUP BY n.id ORDER BY n.name""",
            (_like(request.parameter("name")),),
        ).fetchall()
        found = [
            {
                "project_id": number,
                "name": name,
                "owner_name": name,
                "repo_count": count,
                "creation_time": rfc3339(created),
                "update_time": rfc3339(created),
                "deleted": False,
                "metadata": {"public": "true"},
            }
            for number, name, created, count in rows
        ]
        return _paged(request, "/api/projects", found)

    def repositories(self, request: Request) -> Response:
        """``/api/repositories?project_id=N``."""
        rows = self._database.connection.execute(
            """SELECT r.id, r.name, r.namespace_id, count(t.id), r.created, r.updated FROM repositories r
               JOIN tags t ON t.repository_id = r.id
               WHERE r.namespace_id = ? AND r.name LIKE ? ESCAPE '\\' GROUP BY r.id ORDER BY r.name""",
            (request.number("project_id"), _like(request.parameter("q"))),
        ).fetchall()
        found = [
            {
                "id": number,
                "name": name,
                "project_id": project,
                "tags_count": count,
                "creation_time": rfc3339(created),
                "update_time": rfc3339(updated),
            }
            for number, name, project, count, created, updated in rows
        ]
        return _paged(request, "/api/repositories", found)

    def tags(self, request: Request, repository: str) -> Response:
        """``/api/repositories/NAME/tags?detail=true``.

        Raises:
            Refusal: 404 NAME_UNKNOWN.
        """
        check_repository(repository)
        if not self._repositories.exists(repository):
            raise name_unknown(repository)
        rows = self._database.connection.execute(
            """SELECT t.name, m.digest, m.image_size, m.annotations, t.updated, m.created FROM tags t
               JOIN repositories r ON r.id = t.repository_id JOIN manifests m ON m.id = t.manifest_id
               WHERE r.name = ? ORDER BY t.name""",
            (repository,),
        ).fetchall()
        found = []
        for name, digest, size, encoded, updated, created in rows:
            known = msgspec.json.decode(encoded, type=dict[str, str])
            found.append(
                {
                    "digest": digest,
                    "name": name,
                    "size": size,
                    "architecture": "",
                    "os": "",
                    "docker_version": "",
                    "author": known.get("org.opencontainers.image.authors", ""),
                    "created": rfc3339(created),
                    "annotations": {key: known[key] for key in _ANNOTATIONS if key in known},
                    "labels": [],
                    "push_time": rfc3339(updated),
                }
            )
        return _paged(request, f"/api/repositories/{repository}/tags", found)

    def search(self, request: Request) -> Response:
        """``/api/search?q=``: repositories, without their tags."""
        counts: dict[str, int] = {}
        for each in self._search.find(request.parameter("q") or "", _MAX_FOUND).results:
            counts[each.name] = counts.get(each.name, 0) + 1
        repositories = []
        for name, count in counts.items():
            row = self._database.connection.execute(
                "SELECT namespace_id FROM repositories WHERE name = ?", (name,)
            ).fetchone()
            if row is not None:
                repositories.append(
                    {
                        "project_id": row[0],
                        "project_name": namespace(name),
                        "project_public": True,
                        "repository_name": name,
                        "tags_count": count,
                    }
                )
        return json_response({"project": [], "repository": repositories, "chart": []})


def _paged(request: Request, path: str, found: Sequence[Any]) -> Response:
    """Everything, or the page that was asked for, with Harbor's headers."""
    headers: Headers = [("x-total-count", str(len(found)))]
    size = request.number("page_size")
    if size is None:
        return json_response(found, headers)
    size = max(1, min(size, _MAX_PAGE))
    page = max(1, request.number("page") or 1)
    links = []
    for number, relation in ((page - 1, "prev"), (page + 1, "next")):
        if 1 <= number <= -(-len(found) // size):
            kept = {name: values[0] for name, values in request.query.items() if name not in ("page", "page_size")}
            query = urlencode({**kept, "page": str(number), "page_size": str(size)}, quote_via=quote)
            links.append(f'<{path}?{query}>; rel="{relation}"')
    if links:
        headers.append(("link", ", ".join(links)))
    return json_response(found[(page - 1) * size : page * size], headers)


def _like(text: str | None) -> str:
    escaped = (text or "").replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
