"""A Kubernetes API server: connecting, reading, applying.

``connect`` opens a ``Cluster``; httpx2 is loaded then, not before.
"""

from wasme.deploy.cluster.client import Cluster, Listing
from wasme.deploy.cluster.connect import connect
from wasme.deploy.cluster.discovery import Schema, Served
from wasme.deploy.cluster.kinds import Kind, kind_of
from wasme.deploy.cluster.parallel import Outcome, Outcomes, parallel

__all__ = [
    "Cluster",
    "Kind",
    "Listing",
    "Outcome",
    "Outcomes",
    "Schema",
    "Served",
    "connect",
    "kind_of",
    "parallel",
]
