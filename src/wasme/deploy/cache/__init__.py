"""The node cache as objects of a cluster: installing it, telling it what to hold, waiting for it."""
