"""Start a hub: one process that holds the folder's lock and the listening socket, and workers that answer.

The socket is ours and listens before the first worker is started: a port in use is one clear error, port 0 works, and
connections wait instead of failing while a worker is started anew. Workers watch their parent: after a kill -9 of the
first process they go too, and with the last of them the lock on the folder, so that the next start finds it free.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from wasme.errors import HubError, MissingExtra
from wasme.hub import metrics
from wasme.hub.accounts import Accounts, open_database
from wasme.hub.settings import UPLOAD_TTL, Settings, is_loopback, url_host
from wasme.hub.uploads import Uploads

if TYPE_CHECKING:
    from ctypes import Array, c_uint64

log = logging.getLogger(__name__)

_BACKLOG = 1024
_LOCK_PATIENCE = 3.0
_WATCH_EVERY = 0.25
_STOP_PATIENCE = 10
_HEADER_MILLISECONDS = 30_000
_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


def serve(settings: Settings, prepare_worker: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: what the operator asked for.
        prepare_worker: called first in every worker, to set its logging up; it can be pickled.

    Raises:
        MissingExtra: granian or argon2 is not installed.
        HubError: the folder or the port cannot be had, or the workers do not stay alive.
    """
    _check_extra()
    with _locked(settings), _listening(settings) as listener:
        _prepare(settings)
        url = f"{settings.scheme}://{url_host(settings.host)}:{listener.getsockname()[1]}"
        if settings.host != "127.0.0.1" and not is_loopback(settings.host) and not settings.certificate:
            log.warning("passwords travel in clear text: put TLS in front, or give --tls-certificate and --tls-key")
        _run(settings, listener, url, prepare_worker)
    log.info("stopped", extra={"fields": {"url": url}})


class Worker:
    """What granian calls in one worker process."""

    def __init__(self, settings: Settings, shared: Array[c_uint64], row: int, announcement: str | None) -> None:
        from wasme.hub.application import Application

        self._application = Application(settings, shared, row)
        self._tasks: set[asyncio.Task[None]] = set()
        self._announcement = announcement
        self.__rsgi__ = self._application.handle

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called on the worker's event loop, before the first request."""
        loop.remove_signal_handler(signal.SIGINT)  # Ctrl-C reaches the whole group; the first process says when
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for work in (_watch_parent(os.getppid()), self._application.housekeeping()):
            self._tasks.add(loop.create_task(work))
        if self._announcement:
            log.info(self._announcement)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called when the last request has been answered."""
        self._application.close()


def _make_worker(
    prepare: Callable[[], None], settings: Settings, shared: Array[c_uint64], row: int, announcement: str | None
) -> Any:
    prepare()
    _adopt_granian_logs()
    return Worker(settings, shared, row, announcement)


async def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(_WATCH_EVERY)
    os._exit(1)  # as hard as the parent's end was; everything acknowledged is on the disk


def _check_extra() -> None:
    try:
        import argon2  # noqa: F401
        import granian  # noqa: F401
    except ImportError:
        raise MissingExtra("hub", "wasme hub serve") from None


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """Hold the folder alone. Forked workers share the lock, so it is free only when they are gone too."""
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(settings.data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise HubError(
            f"the hub's folder {settings.data} cannot be written: {error.strerror}", hint="give another one with --data"
        ) from error
    try:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline and not _is_alive(_read_pid(handle)):
                    time.sleep(0.05)
                    continue
                raise HubError(
                    f"another hub (process {_read_pid(handle)}) serves {settings.data}",
                    hint="stop it, or give another folder with --data",
                ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(handle)


def _read_pid(handle: int) -> int:
    text = os.pread(handle, 20, 0).strip()
    return int(text) if text.isdigit() else 0


def _is_alive(pid: int) -> bool:
    """Whether the process that wrote the lock is there; its orphaned workers are about to go."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise HubError(f"cannot listen on {settings.host}: {error.strerror or error}") from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise HubError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
                hint="another program uses the port; give another one with --listen HOST:PORT" if taken else None,
            ) from error
        listener.setblocking(False)
        listener.set_inheritable(True)
        yield listener


def _prepare(settings: Settings) -> None:
    """Bring the database up to date and look around, with nobody else at work."""
    database = open_database(settings.data)
    try:
        (settings.data / "blobs").mkdir(mode=0o750, exist_ok=True)
        Uploads(settings.data / "uploads").purge(UPLOAD_TTL)
        if not settings.open and not Accounts(database).all():
            log.info("nobody can push yet: wasme hub user add NAME makes an account")
    finally:
        database.close()


def _run(settings: Settings, listener: socket.socket, url: str, prepare_worker: Callable[[], None]) -> None:
    from granian._granian import SocketHolder
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server.mp import MPServer

    class Server(MPServer):
        """Granian's server on a socket that listens already, whose workers miss no signal.

        A worker is born with its parent's handlers, which do nothing there: until it has its own, signals wait.
        """

        def _spawn_worker(self, idx: int, target: Any, callback_loader: Any, *rest: Any, **more: Any) -> Any:
            own = partial(callback_loader, rows.claim(idx), next(announcements, None))
            return super()._spawn_worker(idx, target, own, *rest, **more)

        def _spawn_workers(self, *arguments: Any) -> None:
            with _signals_wait():
                super()._spawn_workers(*arguments)  # type: ignore[no-untyped-call]

        def _respawn_workers(self, *arguments: Any, **more: Any) -> None:
            with _signals_wait():
                super()._respawn_workers(*arguments, **more)

        def _init_shared_socket(self) -> None:
            holder: Any = SocketHolder
            self.__dict__.update(
                _ssp=None, _sso=listener, _sfd=listener.fileno(), _shd=holder(listener.fileno(), False, _BACKLOG)
            )

    rows = metrics.Rows(settings.workers)
    announcements = iter([f"serving on {url}"])  # for the first worker
    loader = partial(_make_worker, prepare_worker, settings, metrics.share(settings.workers))
    try:
        server = Server(
            "wasme.hub",
            address=settings.host,
            port=listener.getsockname()[1],
            interface=Interfaces.RSGI,
            workers=settings.workers,
            websockets=False,
            http=HTTPModes.auto if settings.certificate else HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=_HEADER_MILLISECONDS),
            ssl_cert=settings.certificate,
            ssl_key=settings.key,
            ssl_protocol_min=SSLProtocols.tls12,
            respawn_failed_workers=True,
            workers_kill_timeout=_STOP_PATIENCE,
            log_level=LogLevels.warning,
            log_dictconfig=_granian_logs(),
        )
    except (OSError, ssl.SSLError) as error:
        raise HubError(f"the TLS certificate or key cannot be used: {error.strerror or error}") from error
    _adopt_granian_logs()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            server.serve(target_loader=loader, wrap_loader=False)
        except SystemExit as stop:
            if stop.code:
                raise HubError("the hub's workers do not stay alive", hint="the log above says why") from None


@contextmanager
def _signals_wait() -> Iterator[None]:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


class _Adopted(logging.Handler):
    """Granian's lines, written as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log.handle(record)


def _adopt_granian_logs() -> None:
    logging.getLogger("_granian").handlers[:] = [_Adopted()]


def _granian_logs() -> dict[str, Any]:
    """Granian's own lines go where ours go, and only the serious ones."""
    serious = {"level": "WARNING", "propagate": False}
    return {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {"_granian": serious}}
