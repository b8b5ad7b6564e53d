"""The study of sae-circuits."""
