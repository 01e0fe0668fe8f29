"""Compare two methods and random architectures by a small study, and read its results.

    python examples/compare_methods.py

Two seeds of two epochs show how it works, not which method is better: a study that can show a difference has more of
both. The same command continues a study that was interrupted.
"""

import csv
import sys
from pathlib import Path

from robustnas.__main__ import main as robustnas

STUDY = """
name: compare
variants:
  DARTS: {config: digits_darts_second_order.yaml, options: {model.init_args.gradient: FirstOrder}}
  PC-DARTS: {config: digits_pc_darts.yaml, options: {model.init_args.arch_start: 0}}
seeds: [0, 1]
baselines: [RandomGenotype]
common:
  model.init_args.channels: 4
  trainer: {max_epochs: 2, limit_train_batches: 4, accelerator: cpu}
  data.init_args.batch_size: 32
evaluation:
  config: evaluate_nasbench201.yaml
  options:
    model.init_args.architecture.init_args: {channels: 4, cells: 1}
    trainer: {max_epochs: 2, limit_train_batches: 8, accelerator: cpu}
"""


def main() -> int:
    """Run the study and print the test accuracy of every trial."""
    Path("compare.yaml").write_text(STUDY, encoding="utf-8")
    status = robustnas(["ablate", "compare.yaml", "--workers", "1"])
    if status:
        return status
    with open("runs/compare/results.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            print(f"{row['variant']:>15}  seed {row['seed']}  test accuracy {float(row['score']):.1%}")
    print("The report with intervals and paired tests: runs/compare/report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
