"""Keys, signatures and commitments; the only folder besides ``ids`` that may draw randomness."""
