"""One file a noun: what can be said about it on the command line."""
