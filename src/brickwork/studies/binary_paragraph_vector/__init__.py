"""The study of binary paragraph vectors: codes against autoencoders, hashing after training and TF-IDF."""
