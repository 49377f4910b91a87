"""What is measured, each against something that a reader knows, side by side in one run: ``python -m tests.bench``."""
