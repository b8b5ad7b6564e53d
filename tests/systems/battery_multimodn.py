"""What the battery has to know of multimodn."""

CANDIDATES = {"order": [("scan", "monitor", "note", "person", "vitals")]}
