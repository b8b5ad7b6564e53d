"""What the battery has to know of global-workspace."""

UNTESTED = {"task.reader": "goes with images; recipes smoke and smoke_digits"}
