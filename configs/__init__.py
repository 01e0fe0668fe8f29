"""YAML files for the command line, one per use."""
