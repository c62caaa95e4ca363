"""``spec.deployment`` and ``spec.rollout``: where a filter runs, and how fast it gets there."""

from __future__ import annotations

from wasme.operator.resources.schema.parts import (
    DNS_NAME,
    LABEL,
    SECTION,
    Schema,
    choice,
    flag,
    mapping,
    rule,
    section,
    sequence,
    text,
    whole,
)

GATEWAY_API = "gateway.networking.k8s.io"
STEP = "^([1-9][0-9]{0,8}|([1-9][0-9]?|100)%)$"
"""A step of a rollout (RE2): how many workloads, or how many percent."""


def deployment_section() -> Schema:
    """The schema of ``spec.deployment``."""
    return section(
        "Where the filter runs: exactly one of istio, gloo and envoyGateway.",
        {"istio": _istio(), "gloo": _gloo(), "envoyGateway": _envoy_gateway()},
        rules=[
            rule(
                "[has(self.istio), has(self.gloo), has(self.envoyGateway)].filter(given, given).size() == 1",
                "must have exactly one of istio, gloo and envoyGateway",
            )
        ],
    )


def rollout_section() -> Schema:
    """The schema of ``spec.rollout``."""
    sorted_ = "self.filter(step, {chosen}).map(step, int(step.replace('%', ''))).isSorted()"
    percent = sorted_.format(chosen="step.endsWith('%')")
    numbers = sorted_.format(chosen="!step.endsWith('%')")
    return section(
        "Go through the workloads step by step in place of all at once. A step that does not become healthy is taken "
        "back, and those after it are not begun. For workloads of spec.deployment.istio.",
        {
            "steps": sequence(
                "How many workloads have the filter when each step is over, as texts: numbers or percentages, growing. "
                'Default: "1", "25%", "100%".',
                {"type": "string", "maxLength": 10},
                most=20,
                rules=[
                    rule(
                        f"self.all(step, step.matches('{STEP}'))",
                        "each step must be a number of workloads from 1 on, or a percentage from 1% to 100%",
                    ),
                    # What is no number makes an error of int(), which the first part then outweighs.
                    rule(
                        f"!self.all(step, step.matches('{STEP}')) || ({percent} && {numbers} && "
                        "self.all(step, self.exists_one(other, other == step)))",
                        "the steps must grow, as in 1, 25%, 100%",
                    ),
                ],
            ),
            "pauseSeconds": whole("How long a step must stay healthy before the next begins. Default: 10.", 0, 86_400),
            "timeoutSeconds": whole("How long a step has to become healthy. Default: 300.", 1, 86_400),
        },
    )


def _istio() -> Schema:
    return section(
        "Workloads of an Istio mesh, in this object's namespace. Those that appear later get the filter as well, and "
        "those that no longer match lose it.",
        {
            "kind": text(
                "Of which kind the workloads are: Deployment (the default), DaemonSet or StatefulSet, in any case.",
                longest=SECTION,
                **{
                    "x-kubernetes-validations": [
                        rule(
                            "self.lowerAscii() in ['', 'deployment', 'daemonset', 'statefulset']",
                            "must be one of Deployment, DaemonSet and StatefulSet",
                        )
                    ]
                },
            ),
            "labels": mapping(
                "Labels that a workload itself (not only its pods) must have, all of them. Default: every workload "
                "of the kind."
            ),
            "name": text("One workload by its name.", longest=DNS_NAME),
            "targetRefs": sequence(
                "Attach the filter to these objects in place of workloads: Gateways, Services, ServiceEntries, "
                "GatewayClasses.",
                section(
                    "One object in this namespace.",
                    {
                        "group": text("Its API group; it may be left out.", longest=DNS_NAME),
                        "kind": text("Its kind: Gateway, Service, ServiceEntry or GatewayClass.", longest=LABEL),
                        "name": text("Its name.", longest=DNS_NAME, minLength=1),
                    },
                    required=("kind", "name"),
                ),
                most=16,
            ),
            "istioNamespace": text("The namespace of Istio's control plane. Default: istio-system.", longest=LABEL),
            "istiodName": text("The name of istiod's Deployment. Default: istiod.", longest=DNS_NAME),
            "ignoreVersionCheck": flag("Deploy a module that the proxies' version cannot run as well."),
            "ports": sequence(
                "Only traffic to these ports passes the filter. Default: all.",
                {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65_535},
                most=64,
            ),
            "provider": choice(
                "The kind of object that carries the filter. Auto (the default) keeps the one it has, takes an "
                "EnvoyFilter where only that will do, and else the newest kind that the cluster serves.",
                "Auto",
                "EnvoyFilter",
                "WasmPlugin",
                "TrafficExtension",
            ),
            "cache": section(
                "How the module gets to the proxies; for an EnvoyFilter.",
                {
                    "mode": choice(
                        "DaemonSet (the default): the node cache pulls it once for each node, and no proxy is told of "
                        "the filter before its node holds it. ImageVolume: as a volume of the pod, which the kubelet "
                        "pulls. None: Istio's agent in the pod pulls it.",
                        "DaemonSet",
                        "ImageVolume",
                        "None",
                    )
                },
            ),
        },
        rules=[
            rule(
                "!has(self.targetRefs) || self.targetRefs.size() == 0 || !has(self.labels) || self.labels.size() == 0",
                "targetRefs stand in place of workloads: leave labels out",
                ".labels",
            ),
            rule(
                "!has(self.targetRefs) || self.targetRefs.size() == 0 || !has(self.name) || self.name == ''",
                "targetRefs stand in place of workloads: leave name out",
                ".name",
            ),
            rule(
                "!has(self.targetRefs) || self.targetRefs.size() == 0 || !has(self.kind) || self.kind == ''",
                "targetRefs stand in place of workloads: leave kind out",
                ".kind",
            ),
            rule(
                "!has(self.cache) || !has(self.cache.mode) || !has(self.provider) || "
                "self.provider in ['Auto', 'EnvoyFilter']",
                "is for an EnvoyFilter; the image of another provider is pulled by Istio's agent: leave it out, or "
                "take provider EnvoyFilter",
                ".cache",
            ),
        ],
    )


def _gloo() -> Schema:
    return section(
        "Gateways of Gloo Edge, in this object's namespace.",
        {"labels": mapping("Labels that a Gateway must have, all of them. Default: every Gateway.")},
    )


def _envoy_gateway() -> Schema:
    return section(
        "Gateways and routes that Envoy Gateway serves, in this object's namespace.",
        {
            "targetRefs": sequence(
                "What the filter is attached to: Gateways, ListenerSets, HTTPRoutes, GRPCRoutes.",
                section(
                    "One object in this namespace, or a section of it.",
                    {
                        "group": text(f"Its API group: {GATEWAY_API}, the default.", longest=DNS_NAME),
                        "kind": text("Its kind: Gateway, ListenerSet, HTTPRoute or GRPCRoute.", longest=LABEL),
                        "name": text("Its name.", longest=DNS_NAME, minLength=1),
                        "sectionName": text("One listener of a Gateway, or one rule of a route.", longest=DNS_NAME),
                    },
                    required=("kind", "name"),
                ),
                most=16,
                least=1,
            )
        },
        required=("targetRefs",),
    )
