"""How large the examples' modules are, beside what other SDKs make of the same filter.

Peers are built here where their sources are: proxy-runtime comes from npm; the C++ SDK is on no registry and is built
where $PROXY_WASM_CPP_SDK names a checkout; of the Rust example the peer is what `cargo build --release` leaves of it
with Cargo's own release profile.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from bench.filters import EXAMPLES, LANGUAGES, build, command, compiled
from bench.measure import Figure

_FIXTURES = Path(__file__).resolve().parent / "filters_source"
_MOST = {
    ("cpp", "add-header"): 3_200,
    ("assemblyscript", "add-header"): 12_000,
    ("rust", "auth"): 65_000,
    ("tinygo", "add-header"): 2_150_000,
}


def rows(folder: Path, _rounds: int) -> list[Figure]:
    """Every example of every language, and C++ with a configuration of text only."""
    peers = {("assemblyscript", "add-header"): _proxy_runtime(folder), ("rust", "auth"): _plain_cargo(folder)}
    peers[("cpp", "add-header")] = upstream = _upstream_cpp(folder)
    found = []
    for language in LANGUAGES:
        for example in EXAMPLES:
            peer_name, peer = peers.get((language, example), ("", 0))
            size = build(folder, language, example).size
            limit = _MOST.get((language, example))
            found.append(Figure(f"size of {example}, {language}", size, "B", peer_name, peer, limit))
    found.append(Figure("size of add-header, cpp, text only", _text_only(folder), "B", *upstream, 1_600))
    return found


def _text_only(folder: Path) -> int:
    project = folder / "cpp-text-only"
    shutil.copytree(folder / "cpp-add-header", project)
    shutil.copyfile(_FIXTURES / "add_header_text.cc", project / "filter.cc")
    return compiled(folder, "cpp", project).stat().st_size


def _upstream_cpp(folder: Path) -> tuple[str, int]:
    sdk = os.environ.get("PROXY_WASM_CPP_SDK")
    if not sdk:
        return "", 0
    project = folder / "cpp-upstream"
    project.mkdir()
    shutil.copyfile(_FIXTURES / "add_header_upstream.cc", project / "filter.cc")
    (project / "runtime-config.json").write_text('{"type":"envoy_proxy","config":{"rootIds":["add_header"]}}')
    return "upstream C++ SDK", compiled(folder, "cpp", project, "--sdk", sdk).stat().st_size


def _proxy_runtime(folder: Path) -> tuple[str, int]:
    project = proxy_runtime(folder)
    return "proxy-runtime 0.1.8, asc 0.17 -O3", compiled(folder, "assemblyscript", project).stat().st_size


def proxy_runtime(folder: Path) -> Path:
    """The project on `@solo-io/proxy-runtime`, ready to build at ``-O3``, the fastest that it can be."""
    project = folder / "proxy-runtime"
    shutil.copytree(Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "proxy-runtime", project)
    scripts = project / "package.json"
    scripts.write_text(scripts.read_text().replace("--optimize", "-O3"))
    return project


def _plain_cargo(folder: Path) -> tuple[str, int]:
    """The Rust example without our profile and without wasm-opt."""
    project = folder / "plain"
    command("init", project, "--language", "rust", "--platform", "envoy", "--disable-prompt")
    manifest = project / "Cargo.toml"
    manifest.write_text(re.sub(r"(?ms)^\[profile\.release\].*?(?=^\[|\Z)", "", manifest.read_text()))
    path = compiled(folder, "rust", project, "--optimize", "never")
    return "Cargo's release profile", path.stat().st_size
