"""``spec.filter``: what runs."""

from __future__ import annotations

from wasme.operator.resources.schema.parts import (
    DNS_NAME,
    SECTION,
    Schema,
    choice,
    flag,
    mapping,
    rule,
    section,
    text,
    whole,
)

_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

_CREDENTIALS = (
    "Name of a Secret in this namespace with which the image is pulled: of the type kubernetes.io/dockerconfigjson, or "
    "one with the keys username and password."
)


def filter_section() -> Schema:
    """The schema of ``spec.filter``."""
    return section(
        "The filter: which module runs, with which configuration, and what happens when it fails.",
        {
            "id": text(
                "Names the filter among those of the same workload; objects that carry it are called "
                "WORKLOAD-ID. Lower-case letters, digits, '-' and '.'. Default: NAME.NAMESPACE of this object.",
                longest=DNS_NAME,
                **{
                    "x-kubernetes-validations": [
                        rule(
                            f"self == '' || self.matches('{_SUBDOMAIN}')",
                            "must be lower-case letters, digits, '-' and '.', with a letter or digit at both ends: "
                            "it becomes part of an object's name",
                        )
                    ]
                },
            ),
            "image": text(
                "The image that holds the module: [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST]. Images of "
                "webassemblyhub.io, which is gone, are looked for where the operator's registry map says.",
                longest=1024,
            ),
            "rootID": text(
                "Which of the module's filters, for modules that hold several. Default: the first root id that the "
                "image names."
            ),
            "config": _config(),
            "patchContext": text(
                "Which traffic of a workload's proxies passes the filter: inbound (the default), outbound, gateway or "
                "any, in any case. For spec.deployment.istio.",
                longest=SECTION,
                **{
                    "x-kubernetes-validations": [
                        rule(
                            "self.lowerAscii() in ['', 'any', 'inbound', 'outbound', 'gateway']",
                            "must be one of any, inbound, outbound and gateway",
                        )
                    ]
                },
            ),
            "imagePullOptions": section(
                "How the image is pulled.",
                {
                    "pullSecret": text(_CREDENTIALS, longest=DNS_NAME),
                    "insecureSkipVerify": flag(
                        "Do not check the registry's certificate when the operator looks at the image. The nodes' "
                        "agents, Istio's agents and kubelets go on checking it."
                    ),
                    "plainHttp": flag(
                        "Speak HTTP without TLS with the registry when the operator looks at the image. The nodes do "
                        "so only where the registryMap of the node cache says it, which whoever runs the cluster "
                        "writes."
                    ),
                },
            ),
            "pullSecret": text(f"{_CREDENTIALS} The same as imagePullOptions.pullSecret.", longest=DNS_NAME),
            "pullPolicy": choice(
                "Whether a tag that comes to mean another image is followed: Always looks at it again and again, "
                "IfNotPresent keeps what it meant when this object first named it. Default: Always for the tag latest "
                "or none, else IfNotPresent.",
                "Always",
                "IfNotPresent",
            ),
            "sha256": text(
                "The SHA-256 that the module must have, as 64 hexadecimal digits with or without sha256: in front. An "
                "image that holds another module is refused.",
                longest=SECTION,
                **{
                    "x-kubernetes-validations": [
                        rule(
                            "self == '' || self.matches('^(sha256:)?[0-9a-fA-F]{64}$')",
                            "must be the module's SHA-256: 64 hexadecimal digits, with or without sha256: in front",
                        )
                    ]
                },
            ),
            "failurePolicy": choice(
                "What happens to requests while the filter is broken: Closed refuses them (what proxies do by "
                "themselves), Open lets them through unfiltered, Reload makes the filter anew (Envoy 1.33 and later).",
                "Closed",
                "Open",
                "Reload",
            ),
            "phase": choice(
                "Before which of Istio's own filters a request meets this one: those that authenticate (AuthN), "
                "authorise (AuthZ) or count (Stats). Default: after all of them. For spec.deployment.istio.",
                "AuthN",
                "AuthZ",
                "Stats",
            ),
            "priority": whole(
                "Among filters of the same phase, one with a higher number meets a request first. Default: 0. For "
                "spec.deployment.istio.",
                -(1 << 31),
                (1 << 31) - 1,
            ),
            "env": mapping("Environment variables of the filter, by name. For spec.deployment.istio.", most=256),
        },
        rules=[
            rule(
                "!has(self.pullSecret) || self.pullSecret == '' || !has(self.imagePullOptions) || "
                "!has(self.imagePullOptions.pullSecret) || self.imagePullOptions.pullSecret == '' || "
                "self.pullSecret == self.imagePullOptions.pullSecret",
                "is not the same as imagePullOptions.pullSecret: name one Secret",
                ".pullSecret",
            )
        ],
    )


def _config() -> Schema:
    """Any value: a schema without a type is all that takes text as well as objects.

    What can be used is said by a condition: CEL knows no value without a type.
    """
    return {
        "description": "What the filter gets as its configuration: a text, as it is; or an object, as compact JSON; "
        "or a typed value, {'@type': type.googleapis.com/google.protobuf.StringValue, value: TEXT}, likewise Struct "
        "with an object (as JSON) and BytesValue with base64 of a text. Default: nothing.",
        "x-kubernetes-preserve-unknown-fields": True,
    }
