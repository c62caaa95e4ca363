"""The node agent: which modules this node must hold, and their files."""
