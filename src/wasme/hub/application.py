"""The hub as granian calls it: find the route, check the caller, turn errors into answers.

Pulls go a short way: split the path, one SELECT, send. Whatever waits for the disk or computes runs on threads, so
that one slow push never holds up the pulls of others.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
import sqlite3
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from wasme.hub import metrics
from wasme.hub.access import Access, Caller, unauthorized
from wasme.hub.accounts import Accounts
from wasme.hub.blobs import Blobs
from wasme.hub.database import Database
from wasme.hub.exchange import SAFE, Request, Response, json_response, refusal_response
from wasme.hub.harbor import Harbor
from wasme.hub.listings import Listings
from wasme.hub.names import check_repository
from wasme.hub.page import front_page
from wasme.hub.pulls import Pulls
from wasme.hub.pushes import Pushes
from wasme.hub.refusal import Refusal, disk_full
from wasme.hub.repositories import Repositories
from wasme.hub.search import Search
from wasme.hub.settings import UPLOAD_TTL, Settings
from wasme.hub.throttle import Throttle
from wasme.hub.uploads import Uploads

if TYPE_CHECKING:
    from ctypes import Array, c_uint64

    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

log = logging.getLogger(__name__)

T = TypeVar("T")
_THREADS = 8
_PURGE_EVERY = 3600.0
_TEXT = ("content-type", "text/plain; charset=utf-8")
_API_VERSION = ("docker-distribution-api-version", "registry/2.0")
_SUFFIXES = (("/manifests", "manifest"), ("/blobs/uploads", "upload"), ("/blobs", "blob"), ("/referrers", "referrers"))
_ALLOWED = {
    "manifest": "GET, HEAD, PUT, DELETE",
    "blob": "GET, HEAD, DELETE",
    "upload": "GET, PATCH, PUT, DELETE",
    "uploads": "POST",
    "tags": "GET, HEAD",
    "referrers": "GET, HEAD",
    "catalog": "GET, HEAD",
}


class Application:
    """One worker's hub.

    Args:
        settings: what the operator asked for.
        shared: counters shared with the other workers.
        row: this worker's row of them.
    """

    def __init__(self, settings: Settings, shared: Array[c_uint64], row: int) -> None:
        self._settings = settings
        self._counters = metrics.Counters(shared, row)
        self._files = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")
        self._database = Database(settings.data / "hub.db")
        blobs = Blobs(settings.data / "blobs")
        self._uploads = Uploads(settings.data / "uploads")
        repositories = Repositories(self._database, blobs)
        self._search = Search(self._database)
        self._harbor = Harbor(self._database, repositories, self._search)
        self._pulls = Pulls(repositories, blobs, private=settings.private)
        self._pushes = Pushes(repositories, self._uploads, self._files, settings.data)
        self._listings = Listings(repositories)
        self._access = Access(
            settings,
            Accounts(self._database),
            Throttle(self._database),
            self._files,
            lambda: self._counters.add(metrics.FAILED_LOGINS, 1),
        )

    async def housekeeping(self) -> None:
        """Throw old uploads away, for ever."""
        while True:
            gone = await self._off_loop(self._uploads.purge, UPLOAD_TTL)
            if gone:
                log.info("threw unfinished uploads away", extra={"fields": {"count": gone}})
            await asyncio.sleep(_PURGE_EVERY)

    def close(self) -> None:
        """Wait for what is being written, then close the database."""
        self._files.shutdown()
        self._database.close()

    async def handle(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request, whatever happens."""
        begun = time.perf_counter_ns()
        request = Request(scope, protocol, self._settings.proxies)
        kind, repository, reference = split(request.path)
        try:
            response = await self._answer(request, kind, repository, reference)
        except Refusal as refusal:
            response = refusal_response(refusal)
            await request.drain()
        except Exception as error:
            response = refusal_response(_explain(error, request))
        microseconds = (time.perf_counter_ns() - begun) // 1000
        self._count(request, response, kind, microseconds)
        response.send(protocol, request.method)

    async def _answer(self, request: Request, kind: str, repository: str, reference: str) -> Response:
        self._access.check_host(request.host, forwarded=request.is_forwarded)
        authorization = request.header("authorization")
        if authorization is None:
            caller = Caller(None, request.address)
        else:
            caller = await self._access.identify(authorization, request.address)
        method = request.method
        if method in ("GET", "HEAD"):
            if kind in ("manifest", "blob"):
                self._access.check_pull(caller)
                answer = self._pulls.manifest if kind == "manifest" else self._pulls.blob
                return answer(request, repository, reference)
            if kind != "upload":
                return await self._read(request, caller, kind, repository, reference)
        if kind not in _ALLOWED or method not in _ALLOWED[kind]:
            raise Refusal(
                405,
                "UNSUPPORTED",
                f"{method[:20]} does nothing here",
                headers=[("allow", _ALLOWED.get(kind, "GET, HEAD"))],
            )
        check_repository(repository)
        self._access.check_push(caller, repository, request.host, request.header("origin"))
        return await self._write(request, caller, kind, repository, reference)

    async def _read(self, request: Request, caller: Caller, kind: str, repository: str, reference: str) -> Response:
        path = request.path
        if path == "/healthz":
            return Response(200, [_TEXT], body=b"ok\n")
        if path == "/readyz":
            return await self._off_loop(self._ready)
        if kind == "base":
            if caller.user is None and not self._settings.open:
                refusal = unauthorized("authentication is needed to push")
                refusal.headers.append(_API_VERSION)
                raise refusal
            return json_response({}, [_API_VERSION])
        if path == "/api/users/current":
            if caller.user is None:
                raise unauthorized("who are you?")
            return self._harbor.current_user(caller.user)
        self._access.check_pull(caller)
        if kind == "tags":
            return await self._off_loop(self._listings.tags, request, repository)
        if kind == "referrers":
            return await self._off_loop(self._listings.referrers, request, repository, reference)
        if kind == "catalog":
            return await self._off_loop(self._listings.catalog, request)
        if path == "/api/v1/search":
            return await self._off_loop(self._search.answer, request)
        if path == "/api/projects":
            return await self._off_loop(self._harbor.projects, request)
        if path == "/api/repositories":
            return await self._off_loop(self._harbor.repositories, request)
        if path.startswith("/api/repositories/") and path.endswith("/tags"):
            name = path.removeprefix("/api/repositories/").removesuffix("/tags")
            return await self._off_loop(self._harbor.tags, request, name)
        if path == "/api/search":
            return await self._off_loop(self._harbor.search, request)
        if path == "/metrics":
            return Response(200, [_TEXT], body=(await self._off_loop(self._metrics)).encode())
        if path == "/":
            return await self._off_loop(front_page, request, self._database)
        if kind == "unknown":
            raise Refusal(404, "NAME_INVALID", "the distribution API has no such path")
        return Response(404, [_TEXT, *SAFE], body=b"there is no such page here\n")

    async def _write(self, request: Request, caller: Caller, kind: str, repository: str, reference: str) -> Response:
        who = caller.name
        match (kind, request.method):
            case ("uploads", "POST"):
                return await self._pushes.start_upload(request, repository, who)
            case ("upload", "PATCH"):
                return await self._pushes.append(request, repository, reference)
            case ("upload", "PUT"):
                return await self._pushes.finish_upload(request, repository, reference, who)
            case ("upload", "DELETE"):
                return self._pushes.cancel(repository, reference)
            case ("manifest", "PUT"):
                return await self._pushes.put_manifest(request, repository, reference, who)
            case ("manifest", "DELETE"):
                return await self._pushes.delete_manifest(repository, reference, who)
            case ("blob", "DELETE"):
                return await self._pushes.delete_blob(repository, reference)
        return self._pushes.status(repository, reference)

    async def _off_loop(self, function: Callable[..., T], *args: object) -> T:
        """Run on a thread what may take longer than one indexed read."""
        return await asyncio.get_running_loop().run_in_executor(self._files, function, *args)

    def _ready(self) -> Response:
        self._database.connection.execute("SELECT count(*) FROM (SELECT 1 FROM users LIMIT 1)").fetchone()
        free = shutil.disk_usage(self._settings.data).free
        return Response(200 if free else 503, [_TEXT], body=b"ready\n" if free else b"the disk is full\n")

    def _metrics(self) -> str:
        one = self._database.connection.execute
        (blobs, size) = one("SELECT count(*), coalesce(sum(size), 0) FROM blobs").fetchone()
        return self._counters.render(
            {
                "wasme_hub_repositories": ("Repositories.", one("SELECT count(*) FROM repositories").fetchone()[0]),
                "wasme_hub_tags": ("Tags.", one("SELECT count(*) FROM tags").fetchone()[0]),
                "wasme_hub_blobs": ("Blobs.", blobs),
                "wasme_hub_blob_bytes": ("Bytes of all blobs.", size),
                "wasme_hub_free_bytes": ("Free on the disk.", shutil.disk_usage(self._settings.data).free),
            }
        )

    def _count(self, request: Request, response: Response, kind: str, microseconds: int) -> None:
        route = {"uploads": "upload", "base": "other", "unknown": "other"}.get(kind, kind)
        if kind == "none":
            route = "api" if request.path.startswith("/api/") else "page" if request.path == "/" else "other"
        self._counters.request(route, response.status)
        self._counters.add(metrics.MICROSECONDS, microseconds)
        self._counters.add(metrics.RECEIVED, request.received)
        if request.method != "HEAD":
            self._counters.add(metrics.SENT, response.length)
        if log.isEnabledFor(logging.DEBUG):
            fields = {
                "method": request.method,
                "path": request.path[:200],
                "status": response.status,
                "us": microseconds,
                "address": request.address,
            }
            log.debug("request", extra={"fields": fields})


def split(path: str) -> tuple[str, str, str]:
    """(kind, repository, reference) of a path; a kind that is no key of the table above is not the distribution API's.

    The last component decides, so repositories may be called ``blobs`` or ``a/manifests``.
    """
    if not path.startswith("/v2"):
        return "none", "", ""
    rest = path[4:]
    if path in ("/v2", "/v2/"):
        return "base", "", ""
    if path == "/v2/_catalog":
        return "catalog", "", ""
    if path[3:4] != "/":
        return "none", "", ""
    head, _, last = rest.rpartition("/")
    if last == "" and head.endswith("/blobs/uploads"):
        return "uploads", head.removesuffix("/blobs/uploads"), ""
    if last == "uploads" and head.endswith("/blobs"):
        return "uploads", head.removesuffix("/blobs"), ""
    if last == "list" and head.endswith("/tags"):
        return "tags", head.removesuffix("/tags"), ""
    for suffix, kind in _SUFFIXES:
        if head.endswith(suffix):
            return kind, head.removesuffix(suffix), last
    return "unknown", "", ""


def _explain(error: Exception, request: Request) -> Refusal:
    """The answer to what nobody refused on purpose; the log has the rest."""
    fields = {"method": request.method[:20], "path": request.path[:200], "error": str(error)[:200]}
    if isinstance(error, sqlite3.OperationalError | OSError):
        if isinstance(error, sqlite3.OperationalError):
            is_full, is_busy = "full" in str(error), "locked" in str(error)
        else:
            is_full, is_busy = error.errno in (errno.ENOSPC, errno.EDQUOT), False
        if is_full:
            log.error("the disk is full", extra={"fields": fields})
            return disk_full()
        if is_busy:
            log.error("the database is busy", extra={"fields": fields})
            return Refusal(503, "UNKNOWN", "the hub is busy; try again", headers=[("retry-after", "5")])
    fields["traceback"] = "".join(traceback.format_exception(error))[-4000:]
    log.error("a bug in the hub", extra={"fields": fields})
    return Refusal(500, "UNKNOWN", "the hub failed; its log says why")
