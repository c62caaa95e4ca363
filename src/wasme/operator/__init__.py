"""The operator: FilterDeployments as citizens of a cluster.

Why a loop of our own. kopf's peering makes equals freeze each other, its handlers are called for events rather than for
what is, it keeps its state in annotations of the objects (which doubles them), and it brings a second HTTP client and a
second reader of kubeconfig beside ``deploy.cluster``. What would be left of it is a queue. So: informers list and
watch, a queue holds names, workers compare what is wanted with what is, and a Lease decides who works at all.
"""
