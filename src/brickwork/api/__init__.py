"""What users call, in Python and behind the command line."""
