"""The commands of ``robustnas`` beside those of LightningCLI, one file each, with a function ``main``."""
