"""Tamper evidence: one byte form, an RFC 6962 tree, C2SP checkpoints and tiles, and the auditor's bundle."""
