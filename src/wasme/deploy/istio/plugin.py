"""WasmPlugin and TrafficExtension: kinds whose image the proxies' own agent pulls.

Both say the same; a TrafficExtension, which supersedes the other since Istio 1.30, has the module's part under
``wasm``. Only fields that the served schema has are used, since the API server drops others without a word; what a
kind cannot carry at all is refused, or makes ``--as auto`` take an EnvoyFilter (``unfit``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wasme.deploy import configuration
from wasme.deploy.istio.target import Attachment, IstioTarget, Schema, metadata
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import DEFAULT_RUNTIME, FilterSpec
from wasme.errors import InputError, UnsupportedImage
from wasme.image.pullers import istio_agent

API_VERSION = "extensions.istio.io/v1alpha1"
_MODES = {"inbound": "SERVER", "outbound": "CLIENT", "gateway": "CLIENT", "any": "CLIENT_AND_SERVER"}
_STRATEGIES = {"closed": "FAIL_CLOSE", "open": "FAIL_OPEN", "reload": "FAIL_RELOAD"}
_LONGEST_VALUE = 2048  # characters of an environment variable, as the CRD has it
_LONGEST_ROOT_ID = 256
_MOST_VARIABLES = 256
_MOST_TARGETS = 16


class Carrier(NamedTuple):
    """A kind that carries a filter.

    Attributes:
        kind: its name.
        module: the path of the module's part in it.
        since: the first Istio that has it.
    """

    kind: str
    module: str
    since: str


WASM_PLUGIN = Carrier("WasmPlugin", "spec", "1.12")
TRAFFIC_EXTENSION = Carrier("TrafficExtension", "spec.wasm", "1.30")


def render(
    carrier: Carrier,
    attachment: Attachment,
    spec: FilterSpec,
    image: ResolvedImage,
    target: IstioTarget,
    schema: Schema | None = None,
) -> dict[str, Any]:
    """The WasmPlugin or TrafficExtension object.

    Args:
        carrier: which of the two.
        attachment: its name and what it selects.
        spec: the filter.
        image: the filter's image; Istio's agent must be able to pull it.
        target: where in the proxies it goes.
        schema: what the served kind can carry; None is all that is known.

    Raises:
        UsageError: the patch context is none.
        InputError: the kind cannot carry a setting.
        UnsupportedImage: Istio's agent does not take the image's layout.
    """
    reasons = unfit(carrier, spec, target, schema)
    if reasons:
        raise InputError(
            f"a {carrier.kind} cannot carry {'; nor '.join(reasons)}",
            hint="--as envoyfilter carries everything that the proxies' Envoy has; --as auto chooses",
        )
    require_pullable(image)
    body: dict[str, Any] = {}
    if attachment.target_refs:
        body["targetRefs"] = [each.rendered() for each in attachment.target_refs]
    else:
        body["selector"] = {"matchLabels": dict(attachment.labels)}
    if target.phase:
        body["phase"] = target.phase.upper()
    if target.priority is not None:
        body["priority"] = target.priority
    match = _match(target, schema)
    if match:
        body["match"] = [match]
    module = _module(spec, image, target)
    body |= {"wasm": module} if carrier.module == "spec.wasm" else module
    return {
        "apiVersion": API_VERSION,
        "kind": carrier.kind,
        "metadata": metadata(attachment, spec, image.module.digest, image.manifest.digest),
        "spec": body,
    }


def unfit(carrier: Carrier, spec: FilterSpec, target: IstioTarget, schema: Schema | None = None) -> list[str]:
    """What of a filter the kind cannot carry, each as the end of "it cannot carry …"; [] if it carries all."""
    return [*_never(spec), *_not_here(carrier, spec, target, schema)]


def require_pullable(image: ResolvedImage) -> None:
    """Refuse an image that Istio's agent would not take.

    Raises:
        UnsupportedImage: with the agent's reason.
    """
    puller = istio_agent(image.pulled)
    if not puller.can:
        raise UnsupportedImage(
            f"{image.reference}: Istio's agent cannot pull this image: {puller.why}",
            hint="`wasme push --layout compat` gives it a form that it takes; or use --as envoyfilter",
        )


def _never(spec: FilterSpec) -> Iterator[str]:
    """What neither kind has a field for."""
    settings = spec.settings
    for given, what in (
        (settings.vm_id, "a VM id"),
        (settings.vm_config, "a configuration of the VM"),
        (settings.capabilities, "a list of capabilities"),
        (settings.allow_precompiled, "allow-precompiled"),
        (settings.nack_on_code_cache_miss, "nack-on-code-cache-miss"),
        (settings.allow_on_headers_stop_iteration is not None, "allow-on-headers-stop-iteration"),
        (settings.reload_backoff, "a reload backoff"),
        (settings.runtime not in ("", DEFAULT_RUNTIME), f"the runtime {settings.runtime}"),
        (len(spec.root_id) > _LONGEST_ROOT_ID, f"a root id of {len(spec.root_id)} characters"),
        (len(settings.env) + len(settings.host_env) > _MOST_VARIABLES, f"more than {_MOST_VARIABLES} variables"),
    ):
        if given:
            yield what
    for name, value in settings.env.items():
        if len(value) > _LONGEST_VALUE:
            yield f"a variable of more than {_LONGEST_VALUE} characters ({name})"
        if name.startswith("ISTIO_META_"):
            yield f"the variable {name}, which Istio's agent keeps for itself"
    try:
        configuration.as_object(spec.config)
    except InputError as error:
        yield f"the configuration: {error.message.partition(': ')[2]}"


def _not_here(carrier: Carrier, spec: FilterSpec, target: IstioTarget, schema: Schema | None) -> Iterator[str]:
    """What the served schema has no field for."""
    settings = spec.settings
    if len(target.target_refs) > _MOST_TARGETS:
        yield f"more than {_MOST_TARGETS} target references"
    if schema is None:
        return
    limited = target.ports or target.context in ("inbound", "outbound")
    for given, path, what, since in (
        (target.target_refs, "spec.targetRefs", "target references", "1.22"),
        (target.ports, "spec.match", "ports", "1.16"),
        (limited and not target.ports, "spec.match", f"the patch context {target.context}", "1.16"),
        (settings.fail_policy, f"{carrier.module}.failStrategy", "a fail policy", "1.19"),
        (settings.env or settings.host_env, f"{carrier.module}.vmConfig.env", "environment variables", "1.14"),
    ):
        if given and not schema.has(path):
            yield f"{what} before Istio {since}"
    known = schema.enum(f"{carrier.module}.failStrategy")
    if settings.fail_policy and known and _STRATEGIES[settings.fail_policy] not in known:
        yield f"the fail policy {settings.fail_policy} before Istio 1.27"


def _match(target: IstioTarget, schema: Schema | None) -> dict[str, Any]:
    """Which traffic of the selected proxies; {} is all, as it is with target references."""
    if schema is not None and not schema.has("spec.match"):
        return {}
    match: dict[str, Any] = {}
    if not target.target_refs or target.patch_context:
        match["mode"] = _MODES[target.context]
    if target.ports:
        match["ports"] = [{"number": port} for port in target.ports]
    return match


def _module(spec: FilterSpec, image: ResolvedImage, target: IstioTarget) -> dict[str, Any]:
    settings = spec.settings
    module: dict[str, Any] = {"url": f"oci://{image.pinned}", "sha256": image.manifest.hex}
    if target.pull_policy:
        module["imagePullPolicy"] = target.pull_policy
    if target.pull_secret:
        module["imagePullSecret"] = target.pull_secret
    if spec.root_id:
        module["pluginName"] = spec.root_id
    config = configuration.as_object(spec.config)
    if config is not None:
        module["pluginConfig"] = config
    if settings.fail_policy:
        module["failStrategy"] = _STRATEGIES[settings.fail_policy]
    env: list[dict[str, str]] = [
        {"name": name, "valueFrom": "INLINE", "value": value} for name, value in settings.env.items()
    ]
    env += [{"name": name, "valueFrom": "HOST"} for name in settings.host_env]
    if env:
        module["vmConfig"] = {"env": env}
    return module
