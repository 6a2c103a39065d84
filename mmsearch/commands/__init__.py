"""The commands of the command line, a file a group: each parses, calls one verb, prints."""
