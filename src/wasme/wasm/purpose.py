"""What a module's host calls and callbacks are for, in the words of somebody who decides whether to run it."""

from __future__ import annotations

from wasme.wasm import abi
from wasme.wasm.module import Module

_HOST = {
    "headers": (
        "proxy_get_header_map_value proxy_add_header_map_value proxy_replace_header_map_value "
        "proxy_remove_header_map_value proxy_get_header_map_pairs proxy_set_header_map_pairs proxy_get_header_map_size"
    ),
    "bodies and buffers": "proxy_get_buffer_bytes proxy_set_buffer_bytes proxy_get_buffer_status",
    "local responses": "proxy_send_local_response",
    "streams": (
        "proxy_continue_stream proxy_close_stream proxy_continue_request proxy_continue_response "
        "proxy_clear_route_cache proxy_set_effective_context proxy_done"
    ),
    "HTTP calls": "proxy_http_call",
    "gRPC calls": (
        "proxy_grpc_call proxy_grpc_stream proxy_grpc_send proxy_grpc_cancel proxy_grpc_close proxy_get_status"
    ),
    "properties": "proxy_get_property proxy_set_property",
    "shared data": "proxy_get_shared_data proxy_set_shared_data",
    "queues": (
        "proxy_register_shared_queue proxy_resolve_shared_queue proxy_enqueue_shared_queue proxy_dequeue_shared_queue"
    ),
    "metrics": "proxy_define_metric proxy_increment_metric proxy_record_metric proxy_get_metric",
    "timers": "proxy_set_tick_period_milliseconds",
    "time": "proxy_get_current_time_nanoseconds",
    "logging": "proxy_log proxy_get_log_level",
    "configuration": "proxy_get_configuration",
    "foreign functions": "proxy_call_foreign_function",
    "runtime": "emscripten_notify_memory_growth pthread_equal",
}
_WASI = {
    "clock and randomness": "clock_time_get clock_res_get random_get",
    "environment and arguments": "environ_get environ_sizes_get args_get args_sizes_get",
    "standard output": "fd_write",
}
WASI_FILES = "files and sockets"
"""Every other WASI function: there so that modules load, and of no use in Envoy."""
UNKNOWN = "unknown to Envoy"

_CALLBACKS = {
    "HTTP requests": (
        "proxy_on_request_headers proxy_on_request_body proxy_on_request_trailers proxy_on_request_metadata"
    ),
    "HTTP responses": (
        "proxy_on_response_headers proxy_on_response_body proxy_on_response_trailers proxy_on_response_metadata"
    ),
    "connections": (
        "proxy_on_new_connection proxy_on_downstream_data proxy_on_upstream_data "
        "proxy_on_downstream_connection_close proxy_on_upstream_connection_close"
    ),
    "answers to HTTP calls": "proxy_on_http_call_response",
    "gRPC": (
        "proxy_on_grpc_receive_initial_metadata proxy_on_grpc_receive proxy_on_grpc_receive_trailing_metadata "
        "proxy_on_grpc_close"
    ),
    "timers": "proxy_on_tick",
    "queues": "proxy_on_queue_ready",
    "foreign functions": "proxy_on_foreign_function",
    "configuration": "proxy_validate_configuration proxy_on_vm_start proxy_on_configure",
    "life cycle": "proxy_on_context_create proxy_on_done proxy_on_log proxy_on_delete",
}


def host_calls(module: Module) -> dict[str, tuple[str, ...]]:
    """The functions a module imports, by what they are for; purposes in one order, each name once.

    WASI purposes begin with ``WASI``. An import is what a module can do, not what it does: some SDKs import all.
    """
    found: dict[str, dict[str, None]] = {}
    for each in module.imports:
        if each.kind != "function":
            continue
        if each.module in abi.WASI:
            rest = WASI_FILES if each.name in abi.WASI_FUNCTIONS else UNKNOWN
            rest = "process" if each.name in ("proc_exit", "sched_yield", "poll_oneoff") else rest
            purpose = f"WASI: {_OF_WASI.get(each.name, rest)}"
            name = each.name
        else:
            purpose = _OF_HOST.get(each.name, UNKNOWN) if each.module == "env" else UNKNOWN
            name = each.name if each.module == "env" else each.full_name
        found.setdefault(purpose, {})[name] = None
    ranks = {purpose: rank for rank, purpose in enumerate(_HOST)}
    return {purpose: tuple(found[purpose]) for purpose in sorted(found, key=lambda each: (ranks.get(each, 99), each))}


def callbacks(module: Module) -> dict[str, tuple[str, ...]]:
    """The callbacks a module exports, by the kind of event; kinds in one order."""
    names = {each.name for each in module.exports if each.kind == "function"}
    return {
        kind: tuple(name for name in known if name in names)
        for kind, known in _OF_KIND.items()
        if names.intersection(known)
    }


_OF_HOST = {name: purpose for purpose, names in _HOST.items() for name in names.split()}
_OF_WASI = {name: purpose for purpose, names in _WASI.items() for name in names.split()}
_OF_KIND = {kind: tuple(names.split()) for kind, names in _CALLBACKS.items()}
