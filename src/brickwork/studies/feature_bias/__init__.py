"""The study of feature bias."""
