"""What is on disk, and the one commit."""
