"""The study of SIE: split and hypernetwork against what they replace, each number beside its floor."""
