"""The main job on real parts: what `wasme demo` and `make demo` run."""
