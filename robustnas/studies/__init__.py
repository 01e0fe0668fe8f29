"""Studies: their files, their trials, the engines that run these, and their results."""
