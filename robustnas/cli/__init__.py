"""``robustnas fit``, ``validate``, ``test`` and ``evaluate`` on LightningCLI, and errors of the command line."""
