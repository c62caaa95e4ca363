"""``status``: what the operator found, and did."""

from __future__ import annotations

from wasme.operator.resources.schema.parts import Schema, choice, section, sequence, text, whole

_COUNT = (1 << 31) - 1
_STATES = ("Pending", "Succeeded", "Failed")


def status_section() -> Schema:
    """The schema of ``status``."""
    return section(
        "What the operator found, and did. Nobody else writes here.",
        {
            "observedGeneration": {
                "description": "The metadata.generation that all of this speaks of.",
                "type": "integer",
                "format": "int64",
                "minimum": 0,
            },
            "conditions": sequence(
                "How it stands: Accepted (the spec is understood and can be carried), ImageResolved (the image is "
                "known by its digest), Cached (the nodes hold the module), Programmed (every target has the filter as "
                "wanted), Ready (all of these), Degraded (something that worked does not, or is tried again).",
                _condition(),
                keys=("type",),
            ),
            "image": section(
                "What the image's reference stands for.",
                {
                    "reference": text("spec.filter.image as it was when the image was looked at."),
                    "resolved": text("Where the cluster pulls exactly this image: HOST/REPOSITORY@sha256:DIGEST."),
                    "manifest": text("The digest of its manifest."),
                    "module": text("The digest of its module."),
                    "layout": text("How the image is laid out: oci, compat or wasm."),
                    "rootIDs": sequence("The root ids that the image names.", {"type": "string"}),
                    "abiVersions": sequence("The ABI versions that the image names.", {"type": "string"}),
                },
            ),
            "nodes": section(
                "The nodes that run pods of the workloads; 0 where no file is needed on them.",
                {
                    "total": whole("How many there are.", 0, _COUNT),
                    "cached": whole("How many of them hold the module now.", 0, _COUNT),
                    "summary": text("Both as one text: CACHED/TOTAL."),
                },
            ),
            "targets": sequence(
                "Each workload, gateway or route that the filter is for; those that are not well come first where "
                "there are too many to tell.",
                _target(),
                keys=("provider", "kind", "namespace", "name"),
            ),
            "filterID": text("The id under which the filter was made last: what there is to remove when it changes."),
            "targetCount": whole("How many targets there are, told or not.", 0, _COUNT),
            "reason": text("Why it is not well, in one line; as the first versions of wasme told it."),
            "workloads": {
                "description": "The state of each workload by its name; as the first versions of wasme told it.",
                "type": "object",
                "additionalProperties": section(
                    "One workload.",
                    {
                        "state": choice("How it does.", *_STATES),
                        "reason": text("Why it is not well, in one line."),
                    },
                ),
            },
        },
    )


def _target() -> Schema:
    return section(
        "One of them.",
        {
            "provider": text("The field of spec.deployment that it is of: istio, gloo or envoyGateway."),
            "kind": text("Its kind."),
            "namespace": text("Its namespace."),
            "name": text("Its name."),
            "object": text("What carries the filter there, as KIND/NAME."),
            "state": choice("How it does.", *_STATES),
            "reason": text("Why it is not well, in one line."),
        },
        required=("provider", "kind", "namespace", "name", "state"),
    )


def _condition() -> Schema:
    """As ``metav1.Condition`` of apimachinery, which tools know by its fields."""
    return section(
        "One answer to one question.",
        {
            "type": text("The question."),
            "status": choice("The answer.", "True", "False", "Unknown"),
            "reason": text("Why, as one word for programs."),
            "message": text("Why, in words for people.", longest=32_768),
            "observedGeneration": {
                "description": "The metadata.generation that the answer speaks of.",
                "type": "integer",
                "format": "int64",
                "minimum": 0,
            },
            "lastTransitionTime": text("When the answer became another one.", format="date-time"),
        },
        required=("type", "status", "reason", "message", "lastTransitionTime"),
    )
