"""Where items and their bytes come from."""
