"""The checks of `robustnas verify`: a search with given parts, space, data and devices computes what it should."""
