"""What we run: the only code with effects."""
