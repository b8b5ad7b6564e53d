"""The study of the catalogue: what the survey says of whole families, each on texts of equal size."""
