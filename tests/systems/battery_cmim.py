"""What the battery has to know of cmim."""

CANDIDATES = {"objective": ["vae", "mim + info_nce", "cmim + 0.5*info_nce_views"]}
