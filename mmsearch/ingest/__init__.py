"""Items to segments."""
