"""Who works, on what, and when: the Lease, the queue, the workers, one look at one FilterDeployment."""
