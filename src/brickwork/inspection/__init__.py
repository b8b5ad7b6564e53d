"""Look inside: maps, plots, the report."""
