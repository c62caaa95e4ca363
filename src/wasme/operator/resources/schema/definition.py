"""The CustomResourceDefinition as a whole."""

from __future__ import annotations

from typing import Any

from wasme.operator.resources.schema.deployment import deployment_section, rollout_section
from wasme.operator.resources.schema.filter import filter_section
from wasme.operator.resources.schema.parts import Schema, flag, rule, section
from wasme.operator.resources.schema.status import status_section

NAME = "filterdeployments.wasme.io"
LABELS = {"app": "wasme", "app.kubernetes.io/name": "wasme"}


def crd() -> dict[str, Any]:
    """The definition of FilterDeployment: one version, ``v1``, as the original's; a new value at each call.

    ``spec.preserveUnknownFields: false`` is said, though it is the default: over a definition that came to be as
    v1beta1, an apply that leaves it out leaves it true, and then every typo is stored.
    """
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "labels": dict(LABELS)},
        "spec": {
            "group": "wasme.io",
            "scope": "Namespaced",
            "preserveUnknownFields": False,
            "names": {
                "kind": "FilterDeployment",
                "listKind": "FilterDeploymentList",
                "plural": "filterdeployments",
                "singular": "filterdeployment",
                "shortNames": ["fdep", "fdeps"],
                # Not "all": who may not read FilterDeployments would get an error from `kubectl get all`.
                "categories": ["wasme"],
            },
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _schema()},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                }
            ],
        },
    }


def _schema() -> Schema:
    """The whole object.

    Nothing is demanded of the whole, not even that there is a spec: an object that was stored before this definition
    is held to a rule only where the value that the rule is of changes (Kubernetes 1.30 and later). Of ``spec`` that is
    when somebody writes another spec; of the whole it would be with each finalizer and each status of ours.
    """
    return section(
        "A FilterDeployment puts one WebAssembly filter for Envoy on workloads of a mesh, or on gateways, and keeps it "
        "there.",
        {
            "apiVersion": {"description": "The version of this kind: wasme.io/v1.", "type": "string"},
            "kind": {"description": "FilterDeployment.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": _spec(),
            "status": status_section(),
        },
    )


def _spec() -> Schema:
    return section(
        "What is wanted.",
        {
            "filter": filter_section(),
            "deployment": deployment_section(),
            "rollout": rollout_section(),
            "suspend": flag(
                "Leave everything as it is, and look at nothing, until this is false again. A FilterDeployment that "
                "is deleted is cleaned up all the same."
            ),
        },
        rules=[
            rule("has(self.filter)", "must provide spec.filter", ".filter"),
            rule("has(self.deployment)", "must provide spec.deployment", ".deployment"),
            *(_only_istio(field, given) for field, given in _ISTIO_FIELDS),
            rule(
                "!has(self.filter) || !has(self.filter.failurePolicy) || self.filter.failurePolicy != 'Reload' || "
                "!has(self.deployment) || has(self.deployment.istio)",
                "Reload is for spec.deployment.istio: gateways know Closed and Open",
                ".filter.failurePolicy",
            ),
            rule(
                "!has(self.rollout) || !has(self.deployment) || (has(self.deployment.istio) && "
                "(!has(self.deployment.istio.targetRefs) || self.deployment.istio.targetRefs.size() == 0))",
                "goes through workloads, which only spec.deployment.istio has, without targetRefs",
                ".rollout",
            ),
        ],
    )


_ISTIO_FIELDS = (
    ("phase", "has(self.filter.phase)"),
    ("priority", "has(self.filter.priority)"),
    ("patchContext", "has(self.filter.patchContext) && self.filter.patchContext != ''"),
    ("env", "has(self.filter.env) && self.filter.env.size() > 0"),
)


def _only_istio(field: str, given: str) -> dict[str, str]:
    return rule(
        f"!has(self.filter) || !({given}) || !has(self.deployment) || has(self.deployment.istio)",
        "is for spec.deployment.istio only",
        f".filter.{field}",
    )


def _columns() -> list[dict[str, Any]]:
    ready = '.status.conditions[?(@.type=="Ready")]'
    return [
        {"name": "Image", "type": "string", "jsonPath": ".spec.filter.image", "description": "The image."},
        {
            "name": "Ready",
            "type": "string",
            "jsonPath": f"{ready}.status",
            "description": "Whether every target has the filter as wanted.",
        },
        {
            "name": "Nodes",
            "type": "string",
            "jsonPath": ".status.nodes.summary",
            "description": "How many of the nodes that need the module hold it.",
        },
        {
            "name": "Status",
            "type": "string",
            "jsonPath": f"{ready}.message",
            "priority": 1,
            "description": "What keeps it from being ready.",
        },
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
