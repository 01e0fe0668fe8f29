"""The commands: one module each, except those of LightningCLI. Nothing is imported before a command is known."""

# name: the module whose ``main`` answers it, and what it does
COMMANDS = {
    "quickstart": ("robustnas.commands.quickstart", "search on handwritten digits, evaluate what is found"),
    "fit": ("robustnas.cli.lightning_cli", "run a search, or train a network, as a YAML file says"),
    "validate": ("robustnas.cli.lightning_cli", "measure a checkpoint on the selection role"),
    "test": ("robustnas.cli.lightning_cli", "measure a checkpoint on the test set"),
    "evaluate": ("robustnas.commands.evaluate", "train the genotype that a run found, and test it"),
    "ablate": ("robustnas.commands.ablate", "run a study: variants, spaces, data, options and seeds side by side"),
    "landscape": ("robustnas.commands.landscape", "draw the loss around the α of a checkpoint"),
    "diagnose": ("robustnas.commands.diagnose", "say whether a search is healthy, at risk or collapsed, and why"),
    "report": ("robustnas.commands.report", "write one HTML file about a search, or several side by side"),
    "select": ("robustnas.commands.select", "read a search by another rule of selection"),
    "draw": ("robustnas.commands.draw", "draw the cells of a genotype as SVG or PNG"),
    "table": ("robustnas.commands.table", "make a tabular benchmark from files you have, and look into it"),
    "profile": ("robustnas.commands.profile", "count and measure what the operations of a search cost here"),
    "verify": ("robustnas.commands.verify", "check a search with your own options, space, data and devices"),
    "doctor": ("robustnas.commands.doctor", "look at this machine and installation, and try them out"),
    "completion": ("robustnas.commands.completion", "print a script by which a shell completes commands and options"),
}
