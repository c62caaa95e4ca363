"""What is known of the cluster: lists and watches, and the stores that they fill."""
