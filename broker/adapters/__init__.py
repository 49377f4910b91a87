"""All network, disks and processes: one neighbour a file."""
