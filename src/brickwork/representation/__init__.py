"""What the user keeps: encode, cut, save, load, export."""
