"""From a reference to a digest: which registry, whose credential, what is known already."""
