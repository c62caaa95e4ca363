"""The bytes that the original pushes, met by digest: three images published with it, and one configuration."""

from __future__ import annotations

import pytest

from wasme.image import layouts, media_types
from wasme.image.descriptor import Descriptor, sha256
from wasme.image.runtime_config import RuntimeConfig, encode

ABI_541B = "v0-541b2c1155fffb15ccde92b8324f3e38f7339ba6"
ABI_097B = "v0-097b7f2e4cc1fb490cc1943d0d633655ac3c522f"
ABI_4689 = "v0-4689a30309abf31aee9ae36e73d34b1bb182685f"
FOUR = RuntimeConfig("envoy_proxy", (ABI_541B, ABI_097B, ABI_4689, "v0.2.1"), ("add_header",))
ONE = RuntimeConfig("envoy_proxy", (ABI_097B,), ("add_header",))


@pytest.mark.parametrize(
    ("config", "layer", "size", "config_size", "config_digest", "length", "digest", "hub_size"),
    [
        pytest.param(
            FOUR,
            "sha256:a515a5d244b021c753f2e36c744e03a109cff6f5988e34714dbe725c904fa917",
            12553,
            221,
            "sha256:fe494a4546f6e664d679b31926d634df5bb6b3d5d19c0b8063ba80742a615214",
            944,
            "sha256:d696cba6bd95e6f0e45d87fe5698da7c27ff036477a57c7fe3d1f0708042d92c",
            13939,
            id="A hxpmark/auth:0.01",
        ),
        pytest.param(
            ONE,
            "sha256:8b74e9b0bbc5ff674c49cde904669a775a939b4d8f7f72aba88c184d527dfc30",
            12527,
            120,
            "sha256:5643b1ce320eaeb2e481df8d8062cd166b1853939d7c0dc41029f18697e96b41",
            849,
            "sha256:297527f8740818bd18514a066f936927383a688f827a9573b108609d1a411beb",
            13616,
            id="B assemblyscript-test:istio-1.5",
        ),
        pytest.param(
            FOUR,
            "sha256:0295d929353976266ab721389ec859b2fe012d63ce2e58815469ab85c123b510",
            12577,
            221,
            "sha256:fe494a4546f6e664d679b31926d634df5bb6b3d5d19c0b8063ba80742a615214",
            944,
            "sha256:292ccca873163a82424efeb77b47d6ecc513fb9a925ba02bf95dca93d07fb319",
            13963,
            id="C ilackarms/add-header:v0.1",
        ),
    ],
)
def test_manifest_is_the_originals(
    config: RuntimeConfig,
    layer: str,
    size: int,
    config_size: int,
    config_digest: str,
    length: int,
    digest: str,
    hub_size: int,
) -> None:
    """Config blob and manifest have the length and digest that the original published."""
    module = Descriptor(
        media_type=media_types.MODULE_LAYER,
        digest=layer,
        size=size,
        annotations={media_types.TITLE: "filter.wasm"},
    )

    blob, manifest = layouts.oci_manifest(config, module)

    assert (len(blob), sha256(blob)) == (config_size, config_digest)
    assert (len(manifest), sha256(manifest)) == (length, digest)
    assert len(manifest) + 2 * len(blob) + size == hub_size


def test_config_of_users_logs() -> None:
    """The 166-byte configuration seen in users' logs."""
    blob = encode(RuntimeConfig("envoy_proxy", (ABI_541B, ABI_097B), ("add_header",)))

    assert len(blob) == 166
    assert sha256(blob) == "sha256:766ecd72b4cc55952c00650f1a77b5f138207e76b5b2a241352ef245203af770"
