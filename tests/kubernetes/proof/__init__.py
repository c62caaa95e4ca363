"""The other side of a deployment: programs that read stored objects as meshes do, and import nothing of wasme's."""
