"""Learn: projection heads on pairs."""
