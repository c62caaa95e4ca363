"""The two Rust templates: one filter twice, for the crate's interface of today and that of Istio 1.9's day."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from wasme.scaffold import bases
from wasme.scaffold.render import render

TEMPLATES = Path(str(files("wasme.scaffold").joinpath("templates")))
EXAMPLES = ("add-header", "auth", "body", "metrics", "rate-limit")

# What the crate's 0.1 has otherwise than 0.2; nothing else may differ between the templates.
OTHERWISE = (
    ("proxy_wasm::main! {{\n", "#[no_mangle]\npub fn _start() {\n"),
    ("\n}}\n", "\n}\n"),
    ("get_plugin_configuration()", "get_configuration()"),
    (
        "_http_request_headers(&mut self, _count: usize, _end_of_stream: bool)",
        "_http_request_headers(&mut self, _count: usize)",
    ),
    (
        "_http_response_headers(&mut self, _count: usize, _end_of_stream: bool)",
        "_http_response_headers(&mut self, _count: usize)",
    ),
    # The edition of 2018 does not know TryInto by itself.
    ("use std::time::{Duration, UNIX_EPOCH};", "use std::convert::TryInto;\nuse std::time::{Duration, UNIX_EPOCH};"),
)


def in_the_old_interface(source: str) -> str:
    for today, then in OTHERWISE:
        source = source.replace(today, then)
    return source


def source(template: str, example: str) -> str:
    return (TEMPLATES / template / "examples" / example / "src" / "lib.rs").read_text()


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each != "body"])
def test_one_filter_twice(example: str) -> None:
    """A change to an example of one template is made in the other too: they differ by the crate's interface only."""
    assert source("rust-0.1", example) == in_the_old_interface(source("rust", example))


def test_body_differs_where_the_end_is_told() -> None:
    """``body`` differs in one more: 0.1 does not say whether a body follows the headers, so the headers must."""
    ours, then = in_the_old_interface(source("rust", "body")), source("rust-0.1", "body")
    then = then.replace("            is_head: false,\n", "")
    # All up to the contexts of requests, and what is done with a body, is the same.
    assert then.partition("/// One per request")[0] == ours.partition("/// One per request")[0]
    for head in ("request_body", "request_trailers", "response_body", "response_trailers"):
        assert method(then, f"fn on_http_{head}") == method(ours, f"fn on_http_{head}")


def method(text: str, head: str) -> str:
    return text[text.index(head) :].partition("\n    }\n")[0]


def test_shared_files() -> None:
    """The JSON reader, and what git ignores, are one file for both, and no template has another beside it."""
    for name, rendered in (("src/json.rs", "src/json.rs"), ("gitignore", ".gitignore")):
        text = (TEMPLATES / "rust/common" / name).read_bytes()
        for version in ("1.9.x", "1.10.x"):
            assert render(bases.find("rust", "istio", version), "auth")[rendered] == text
        assert not [each for each in ("rust", "rust-0.1") if (TEMPLATES / each / "project" / name).exists()]


@pytest.mark.parametrize("template", ["rust", "rust-0.1"])
def test_every_dependency_is_pinned(template: str) -> None:
    """No version is left to chance: each stands with ``=`` (that these are all, a build's Cargo.lock shows)."""
    manifest = (TEMPLATES / template / "project" / "Cargo.toml").read_text()
    wanted = re.findall(r'^[a-z0-9_-]+ = "([^"]*\d+\.\d+\.\d+)"$', manifest.split("[dependencies]")[1], re.MULTILINE)
    assert len(wanted) >= 4
    assert all(each.startswith("=") for each in wanted)
