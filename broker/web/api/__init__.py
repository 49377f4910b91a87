"""The API, version 1: one router a noun; plain JSON out of the core's own records, problems as RFC 9457 documents."""
