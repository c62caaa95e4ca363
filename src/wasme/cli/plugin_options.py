"""The flags for what Envoy's Wasm filter takes beside its configuration, and their value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from wasme.cli.grammar import option

if TYPE_CHECKING:
    from wasme.deploy.spec import Backoff, PluginSettings

F = TypeVar("F", bound=Callable[..., Any])


def plugin_options(function: F) -> F:
    """All of ``PluginSettings``."""
    for decorate in (
        option("--runtime", help="what runs the module in Envoy; the default is envoy.wasm.runtime.v8"),
        option("--allow-on-headers-stop-iteration", kind="bool", default=lambda: None,
               help="whether StopIteration from on_request_headers means just that, with the body coming on"),
        option("--nack-on-code-cache-miss", kind="bool",
               help="refuse a configuration whose code is not in Envoy's cache yet"),
        option("--allow-precompiled", kind="bool", help="trust native code that the module carries"),
        option("--capability", kind="strings",
               help="the only host functions that the module may call; repeatable, or separated by commas"),
        option("--vm-config", help="what the VM gets as its own configuration: text, JSON, or @FILE"),
        option("--vm-id", help="filters of one module with one VM id share a VM; the default is --id"),
        option("--env-from-host", kind="strings", help="names of the proxy's environment variables that the VM gets"),
        option("--env", kind="stringArray", help="NAME=VALUE of an environment variable of the VM; repeatable"),
        option("--reload-backoff", help="with --fail-policy=reload: BASE[,LONGEST] between attempts, such as 1s,30s"),
        option("--fail-policy", suggest=("closed", "open", "reload"),
               help="what happens to requests while the filter is broken: closed refuses them (what proxies do by "
                    "themselves), open lets them through, reload makes the filter anew"),
    ):  # fmt: skip
        function = decorate(function)
    return function


def plugin_settings(given: Mapping[str, Any]) -> PluginSettings:
    """The settings that the flags give.

    Raises:
        UsageError: a flag's value is none.
        InputError: a file cannot be read.
    """
    from wasme.deploy import configuration
    from wasme.deploy.spec import PluginSettings
    from wasme.errors import UsageError

    env, host_env = variables(given["env"], given["env_from_host"])
    policy = given["fail_policy"]
    if policy not in ("", "closed", "open", "reload"):
        raise UsageError(f'invalid argument "{policy}" for "--fail-policy" flag: not one of closed, open, reload')
    return PluginSettings(
        fail_policy=policy,
        reload_backoff=_backoff(given["reload_backoff"]),
        env=env,
        host_env=host_env,
        vm_id=given["vm_id"],
        vm_config=configuration.read(given["vm_config"], "--vm-config"),
        capabilities=tuple(given["capability"]),
        allow_precompiled=given["allow_precompiled"],
        nack_on_code_cache_miss=given["nack_on_code_cache_miss"],
        allow_on_headers_stop_iteration=given["allow_on_headers_stop_iteration"],
        runtime=given["runtime"],
    )


def variables(env: Iterable[str], from_host: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The VM's variables: those with a value, and the names of those of the proxy.

    Args:
        env: as ``--env`` takes them, each NAME=VALUE.
        from_host: names.

    Raises:
        UsageError: one is no NAME=VALUE; or a name stands twice, for which Envoy refuses the whole listener.
    """
    from wasme.errors import UsageError

    values: dict[str, str] = {}
    names: list[str] = []
    for pair in env:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--env: {pair[:80]!r} is not NAME=VALUE")
        names.append(name)
        values[name] = value
    taken = tuple(from_host)
    if not all(taken):
        raise UsageError("--env-from-host: a name is empty")
    names += taken
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"the variable {twice[:80]!r} is given more than once with --env and --env-from-host",
            hint="a proxy refuses the filter's whole listener for that; give each name once",
        )
    return values, taken


def _backoff(text: str) -> Backoff | None:
    from wasme.cli.kinds import duration
    from wasme.deploy.spec import Backoff
    from wasme.errors import UsageError

    if not text:
        return None
    base, comma, longest = text.partition(",")
    try:
        backoff = Backoff(duration([base.strip()]), duration([longest.strip()]) if comma else 0.0)
    except ValueError as error:
        raise UsageError(f'invalid argument "{text}" for "--reload-backoff" flag: {error}') from None
    # Envoy (1.40) divides by half of it, in whole milliseconds: with less than two the first failed VM ends the proxy.
    if backoff.base < 0.002 or (comma and backoff.longest < backoff.base):
        raise UsageError(
            f'invalid argument "{text}" for "--reload-backoff" flag: the first is at least 2ms, the second no less'
        )
    return backoff
