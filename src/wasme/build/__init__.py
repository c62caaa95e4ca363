"""From sources to an image in the store.

``order`` says what to build, ``builder`` who does, a ``Toolchain`` makes the module, ``image`` checks it and keeps it.
Each language has a folder of its own. A toolchain is found on the machine, never downloaded behind the user's back
except for what the project's own lock file names.
"""
