"""wasme: build, test, publish and deploy WebAssembly filters for Envoy."""

# A literal, because reading the installed metadata costs more than the whole start-up of the command line.
__version__ = "0.1.0"
