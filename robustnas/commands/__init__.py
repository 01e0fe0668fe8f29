"""The commands: one module each, except those of LightningCLI, and imported only when they are called."""

# name: the module whose ``main`` runs the command, and its description
COMMANDS = {
    "quickstart": ("robustnas.commands.quickstart", "watch DARTS collapse beside a method that does not, in minutes"),
    "fit": ("robustnas.commands.fit", "run a search, or train a network, from a YAML configuration"),
    "validate": ("robustnas.cli.lightning_cli", "evaluate a checkpoint on the validation data (role `selection`)"),
    "test": ("robustnas.cli.lightning_cli", "evaluate a checkpoint on the test set"),
    "evaluate": ("robustnas.commands.evaluate", "train the genotype of a search from scratch, and test it"),
    "predict": ("robustnas.commands.predict", "predict the classes of images with the network of an evaluation"),
    "export": ("robustnas.commands.export", "write a trained network as ONNX, for torch alone, or as weights"),
    "ablate": ("robustnas.commands.ablate", "run a study: compare methods, spaces, data, options and seeds"),
    "tune": ("robustnas.commands.tune", "tune hyperparameters by Optuna, alone or with the genotype"),
    "landscape": ("robustnas.commands.landscape", "plot the validation loss around the α of a checkpoint"),
    "diagnose": ("robustnas.commands.diagnose", "judge a search: whether it collapsed, decided and learnt, and why"),
    "report": ("robustnas.commands.report", "write an HTML report about one search or several"),
    "select": ("robustnas.commands.select", "derive the genotype of a search by another selection rule"),
    "draw": ("robustnas.commands.draw", "draw the cells of a genotype as SVG or PNG"),
    "table": ("robustnas.commands.table", "convert a tabular benchmark to a table, or query a table"),
    "profile": ("robustnas.commands.profile", "measure parameters, FLOPs and latency of the operations"),
    "verify": ("robustnas.commands.verify", "verify a search with your own options, space, data and devices"),
    "doctor": ("robustnas.commands.doctor", "inspect this installation and run a self-test"),
    "completion": ("robustnas.commands.completion", "print a shell completion script"),
}
