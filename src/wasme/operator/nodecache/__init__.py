"""The node cache as the operator sees it: the list of what nodes must hold, and which of them do."""
