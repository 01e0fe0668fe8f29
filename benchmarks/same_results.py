"""Show that a change of the code left every search as it was, bit for bit.

Record before and after the change, on one machine, then compare:

    python benchmarks/same_results.py record before.json
    python benchmarks/same_results.py record after.json
    python benchmarks/same_results.py compare before.json after.json

Every configuration `configs/digits_*.yaml` is searched for two epochs from three seeds, each in a process of its own,
with every diagnostic unless `--without-diagnostics` leaves them out. A record holds hashes: of α after each epoch, of
every tensor of the weights, of the genotype, and of each column of the metrics. Columns that hold times are left out.
The commands run `python -m robustnas`, so that a record can be made with the sources of any commit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("seconds", "share of time", "time")


def main() -> int:
    """Record or compare.

    Returns:
        1 if a comparison found a difference, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    record = actions.add_parser("record", help="run the searches and write hashes of their results")
    record.add_argument("file", type=Path)
    record.add_argument("--sources", type=Path, default=ROOT, help="checkout whose library and configurations run")
    record.add_argument("--python", default=sys.executable, help="interpreter that has this checkout installed")
    record.add_argument("--seeds", type=int, default=3)
    record.add_argument("--epochs", type=int, default=2)
    record.add_argument("--without-diagnostics", action="store_true", help="faster; the metrics then hold less")
    record.add_argument("--only", nargs="*", help="names of configurations, such as digits_gdas")
    compare = actions.add_parser("compare", help="compare two records")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.action == "compare":
        return differences(json.loads(options.before.read_text()), json.loads(options.after.read_text()))
    names = options.only or sorted(path.stem for path in (options.sources / "configs").glob("digits_*.yaml"))
    found = {}
    for name in names:
        for seed in range(options.seeds):
            found[f"{name}/seed-{seed}"] = search(options, name, seed)
            options.file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
            print(f"{name}, seed {seed}", flush=True)
    return 0


def search(options: argparse.Namespace, name: str, seed: int) -> dict[str, dict[str, str]]:
    """Run one search and hash what it left."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [options.python, "-m", "robustnas", "fit", "-c", str(options.sources / "configs" / f"{name}.yaml")]
        command += [f"--trainer.max_epochs={options.epochs}", f"--seed_everything={seed}"]
        command += ["--diagnostics.measures=[]" if options.without_diagnostics else "--diagnostics.budget=null"]
        parsers = (options.sources / "robustnas" / "cli" / "lightning_cli.py").read_text()
        folder_option = "--run-dir" if "--run-dir" in parsers else "--run"
        command += [folder_option, str(run), "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
        done = subprocess.run(command, cwd=options.sources, capture_output=True, text=True)
        if done.returncode:
            return {"error": {"text": done.stderr[-2000:]}}
        return {"alpha": alphas(run), "weights": weights(run), "genotype": genotype(run), "metrics": metrics(run)}


def alphas(run: Path) -> dict[str, str]:
    """A hash of each array of α, by file and kind of cell."""
    found = {}
    for path in sorted((run / "alpha").glob("*.npz")):
        with np.load(path) as arrays:
            found.update({f"{path.stem}/{kind}": digest(arrays[kind].tobytes()) for kind in sorted(arrays)})
    return found


def weights(run: Path) -> dict[str, str]:
    """A hash of each tensor of the module."""
    state = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    return {key: digest(value.contiguous().numpy().tobytes()) for key, value in state.items()}


def genotype(run: Path) -> dict[str, str]:
    """A hash of the genotype."""
    return {"genotype": digest((run / "genotype.json").read_bytes())}


def metrics(run: Path) -> dict[str, str]:
    """A hash of each column of the metrics that does not hold times."""
    lines = (line.split(",") for line in (run / "metrics.csv").read_text(encoding="utf-8").splitlines())
    columns = {name: values for name, *values in zip(*lines, strict=True)}
    return {
        name: digest("\n".join(values).encode())
        for name, values in columns.items()
        if not any(part in name for part in TIMES)
    }


def digest(data: bytes) -> str:
    """The first 16 hexadecimal digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def differences(before: dict[str, dict[str, dict[str, str]]], after: dict[str, dict[str, dict[str, str]]]) -> int:
    """Print what differs between two records; a tensor or column with a new name and the same values is the same."""
    found = 0
    for run in sorted(before.keys() | after.keys()):
        records = {"before": before.get(run, {}), "after": after.get(run, {})}
        if failed := [name for name, record in records.items() if "error" in record]:
            found += 1
            print(f"{run}: the search failed, {' and '.join(failed)}")
            continue
        for part in sorted(before.get(run, {}).keys() | after.get(run, {}).keys()):
            old, new = before.get(run, {}).get(part, {}), after.get(run, {}).get(part, {})
            if sorted(old.values()) == sorted(new.values()):
                continue
            found += 1
            changed = [key for key in old.keys() & new.keys() if old[key] != new[key]]
            gone = [key for key in old.keys() - new.keys() if old[key] not in new.values()]
            come = [key for key in new.keys() - old.keys() if new[key] not in old.values()]
            said = [("changed", changed), ("gone", gone), ("new", come)]
            words = "; ".join(f"{word}: {', '.join(sorted(keys)[:8])}" for word, keys in said if keys)
            print(f"{run}: {part}: {words or 'in another order'}")
    print(f"{len(before)} and {len(after)} searches, {found} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
