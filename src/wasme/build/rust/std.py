"""A standard library for WebAssembly, compiled from the sources that came with a rustc.

Once for each rustc: it lies in wasme's cache as a sysroot of its own, which rustc is told of with ``--sysroot``, so
that a project is compiled in seconds, with its own profile and flags, as if the library had been installed. Cargo's
``-Zbuild-std`` alone would compile the library anew for each project.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
import time
from pathlib import Path

from wasme.build import process
from wasme.build.rust import cargo_config
from wasme.build.rust.cargo import TARGET, Cargo, hint_for
from wasme.build.toolchain import Listener, cache_folder, identity
from wasme.errors import BuildFailed, StoreError

# Small, since a filter is; and with bitcode, so that a project's link-time optimisation reaches into it.
_MANIFEST = """\
[package]
name = "library-for-filters"
version = "0.0.0"
edition = "2021"

[lib]
path = "lib.rs"

[profile.release]
opt-level = "z"
panic = "abort"
codegen-units = 1
debug = false

[workspace]
"""
_FORM = "1"
_WORK = ".compiling-"
_ABANDONED = 3600.0
# Whatever a user has set for his own projects is not for the library.
_NOT_OURS = ("CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER")

log = logging.getLogger(__name__)


def sysroot(cargo: Cargo, listener: Listener) -> Path:
    """The folder for ``--sysroot``; compiled where it is not there yet.

    Args:
        cargo: a cargo whose rustc has the sources.
        listener: who hears of it.

    Raises:
        BuildFailed: the compiler's words.
        StoreError: the cache cannot be written.
    """
    cache = cache_folder("rust")
    key = f"{_FORM} {_MANIFEST} {cargo.release} {cargo.commit} {identity(cargo.rustc)} {identity(cargo.library)}"
    finished = cache / f"{cargo.release}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if finished.is_dir():
        return finished
    listener.step("compiling the standard library, once")
    log.info("compiling Rust's standard library for WebAssembly, once", extra={"fields": {"rust": cargo.release}})
    _forget_abandoned(cache)
    try:
        _keep(cargo, cache, finished, listener)
    except OSError as error:
        raise StoreError(
            f"cannot keep Rust's standard library in {cache}: {error.strerror}",
            hint="name a folder that has 300 MB free with XDG_CACHE_HOME",
        ) from None
    return finished


def _keep(cargo: Cargo, cache: Path, finished: Path, listener: Listener) -> None:
    """Compile in a folder beside, which becomes the finished one as a whole."""
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=cache))
    try:
        _compile(cargo, work, listener)
        libraries = work / "sysroot" / "lib" / "rustlib" / TARGET / "lib"
        libraries.mkdir(parents=True)
        for library in (work / "target" / TARGET / "release" / "deps").glob("*.rlib"):
            if not library.name.startswith("liblibrary_for_filters"):
                library.rename(libraries / library.name)
        try:
            (work / "sysroot").rename(finished)
        except OSError:
            if not finished.is_dir():  # another build was faster
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _forget_abandoned(cache: Path) -> None:
    """Take away what a killed build has left."""
    for folder in cache.glob(_WORK + "*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < time.time() - _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)


def _compile(cargo: Cargo, work: Path, listener: Listener) -> None:
    (work / "Cargo.toml").write_text(_MANIFEST)
    (work / "lib.rs").write_text("")
    environment = {name: value for name, value in cargo.environment().items() if not name.startswith(_NOT_OURS)}
    # The sources are those of a stable compiler, of which only the way to compile them is unstable.
    environment["RUSTC_BOOTSTRAP"] = "1"
    vendored = cargo.library / "vendor"
    crates = {vendored, vendored.resolve()}
    sources = []
    if vendored.is_dir():
        sources = [
            "--config=source.crates-io.replace-with='library'",
            f"--config=source.library.directory='{vendored}'",
        ]
    else:
        fetch = [str(cargo.program), "fetch", "--locked", "--manifest-path", str(cargo.library / "Cargo.toml")]
        process.run(fetch, cwd=work, env=environment, noise=listener.noise)
        registry = cargo_config.home() / "registry" / "src"
        crates = set(registry.iterdir()) if registry.is_dir() else set()
    # The paths that the library of rustup has; what stands later is looked at first.
    there = f"/rustc/{cargo.commit or cargo.release}/library"
    remapped = [(path, there) for path in {cargo.library, cargo.library.resolve()}]
    remapped += [(path, "/rust/deps") for path in crates]
    flags = ["-Cembed-bitcode=yes", *(f"--remap-path-prefix={path}={to}" for path, to in sorted(remapped))]
    environment |= {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags), "CARGO_TARGET_DIR": str(work / "target")}
    argv = [str(cargo.program), "build", "--release", f"--target={TARGET}", "-Zbuild-std=std,panic_abort", *sources]
    try:
        process.run(argv, cwd=work, env=environment, noise=listener.noise)
    except BuildFailed as error:
        raise BuildFailed(error.message, hint=error.hint or hint_for(error.message)) from None
