"""Filters on workloads of a mesh, made as wanted from what the stores know: what ``deploy.istio`` does by listing.

``Mesh`` looks (``look``), which writes nothing; changes what is otherwise (``change``); takes away what is meant no
more (``taking``); and goes in steps where that is wanted (``rollouts``). Whole workloads are read once for each of
their generations (``shapes``), so a look at what nobody has changed asks the API server nothing.
"""

from wasme.operator.targets.mesh.mesh import Mesh

__all__ = ["Mesh"]
