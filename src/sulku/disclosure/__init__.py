"""Statistical disclosure control: what an output could give away, and the form of it that may leave."""
