"""Bad input and failing neighbours, through the real flows, store and policy."""
