"""Lists of the distribution API: tags, the catalog, referrers. Pages go by the last name seen, never by number."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import msgspec

from wasme.hub.exchange import SAFE, Headers, Request, Response, json_response
from wasme.hub.names import check_digest, check_repository
from wasme.hub.repositories import Repositories
from wasme.image.media_types import OCI_INDEX

_PAGE = 1000
_REFERRERS = 500


class Listings:
    """Answers what clients list."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    def tags(self, request: Request, repository: str) -> Response:
        """``/v2/NAME/tags/list?n=&last=``; all of them without n, as older clients expect."""
        check_repository(repository)
        wanted = request.number("n")
        last = request.parameter("last") or ""
        if wanted is None:
            return json_response({"name": repository, "tags": self._repositories.tags(repository, last, -1)})
        limit = min(wanted, _PAGE)
        found = self._repositories.tags(repository, last, limit + 1 if limit else 0)
        headers = _next(f"/v2/{repository}/tags/list", found, limit, {"n": str(wanted)})
        return json_response({"name": repository, "tags": found[:limit]}, headers)

    def catalog(self, request: Request) -> Response:
        """``/v2/_catalog?n=&last=``: repositories that hold something."""
        limit = min(_PAGE if (wanted := request.number("n")) is None else wanted, _PAGE)
        found = self._repositories.names(request.parameter("last") or "", limit + 1) if limit else []
        headers = _next("/v2/_catalog", found, limit, {"n": str(limit)})
        return json_response({"repositories": found[:limit]}, headers)

    def referrers(self, request: Request, repository: str, digest: str) -> Response:
        """``/v2/NAME/referrers/DIGEST?artifactType=``: an index, empty where nothing refers to it."""
        check_repository(repository)
        check_digest(digest)
        artifact_type = request.parameter("artifactType") or None
        limit = max(1, min(_REFERRERS if (wanted := request.number("n")) is None else wanted, _REFERRERS))
        last = request.parameter("last") or ""
        found = self._repositories.referrers(repository, digest, artifact_type, last, limit + 1)
        descriptors = [
            {
                "mediaType": each.media_type,
                "digest": each.digest,
                "size": each.size,
                **({"artifactType": each.artifact_type} if each.artifact_type else {}),
                **({"annotations": each.annotations} if each.annotations else {}),
            }
            for each in found[:limit]
        ]
        parameters = {"n": str(limit), **({"artifactType": artifact_type} if artifact_type else {})}
        path = f"/v2/{repository}/referrers/{digest}"
        headers: Headers = [
            ("content-type", OCI_INDEX), *SAFE, *_next(path, [each.digest for each in found], limit, parameters),
        ]  # fmt: skip
        if artifact_type:
            headers.append(("oci-filters-applied", "artifactType"))
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
        return Response(200, headers, body=msgspec.json.encode(index))


def _next(path: str, found: list[str], limit: int, parameters: dict[str, str]) -> Headers:
    """The ``Link`` to the next page, if one more than asked for was found."""
    if len(found) <= limit:
        return []
    query = urlencode({**parameters, "last": found[limit - 1]}, quote_via=quote)
    return [("link", f'<{path}?{query}>; rel="next"')]
