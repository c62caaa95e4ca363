"""The names that manifests, the operator at work and those that take it away must agree on; most are the original's."""

OPERATOR = "wasme-operator"
"""Of all the operator's objects, and of the component that its Events name."""
LEASE = OPERATOR
"""The Lease that decides which operator works."""
FINALIZER = "wasme.io/cleanup"
"""Keeps a FilterDeployment until all that was made for it is gone."""
WHERE = "wasme.io/where"
"""An annotation of a FilterDeployment: in which place its filter is, and under which id (``istio/auth``)."""
PORT = 9091
"""Of metrics and probes; the original's annotations name it, too."""
