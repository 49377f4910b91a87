"""All SQL: rows, the ledger, the outbox and what pages ask of them; ``unit.py`` holds the only commit."""
