"""AssemblyScript: npm, and the project's own compiler and script."""
