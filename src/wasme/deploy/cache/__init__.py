"""The node cache in a cluster: its objects, who needs which image where, and whether the nodes hold it.

Nothing is imported here: every node's agent imports ``protocol``, and must not pay for the rest.
"""
