"""The rules of sulku: what may follow what, as pure functions over plain values (no I/O, no clock)."""
