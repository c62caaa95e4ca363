"""The registry server that anyone can run: distribution API, accounts, search."""
