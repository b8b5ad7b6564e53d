"""Data that is made up, and what is done to data."""
