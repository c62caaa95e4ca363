"""``wasme deploy``: the group; each target is a module of its own."""

from __future__ import annotations

from wasme.cli.grammar import Group, flag

deploy = Group(
    "deploy",
    table={
        "envoy": ("wasme.cli.deploy_envoy:envoy", "Run Envoy locally and attach a WASM Filter."),
        "envoy-gateway": (
            "wasme.cli.deploy_envoy_gateway:envoy_gateway",
            "Deploy an Envoy WASM Filter to the gateways of Envoy Gateway.",
        ),
        "gloo": ("wasme.cli.deploy_gloo:gloo", "Deploy an Envoy WASM Filter to the Gloo Gateway Proxies (Envoy)."),
        "istio": ("wasme.cli.deploy_istio:istio", "Deploy an Envoy WASM Filter to Istio Sidecar Proxies (Envoy)."),
    },
    help="Deploys an Envoy WASM Filter to Envoy instances.",
    persistent=[
        flag("--id", help="names the deployed filter, in logs too; only deploy envoy has a default, the root id"),
        flag("--config", help="what the filter gets as its configuration: text, JSON, or @FILE"),
        flag("--root-id", help="which of the module's filters; normally read from the image"),
    ],
)
