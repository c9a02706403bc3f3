"""`tune`: searches for better settings than those of a profile."""
