"""The study of text2token."""
