"""The node cache's agent: which modules this node must hold, and their files.

One thread decides (``holder``), all others do as it says and tell it what came of it::

    sources ── what is wanted ──► holder ── what to get ──► lanes ──► pulling ──► folder
    server ─── who asks ────────►   │
                                    └── what is held ──► markers, reporter (status, events), metrics

The standard library and the client for registries do all of it: the agent is in the memory of every node, and a
client library for Kubernetes would double it.
"""
