"""The front page: what this server is, and what it holds. Plain HTML without scripts; everything shown is escaped."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from wasme.hub.database import Database
from wasme.hub.exchange import Request, Response

_SHOWN = 200
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #8884}code{font-size:.95em}:root{color-scheme:light dark}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = (
    ("content-type", "text/html; charset=utf-8"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
)


def front_page(request: Request, database: Database) -> Response:
    """``/``."""
    rows = database.connection.execute(
        """SELECT r.name, (SELECT count(*) FROM tags WHERE repository_id = r.id),
               (SELECT name FROM tags WHERE repository_id = r.id ORDER BY updated DESC, id DESC LIMIT 1)
           FROM repositories r WHERE EXISTS (SELECT 1 FROM tags WHERE repository_id = r.id)
           ORDER BY r.updated DESC LIMIT ?""",
        (_SHOWN,),
    ).fetchall()
    return Response(200, list(_HEADERS), body=render(request.host or "localhost", rows).encode())


def render(host: str, rows: list[tuple[str, int, str]]) -> str:
    """The page.

    Args:
        host: what the browser called this server.
        rows: (repository, number of tags, latest tag).
    """
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td>{count}</td>"
        f"<td><code>wasme pull {escape(f'{host}/{name}:{tag}')}</code></td></tr>"
        for name, count, tag in rows
    )
    table = (
        f"<table><thead><tr><th>Repository</th><th>Tags</th><th>Latest</th></tr></thead><tbody>{lines}</tbody></table>"
        if rows
        else f"<p>Nothing yet. Push something: <code>wasme push {escape(host)}/NAME/FILTER:v1</code></p>"
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>wasme hub</title>"
        f'<meta name=viewport content="width=device-width"><style>{_STYLE}</style></head><body><h1>wasme hub</h1>'
        "<p>A registry for Envoy's WebAssembly filters. Any OCI client can push and pull here: "
        "<code>wasme</code>, <code>skopeo</code>, <code>oras</code>, Istio, Envoy Gateway.</p>"
        f"{table}<p>Search: <code>wasme list --published -s {escape(host)} --search WORD</code> "
        "or <code>GET /api/v1/search?q=WORD</code></p></body></html>\n"
    )
