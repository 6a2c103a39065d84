"""The handle with the verbs of the command line."""
