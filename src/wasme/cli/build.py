"""``wasme build``: the group, and the flags that all its commands take."""

from __future__ import annotations

import os

from wasme.cli.grammar import Group, flag

build = Group(
    "build",
    table={
        "assemblyscript": (
            "wasme.cli.build_languages:assemblyscript",
            "Build a wasm image from an AssemblyScript filter, with the project's own compiler.",
        ),
        "cpp": ("wasme.cli.build_languages:cpp", "Build a wasm image from a C++ filter."),
        "precompiled": ("wasme.cli.build_languages:precompiled", "Build a wasm image from a Precompiled filter."),
        "rust": ("wasme.cli.build_languages:rust", "Build a wasm image from a Rust filter."),
        "source": ("wasme.cli.build_source:source", ""),
        "tinygo": ("wasme.cli.build_languages:tinygo", "Build a wasm image from a Go filter, with TinyGo or with Go."),
    },
    fallback="source",
    help="""
    Build a wasm image from the filter source directory.

    `wasme build SOURCE` finds the language by the project's files; a command names it. The compiler on this machine
    builds, unless --builder or --image ask for a container. The module is checked as Envoy would check it before it
    is kept, and sources that have not changed are not compiled again. `wasme doctor` tells which compilers are here.
    """,
    persistent=[
        flag("--tag", "-t", help="name under which the image is kept, name:tag; required"),
        flag("--config", "-c", help="runtime config file; the default is runtime-config.json in the source folder"),
        flag("--store", help="the local folder of wasm images; the default is $HOME/.wasme/oci"),
        flag(
            "--builder",
            default=lambda: os.environ.get("WASME_BUILDER") or "auto",
            choices=("auto", "native", "docker", "podman"),
            help="who compiles: the compiler on this machine, or a builder image in a container; auto is the former, "
            "and a container for what only that can build; also $WASME_BUILDER",
        ),
        flag(
            "--image",
            "-i",
            help="builder image for containers, quay.io/solo-io/ee-builder:0.0.33 if none is named; under "
            "--builder=auto a container of this image builds if docker or podman answers",
        ),
        flag("--tmp-dir", help="folder to work in, which stays; the default is one that is removed afterwards"),
        flag(
            "--optimize",
            default="auto",
            choices=("auto", "always", "never"),
            help="whether wasm-opt makes the module smaller; auto is for C++ and Rust, where there is a wasm-opt",
        ),
        flag("--no-cache", kind="bool", help="compile also what was compiled before and has not changed"),
    ],
)
