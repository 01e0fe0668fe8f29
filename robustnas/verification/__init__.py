"""What `robustnas verify` checks: that a search with the user's own parts, space, data and devices does what it says."""
