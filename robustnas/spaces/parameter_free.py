"""Which operations have no weights to train: those that win when a search collapses (arXiv:1909.09656)."""

# `robustnas.networks.register_operation` adds a user's own operation that says so of itself.
PARAMETER_FREE = {"none", "skip_connect", "avg_pool_3x3", "max_pool_3x3", "noise"}
