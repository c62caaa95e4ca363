"""What pull secrets hold, and what of it reaches the agents."""

from base64 import b64decode, b64encode

import msgspec
import pytest

from wasme.deploy.cache import protocol, secrets
from wasme.deploy.cache.options import CacheOptions
from wasme.errors import CacheError
from wasme.registry.auth import Credential

PASSWORD = "p4ss"


def docker(auths, key=".dockerconfigjson"):
    content = {"auths": auths} if key == ".dockerconfigjson" else auths
    return {"type": "kubernetes.io/dockerconfigjson", "data": {key: b64encode(msgspec.json.encode(content)).decode()}}


def opaque(**texts):
    return {"type": "Opaque", "data": {key: b64encode(text.encode()).decode() for key, text in texts.items()}}


def test_only_the_registrys_entry():
    """Of a Secret for several registries the agents get one entry; keys may be URLs, as Docker writes them."""
    entry = {"auth": b64encode(f"u:{PASSWORD}".encode()).decode()}
    secret = docker({"other.example.com": {"auth": "eA=="}, "https://r.example.com/v2/": entry})
    assert secrets.entry_of(secret, "r.example.com") == entry
    assert secrets.entry_of(docker({"r.example.com": entry}, ".dockercfg"), "r.example.com") == entry
    assert secrets.entry_of(docker({"https://index.docker.io/v1/": entry}), "docker.io") == entry


def test_username_and_password():
    """An Opaque Secret with username and password, as the original's operator took, is for whatever registry."""
    entry = secrets.entry_of(opaque(username="u\n", password=PASSWORD), "r.example.com")
    assert (entry["username"], entry["password"]) == ("u", PASSWORD)
    assert b64decode(entry["auth"]).decode() == f"u:{PASSWORD}"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (docker({"other.example.com": {"auth": "eA=="}}), "nothing for the registry r.example.com, only for other"),
        (docker({}), "only for none"),
        (docker({"r.example.com": {}}), "nothing for the registry"),
        (docker([]), "has no auths"),
        ({"data": {".dockerconfigjson": b64encode(b"{").decode()}}, "is not JSON"),
        ({"data": {".dockerconfigjson": "é"}}, "is not base64"),
        (opaque(token=PASSWORD), "it is no Secret for pulling: its type is Opaque, its keys are token"),
        ({}, "its keys are none"),
    ],
)
def test_what_is_no_pull_secret(secret, why):
    """A Secret that cannot be used is told with what it has: names, never a value."""
    with pytest.raises(CacheError) as caught:
        secrets.entry_of(secret, "r.example.com")
    assert why in caught.value.message
    assert PASSWORD not in caught.value.message


def test_credentials_become_entries_that_docker_reads():
    """A password, an identity token and a bearer token of the command's become what Docker's format calls them."""
    assert secrets.entry_for(Credential("u", PASSWORD))["password"] == PASSWORD
    assert secrets.entry_for(Credential(identity_token="t")) == {"identitytoken": "t"}
    assert secrets.entry_for(Credential(registry_token="t")) == {"registrytoken": "t"}


def test_pull_secret_is_kubernetes_own():
    """The Secret made is of the type that kubelets and meshes take, under Docker's key for its own hub."""
    made = secrets.pull_secret("s", "ns", "docker.io", {"auth": "x"}, {"a": "b"})
    assert made["type"] == "kubernetes.io/dockerconfigjson"
    content = msgspec.json.decode(b64decode(made["data"][".dockerconfigjson"]))
    assert content == {"auths": {"https://index.docker.io/v1/": {"auth": "x"}}}


def test_one_name_for_one_place():
    """Cache, namespace and registry decide the name; agents find it by its label."""
    options = CacheOptions()
    assert secrets.secret_name(options, "a", "r") == secrets.secret_name(options, "a", "r")
    assert len({secrets.secret_name(options, *each) for each in (("a", "r"), ("a", "s"), ("b", "r"))}) == 3
    assert secrets.labels_of(options)[protocol.PULL_SECRET_LABEL] == "true"
