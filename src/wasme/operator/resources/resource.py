"""From a FilterDeployment as the API server stores it to what it asks for.

Every field of the original means what it meant (its proto3 JSON: camelCase, null is nothing); what is new is told in
``schema``. The API server's rules are checked here again, as objects may have been stored before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from wasme.deploy.cluster.depth import LEVELS, was_cut
from wasme.deploy.envoy_gateway import targets as envoy_gateway
from wasme.deploy.istio.order import Caching, Mesh, Order
from wasme.deploy.istio.target import As, IstioTarget, Phase, Placement, TargetRef
from wasme.deploy.istio.workloads import Selection, kind_named
from wasme.deploy.rollout import plan
from wasme.deploy.rollout.plan import Pace
from wasme.deploy.spec import FailPolicy, FilterSpec, PluginSettings, require_id
from wasme.errors import InputError, WasmeError
from wasme.image.reference import Reference
from wasme.operator.resources import filter_config
from wasme.operator.resources.fields import Fields, shown, whole
from wasme.operator.resources.wanted import (
    PROVIDERS,
    EnvoyGatewayTarget,
    GlooTarget,
    Image,
    Key,
    PullPolicy,
    TargetReference,
    Wanted,
)

_PLACEMENTS: Mapping[str, Placement] = {"DaemonSet": "daemonset", "ImageVolume": "image-volume", "None": "none"}
_HEX = re.compile(r"[0-9a-f]{64}")
_STEP = re.compile(r"[0-9]{1,9}%?")
_INT32 = 1 << 31
_DAY = 86_400
_MOST_TARGETS = 16


def read(obj: Mapping[str, Any]) -> Wanted:
    """What a FilterDeployment asks for.

    Raises:
        InputError: a field cannot be used; the message begins with its path, or is the original's.
    """
    too_deep = was_cut(obj)
    if too_deep:
        raise InputError(
            f"{too_deep}: is nested more than {LEVELS} levels deep",
            hint="make it flatter, or a text: nothing that a proxy is told may be so deep",
        )
    fields = Fields(obj, "")
    metadata = fields.section("metadata") or Fields({}, "metadata")
    key = Key(metadata.text("namespace"), metadata.text("name"))
    spec = fields.section("spec") or Fields({}, "spec")
    given = spec.section("filter")
    if given is None:
        raise InputError("must provide spec.filter", hint="it names the image: spec.filter.image")
    place = spec.section("deployment")
    if place is None:
        raise InputError("must provide spec.deployment", hint="it says where the filter runs: spec.deployment.istio")
    chosen = [each for each in PROVIDERS if place.has(each)]
    if len(chosen) != 1:
        raise InputError(f"{place.path}: must have exactly one of istio, gloo and envoyGateway")
    at = cast("Fields", place.section(chosen[0]))
    image = _image(given)
    wanted = Wanted(
        key=key,
        uid=metadata.text("uid"),
        generation=metadata.whole("generation", 0, (1 << 63) - 1) or 0,
        filter=_filter(given, key, image),
        image=image,
        suspend=spec.flag("suspend"),
    )
    if chosen[0] != "istio":
        _require_no_istio(given, spec)
    match chosen[0]:
        case "istio":
            order = _order(at, given, key.namespace, image)
            return replace(wanted, order=order, rollout=_rollout(spec, order))
        case "gloo":
            return replace(wanted, gloo=GlooTarget(at.labels("labels")))
        case _:
            return replace(wanted, envoy_gateway=EnvoyGatewayTarget(tuple(_references(at))))


def _filter(given: Fields, key: Key, image: Image) -> FilterSpec:
    name = given.text("id", f"{key.name}.{key.namespace}")
    with _at(given.at("id"), f"{shown(name)} is no name of a Kubernetes object"):
        require_id(name)
    policy = given.choice("failurePolicy", "Closed", "Open", "Reload").lower()
    env = given.texts("env")
    for variable in env:
        if not variable or "=" in variable:
            # Behind the = there may be a secret.
            raise given.error("env", f"{shown(variable.partition('=')[0])} is not the name alone of a variable")
    return FilterSpec(
        id=name,
        image=image.reference,
        root_id=given.text("rootID"),
        config=filter_config.read(given.raw("config"), given.at("config")),
        settings=PluginSettings(fail_policy=cast("FailPolicy", policy), env=env),
    )


def _image(given: Fields) -> Image:
    typed = given.text("image")
    if not typed:
        raise given.error("image", "must name an image", "such as registry.example.com/demo/auth:v1")
    with _at(given.at("image")):
        reference = Reference.parse(typed)
    moving = not reference.digest and reference.tag == "latest"
    options = given.section("imagePullOptions") or Fields({}, given.at("imagePullOptions"))
    secret, other = given.name("pullSecret"), options.name("pullSecret")
    if secret and other and secret != other:
        raise given.error("pullSecret", "is not the same as imagePullOptions.pullSecret", "name one Secret")
    sha256 = given.text("sha256").lower().removeprefix("sha256:")
    if sha256 and not _HEX.fullmatch(sha256):
        raise given.error("sha256", f"{shown(given.text('sha256'))} is no SHA-256", "64 hexadecimal digits")
    policy = given.choice("pullPolicy", "Always", "IfNotPresent", default="Always" if moving else "IfNotPresent")
    return Image(
        reference=typed,
        policy=cast("PullPolicy", policy),
        sha256=sha256,
        pull_secret=secret or other,
        insecure=options.flag("insecureSkipVerify"),
        plain_http=options.flag("plainHttp"),
    )


def _order(at: Fields, given: Fields, namespace: str, image: Image) -> Order:
    refs = tuple(_target_refs(at))
    labels, name = at.labels("labels"), at.name("name")
    for field, value in (("labels", labels), ("name", name), ("kind", at.text("kind"))):
        if refs and value:
            raise at.error(field, f"targetRefs stand in place of workloads: leave {field} out")
    word = at.text("kind", "Deployment")
    with _at(at.at("kind"), f"unknown workload type {word[:80]}, must be deployment, daemonset or statefulset"):
        kind = kind_named(word)
    provider = at.choice("provider", "Auto", "EnvoyFilter", "WasmPlugin", "TrafficExtension", default="Auto")
    caching = at.section("cache") or Fields({}, at.at("cache"))
    mode = caching.choice("mode", *_PLACEMENTS)
    if mode and provider not in ("Auto", "EnvoyFilter"):
        raise at.error("cache", f"is for an EnvoyFilter; Istio's agent pulls the image of a {provider}")
    target = IstioTarget(
        kind=cast("As", provider.lower()),
        patch_context=given.text("patchContext"),
        phase=cast("Phase", given.choice("phase", "AuthN", "AuthZ", "Stats").lower()),
        priority=given.whole("priority", -_INT32, _INT32 - 1),
        ports=tuple(dict.fromkeys(whole(each, path, 1, 65_535) for path, each in at.items("ports"))),
        target_refs=refs,
        pull_secret=image.pull_secret,
        pull_policy=given.text("pullPolicy"),
        placement=_PLACEMENTS[mode or "DaemonSet"],
    )
    with _at(given.at("patchContext")):
        _ = target.context  # which is read lazily, and then refuses
    # A cache that is spoken of is wanted, so it asks for the kind of object that has one.
    flags = (caching.at("mode"),) if mode else ()
    mesh = Mesh(
        at.name("istioNamespace", "istio-system"), at.name("istiodName", "istiod"), at.flag("ignoreVersionCheck")
    )
    return Order(
        Selection((namespace,), kind, labels, name), target, mesh, Caching(flags=flags, pull_secret=image.pull_secret)
    )


def _target_refs(at: Fields) -> Iterator[TargetRef]:
    for reference in _list_of_references(at):
        kind, name = reference.text("kind"), reference.name("name")
        with _at(reference.at("kind"), f"{shown(kind)} is none of Gateway, Service, ServiceEntry, GatewayClass"):
            known = TargetRef.parse(f"{kind}/{name}")
        group = reference.text("group", known.group)
        if group not in (known.group, "core"):
            raise reference.error("group", f"{shown(group)} has no {known.kind}", f"leave it out, or {known.group!r}")
        yield known


def _references(at: Fields) -> Iterator[TargetReference]:
    kinds = {each.lower(): each for each in envoy_gateway.KINDS}
    found = False
    for reference in _list_of_references(at):
        found = True
        kind, group = reference.text("kind"), reference.text("group", envoy_gateway.GROUP)
        if group != envoy_gateway.GROUP:
            raise reference.error("group", f"{shown(group)} is not {envoy_gateway.GROUP}", "leave it out")
        if kind.lower() not in kinds:
            raise reference.error(
                "kind", f"{shown(kind)}: Envoy Gateway runs filters on {', '.join(kinds.values())} only"
            )
        yield TargetReference(kinds[kind.lower()], reference.name("name"), group, reference.name("sectionName"))
    if not found:
        raise at.error("targetRefs", "must name what the filter is for", "such as {kind: Gateway, name: eg}")


def _list_of_references(at: Fields) -> Iterator[Fields]:
    items = at.items("targetRefs")
    if len(items) > _MOST_TARGETS:
        raise at.error("targetRefs", f"are {len(items)}, and {_MOST_TARGETS} at most can be")
    for path, each in items:
        reference = Fields(each, path)
        for word in ("kind", "name"):
            if not reference.text(word):
                raise reference.error(word, "must not be empty")
        yield reference


def _require_no_istio(given: Fields, spec: Fields) -> None:
    """Gateways have no place for these; to leave them out silently would be to do something else than was asked."""
    for word in ("phase", "priority", "patchContext", "env"):
        if given.raw(word) not in (None, "", {}):
            raise given.error(word, "is for spec.deployment.istio only")
    if given.text("failurePolicy") == "Reload":
        raise given.error("failurePolicy", "Reload is for spec.deployment.istio: gateways know Closed and Open")
    if spec.has("rollout"):
        raise spec.error("rollout", "goes through workloads, which only spec.deployment.istio has")


def _rollout(spec: Fields, order: Order) -> Pace | None:
    given = spec.section("rollout")
    if given is None:
        return None
    if order.target.target_refs:
        raise spec.error("rollout", "goes through workloads, and targetRefs stand in place of those")
    steps = []
    for path, each in given.items("steps"):
        word = str(each) if isinstance(each, int) and not isinstance(each, bool) else each
        if not isinstance(word, str) or not _STEP.fullmatch(word):
            raise InputError(f"{path}: {shown(each)} is no step", hint="a number of workloads, or a percentage")
        steps.append(word)
    with _at(given.at("steps")):
        shares = plan.parse(",".join(steps) or plan.DEFAULT)
    pause, timeout = given.whole("pauseSeconds", 0, _DAY), given.whole("timeoutSeconds", 1, _DAY)
    return Pace(shares, 10.0 if pause is None else float(pause), 300.0 if timeout is None else float(timeout))


@contextmanager
def _at(path: str, instead: str = "") -> Iterator[None]:
    """What is raised inside is an error of this field; ``instead`` replaces words about flags of the command line."""
    try:
        yield
    except WasmeError as error:
        text = instead or error.message.removeprefix("--rollout: ")
        raise InputError(f"{path}: {text}", hint=None if instead else _without_flags(error.hint)) from None


def _without_flags(hint: str | None) -> str | None:
    return None if hint is None or "--" in hint else hint
