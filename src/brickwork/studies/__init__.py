"""Comparisons that decide the claims of papers. They may import any system; only the interface imports them."""
