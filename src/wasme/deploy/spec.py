"""What is deployed: one filter of one image, whatever runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wasme.errors import UsageError

FailPolicy = Literal["", "closed", "open", "reload"]

DEFAULT_RUNTIME = "envoy.wasm.runtime.v8"
LONGEST_NAME = 253
"""Characters of the name of a Kubernetes object (a DNS subdomain, RFC 1123)."""
_PART = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_PART}(?:\.{_PART})*")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a failed VM is made anew (Envoy's ``reload_config.backoff``).

    Attributes:
        base: seconds before the first attempt.
        longest: seconds between any two; 0 leaves it to Envoy (ten times ``base``).
    """

    base: float
    longest: float = 0.0


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """Everything else that Envoy's ``PluginConfig`` and ``VmConfig`` take (envoy/extensions/wasm/v3/wasm.proto).

    Attributes:
        fail_policy: what happens to requests while the filter is broken; "" leaves it to the proxy, which closes.
        reload_backoff: with ``reload``: how fast; None leaves it to Envoy.
        env: environment variables of the VM.
        host_env: names of variables of the proxy's own environment that the VM gets too.
        vm_id: filters of one module and one ``vm_id`` share a VM; "" takes the filter's id.
        vm_config: what the VM gets as its own configuration; "" for none.
        capabilities: the only host functions that the module may call; empty for all.
        allow_precompiled: the module may carry native code in a custom section, which is trusted.
        nack_on_code_cache_miss: refuse the configuration where the code is not in Envoy's cache yet.
        allow_on_headers_stop_iteration: whether StopIteration from on_request_headers means just that; None leaves
            it to Envoy, which watches the body too.
        runtime: the VM's implementation; "" for ``envoy.wasm.runtime.v8``.
    """

    fail_policy: FailPolicy = ""
    reload_backoff: Backoff | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    host_env: tuple[str, ...] = ()
    vm_id: str = ""
    vm_config: str = ""
    capabilities: tuple[str, ...] = ()
    allow_precompiled: bool = False
    nack_on_code_cache_miss: bool = False
    allow_on_headers_stop_iteration: bool | None = None
    runtime: str = ""


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One filter to run.

    Attributes:
        id: names the deployed filter, in logs as well as for taking it away again.
        image: the image's reference as typed.
        root_id: which of the module's filters; "" for modules that do not care.
        config: what the filter gets as its configuration; "" for none.
        settings: all that most filters leave to the proxy.
    """

    id: str
    image: str
    root_id: str = ""
    config: str = ""
    settings: PluginSettings = field(default_factory=PluginSettings)


def require_id(filter_id: str) -> None:
    """Refuse an id that cannot be part of a Kubernetes object's name.

    Raises:
        UsageError: it is empty, or no DNS subdomain.
    """
    if not filter_id:
        raise UsageError("--id cannot be empty", hint="it names the filter: lower-case letters, digits and dashes")
    _require_subdomain(filter_id, f"--id {filter_id[:80]!r}")


def object_name(workload: str, filter_id: str) -> str:
    """The name of the object that puts a filter on a workload: ``<workload>-<id>``.

    Raises:
        UsageError: that is no name of a Kubernetes object.
    """
    require_id(filter_id)
    name = f"{workload}-{filter_id}"
    _require_subdomain(name, f"{workload}-{filter_id[:80]}, made of the workload's name and --id,")
    return name


def _require_subdomain(name: str, what: str) -> None:
    if len(name) > LONGEST_NAME:
        raise UsageError(
            f"{what} has {len(name)} characters; the name of a Kubernetes object has at most {LONGEST_NAME}",
            hint="take a shorter --id",
        )
    if not _SUBDOMAIN.fullmatch(name):
        lower = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
        raise UsageError(
            f"{what} is no name of a Kubernetes object",
            hint="it takes lower-case letters, digits, - and ., with a letter or digit at both ends"
            + (f", such as {lower}" if _SUBDOMAIN.fullmatch(lower) else ""),
        )
