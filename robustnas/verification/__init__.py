"""What `robustnas verify` checks: that a search with one's own parts, space, data and devices does what it says."""
