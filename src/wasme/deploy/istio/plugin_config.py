"""Envoy's PluginConfig, as far as the Envoy of one Istio has its fields.

A proxy drops a field it does not know, without a word; so a setting that a mesh's Envoy has no field for is refused
here. The table was read off Envoy's wasm.proto and, before Istio 1.9, off that of Istio's fork.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wasme.deploy.spec import DEFAULT_RUNTIME, FilterSpec, PluginSettings
from wasme.errors import InputError
from wasme.wasm.proxies import PROXIES

STRING = "type.googleapis.com/google.protobuf.StringValue"

ISTIO = next(each for each in PROXIES if each.name == "istio")
ANY_CONFIGURATION = 7
"""The first Istio (1.N) whose Envoy takes a typed configuration; before it is a plain string."""
_FAILURE_POLICY = 33  # Envoy 1.N, as all that follow
_FAIL_OPEN = 15


class _Since(NamedTuple):
    """A setting, and the first Envoy (1.N) that has its field."""

    setting: str
    given: bool
    envoy: int


def plugin_config(spec: FilterSpec, code: dict[str, Any], istio: int, proxy: int) -> dict[str, Any]:
    """The value of ``config`` in Envoy's Wasm filter; keys in camelCase, in the original's order.

    Args:
        spec: the filter.
        code: where its module is (``vmConfig.code``).
        istio: the N of the control plane's Istio 1.N; a large one for the newest.
        proxy: the same of the oldest proxy.

    Raises:
        InputError: that proxy's Envoy has no field for one of the settings.
    """
    settings = spec.settings
    envoy = ISTIO.envoy(proxy)
    for setting, given, since in _since(settings):
        if given and envoy < since:
            raise InputError(
                f"a proxy of Istio 1.{proxy} cannot have {setting}: its Envoy has no field for it",
                hint=f"Istio 1.{ISTIO.oldest(since)} is the first that has it",
            )
    plugin: dict[str, Any] = {"name": spec.id}
    if spec.root_id:
        plugin["rootId"] = spec.root_id
    if spec.config:
        plugin["configuration"] = _configuration(spec.config, istio)
    plugin["vmConfig"] = {
        "vmId": settings.vm_id or spec.id,
        "runtime": settings.runtime or DEFAULT_RUNTIME,
        "code": code,
        **_vm(settings, istio),
    }
    return plugin | dict(_failure(settings, envoy)) | dict(_rest(settings))


def _since(settings: PluginSettings) -> Iterator[_Since]:
    yield _Since("fail policy open", settings.fail_policy == "open", _FAIL_OPEN)
    yield _Since("fail policy reload", settings.fail_policy == "reload", _FAILURE_POLICY)
    yield _Since("nack on code cache miss", settings.nack_on_code_cache_miss, 15)
    yield _Since("environment variables", bool(settings.env or settings.host_env), 18)
    yield _Since("capabilities", bool(settings.capabilities), 18)
    yield _Since("allow on headers stop iteration", settings.allow_on_headers_stop_iteration is not None, 35)


def _configuration(text: str, istio: int) -> Any:
    return {"@type": STRING, "value": text} if istio >= ANY_CONFIGURATION else text


def _vm(settings: PluginSettings, istio: int) -> dict[str, Any]:
    vm: dict[str, Any] = {}
    if settings.vm_config:
        vm["configuration"] = _configuration(settings.vm_config, istio)
    if settings.allow_precompiled:
        vm["allowPrecompiled"] = True
    if settings.nack_on_code_cache_miss:
        vm["nackOnCodeCacheMiss"] = True
    environment: dict[str, Any] = {}
    if settings.host_env:
        environment["hostEnvKeys"] = list(settings.host_env)
    if settings.env:
        environment["keyValues"] = dict(settings.env)
    if environment:
        vm["environmentVariables"] = environment
    return vm


def _failure(settings: PluginSettings, envoy: int) -> Iterator[tuple[str, Any]]:
    policy = settings.fail_policy
    if settings.reload_backoff and policy != "reload":
        raise InputError("a reload backoff is for fail policy reload", hint="add --fail-policy reload")
    if policy and envoy >= _FAILURE_POLICY:
        yield "failurePolicy", {"open": "FAIL_OPEN", "closed": "FAIL_CLOSED", "reload": "FAIL_RELOAD"}[policy]
    elif policy == "open":
        yield "failOpen", True  # closed is what every older Envoy does anyway
    if settings.reload_backoff:
        backoff = {"baseInterval": _seconds(settings.reload_backoff.base)}
        if settings.reload_backoff.longest:
            backoff["maxInterval"] = _seconds(settings.reload_backoff.longest)
        yield "reloadConfig", {"backoff": backoff}


def _rest(settings: PluginSettings) -> Iterator[tuple[str, Any]]:
    if settings.capabilities:
        yield "capabilityRestrictionConfig", {"allowedCapabilities": {name: {} for name in settings.capabilities}}
    if settings.allow_on_headers_stop_iteration is not None:
        yield "allowOnHeadersStopIteration", settings.allow_on_headers_stop_iteration


def _seconds(seconds: float) -> str:
    """A duration as protobuf's JSON has it."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
