"""Proxy-Wasm as Envoy's host speaks it: the functions it offers and the callbacks it looks for, with exact types.

Sources: proxy-wasm/spec 0.1.0, 0.2.0 and 0.2.1; the types are what Envoy 1.40 prints when a module asks for others,
and a test asks it again. A module says which version it speaks by exporting a function named for it.
"""

from __future__ import annotations

from typing import NamedTuple

from wasme.wasm.module import FunctionType, Module

VERSIONS = ("0.1.0", "0.2.0", "0.2.1")
MARKERS = {f"proxy_abi_version_{version.replace('.', '_')}": version for version in VERSIONS}
MARKER_PREFIX = "proxy_abi_version_"
ALLOCATORS = ("malloc", "proxy_on_memory_allocate")
"""Envoy looks for the first, then for the second."""
WASI = ("wasi_unstable", "wasi_snapshot_preview1")


def signature(text: str) -> FunctionType:
    """``i32 i64 -> i32`` as a type; ``void`` is nothing."""
    parameters, _, results = text.partition(" -> ")
    return FunctionType(_values(parameters), _values(results))


def _values(text: str) -> tuple[str, ...]:
    return () if text == "void" else tuple(text.split())


def _words(counts: dict[str, int], result: str = "i32") -> dict[str, FunctionType]:
    """Functions whose parameters are all i32, by how many they take."""
    results = _values(result)
    return {name: FunctionType(("i32",) * count, results) for name, count in counts.items()}


_COMMON = {
    **_words(
        {
            "proxy_add_header_map_value": 5,
            "proxy_call_foreign_function": 6,
            "proxy_define_metric": 4,
            "proxy_dequeue_shared_queue": 3,
            "proxy_done": 0,
            "proxy_enqueue_shared_queue": 3,
            "proxy_get_buffer_bytes": 5,
            "proxy_get_buffer_status": 3,
            "proxy_get_current_time_nanoseconds": 1,
            "proxy_get_header_map_pairs": 3,
            "proxy_get_header_map_size": 2,
            "proxy_get_header_map_value": 5,
            "proxy_get_metric": 2,
            "proxy_get_property": 4,
            "proxy_get_shared_data": 5,
            "proxy_get_status": 3,
            "proxy_grpc_call": 12,
            "proxy_grpc_cancel": 1,
            "proxy_grpc_close": 1,
            "proxy_grpc_send": 4,
            "proxy_grpc_stream": 9,
            "proxy_http_call": 10,
            "proxy_log": 3,
            "proxy_register_shared_queue": 3,
            "proxy_remove_header_map_value": 3,
            "proxy_replace_header_map_value": 5,
            "proxy_resolve_shared_queue": 5,
            "proxy_send_local_response": 8,
            "proxy_set_buffer_bytes": 5,
            "proxy_set_effective_context": 1,
            "proxy_set_header_map_pairs": 3,
            "proxy_set_property": 4,
            "proxy_set_shared_data": 5,
            "proxy_set_tick_period_milliseconds": 1,
            "pthread_equal": 2,
        }
    ),
    "proxy_increment_metric": signature("i32 i64 -> i32"),
    "proxy_record_metric": signature("i32 i64 -> i32"),
    "emscripten_notify_memory_growth": signature("i32 -> void"),
}
_STREAMS = _words({"proxy_continue_stream": 1, "proxy_close_stream": 1})
_OF_ONE_VERSION = {
    "0.1.0": _words(
        {
            "proxy_clear_route_cache": 0,
            "proxy_continue_request": 0,
            "proxy_continue_response": 0,
            "proxy_get_configuration": 2,
        }
    ),
    "0.2.0": _STREAMS,
    "0.2.1": {**_STREAMS, **_words({"proxy_get_log_level": 1})},
}
HOST = {version: {**_COMMON, **own} for version, own in _OF_ONE_VERSION.items()}
"""Functions of the module ``env``, for each version."""

WASI_FUNCTIONS = {
    **_words(
        {
            "args_get": 2,
            "args_sizes_get": 2,
            "clock_res_get": 2,
            "environ_get": 2,
            "environ_sizes_get": 2,
            "fd_close": 1,
            "fd_datasync": 1,
            "fd_fdstat_get": 2,
            "fd_fdstat_set_flags": 2,
            "fd_filestat_get": 2,
            "fd_prestat_dir_name": 3,
            "fd_prestat_get": 2,
            "fd_read": 4,
            "fd_renumber": 2,
            "fd_sync": 1,
            "fd_tell": 2,
            "fd_write": 4,
            "path_create_directory": 3,
            "path_filestat_get": 5,
            "path_link": 6,
            "path_readlink": 6,
            "path_remove_directory": 3,
            "path_rename": 6,
            "path_symlink": 4,
            "path_unlink_file": 3,
            "poll_oneoff": 4,
            "random_get": 2,
            "sched_yield": 0,
            "sock_accept": 3,
            "sock_recv": 6,
            "sock_send": 5,
            "sock_shutdown": 2,
        }
    ),
    "clock_time_get": signature("i32 i64 i32 -> i32"),
    "fd_advise": signature("i32 i64 i64 i32 -> i32"),
    "fd_allocate": signature("i32 i64 i64 -> i32"),
    "fd_fdstat_set_rights": signature("i32 i64 i64 -> i32"),
    "fd_filestat_set_size": signature("i32 i64 -> i32"),
    "fd_filestat_set_times": signature("i32 i64 i64 i32 -> i32"),
    "fd_pread": signature("i32 i32 i32 i64 i32 -> i32"),
    "fd_pwrite": signature("i32 i32 i32 i64 i32 -> i32"),
    "fd_readdir": signature("i32 i32 i32 i64 i32 -> i32"),
    "fd_seek": signature("i32 i64 i32 i32 -> i32"),
    "path_filestat_set_times": signature("i32 i32 i32 i32 i64 i64 i32 -> i32"),
    "path_open": signature("i32 i32 i32 i32 i32 i64 i64 i32 i32 -> i32"),
    "proc_exit": signature("i32 -> void"),
}
"""Functions of both WASI modules; most are there only so that modules load."""

FILES_AND_SOCKETS = frozenset(
    {"fd_pread", "fd_pwrite", "fd_read", "fd_readdir", "path_open", "sock_accept", "sock_recv", "sock_send"}
)
"""WASI functions that no filter can use: Envoy answers each with an error."""

_CALLBACKS = {
    **_words(
        {
            "proxy_validate_configuration": 2,
            "proxy_on_vm_start": 2,
            "proxy_on_configure": 2,
            "proxy_on_new_connection": 1,
            "proxy_on_downstream_data": 3,
            "proxy_on_upstream_data": 3,
            "proxy_on_request_body": 3,
            "proxy_on_request_trailers": 2,
            "proxy_on_request_metadata": 2,
            "proxy_on_response_body": 3,
            "proxy_on_response_trailers": 2,
            "proxy_on_response_metadata": 2,
            "proxy_on_done": 1,
        }
    ),
    **_words(
        {
            "proxy_on_tick": 1,
            "proxy_on_context_create": 2,
            "proxy_on_downstream_connection_close": 2,
            "proxy_on_upstream_connection_close": 2,
            "proxy_on_http_call_response": 5,
            "proxy_on_grpc_receive": 3,
            "proxy_on_grpc_close": 3,
            "proxy_on_grpc_receive_initial_metadata": 3,
            "proxy_on_grpc_receive_trailing_metadata": 3,
            "proxy_on_queue_ready": 2,
            "proxy_on_log": 1,
            "proxy_on_delete": 1,
        },
        result="void",
    ),
}
_HEADERS_OLD = _words({"proxy_on_request_headers": 2, "proxy_on_response_headers": 2})
_HEADERS = _words({"proxy_on_request_headers": 3, "proxy_on_response_headers": 3})
_FOREIGN = _words({"proxy_on_foreign_function": 3}, result="void")
CALLBACKS = {
    "0.1.0": {**_CALLBACKS, **_HEADERS_OLD},
    "0.2.0": {**_CALLBACKS, **_HEADERS, **_FOREIGN},
    "0.2.1": {**_CALLBACKS, **_HEADERS, **_FOREIGN},
}
"""What Envoy calls, for each version; a module exports those it wants, with exactly these types."""

ALLOCATOR = signature("i32 -> i32")
_NOTHING = signature("void -> void")
START = {
    "_initialize": _NOTHING,
    "_start": _NOTHING,
    "main": signature("i32 i32 -> i32"),
    "__main_void": signature("void -> i32"),
}
"""The last two count only beside ``_initialize``, and ``_start`` only without it."""


class Speaks(NamedTuple):
    """Which version a module declares.

    Attributes:
        version: one of ``VERSIONS``, or None.
        foreign: markers of versions that Envoy does not know, such as ``proxy_abi_version_0_2_100``.
    """

    version: str | None
    foreign: tuple[str, ...]


def spoken(module: Module) -> Speaks:
    """The version a module declares: its first known marker wins, as in Envoy."""
    names = [export.name for export in module.exports if export.kind == "function"]
    version = next((MARKERS[name] for name in names if name in MARKERS), None)
    foreign = tuple(name for name in names if name.startswith(MARKER_PREFIX) and name not in MARKERS)
    return Speaks(version, foreign)


def host_function(version: str, module: str, name: str) -> FunctionType | None:
    """The type of what Envoy offers under that name to a module of that version; None if it offers nothing."""
    if module == "env":
        return HOST[version].get(name)
    return WASI_FUNCTIONS.get(name) if module in WASI else None
