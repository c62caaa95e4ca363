"""Rust: cargo, and a standard library for WebAssembly wherever it comes from."""
