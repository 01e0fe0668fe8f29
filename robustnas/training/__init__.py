"""The search and the evaluation as Lightning modules."""
