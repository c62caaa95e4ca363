"""The command line: one small module for a command, and the frame that they stand in."""

import gc

# Modules make many objects and no garbage: collecting while they load takes 7 of a command's 80 ms. What runs longer
# (a hub, an Envoy's keeper) still collects, only less often.
gc.set_threshold(50_000, 20, 20)
