"""What everything else stands on: errors, files, configuration, types. Imports nothing of ours."""
