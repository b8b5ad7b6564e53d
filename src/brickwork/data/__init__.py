"""Input: real sets, the user's own files, splits and the order of batches."""
