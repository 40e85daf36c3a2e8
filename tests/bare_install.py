"""What `test_package.py` runs where only the wheel is installed, and no extra.

    python bare_install.py FOLDER

FOLDER is where the wheel was unpacked. Prints nothing; any failure is an error.
"""

import importlib
import importlib.metadata
import pkgutil
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

FOLDER = Path(sys.argv[1])
NEEDED = ("py.typed", "report/templates/page.html", "report/templates/page.css")


def packages(*, of_extras: bool) -> set[str]:
    """Return the packages that the wheel asks for: with an extra, or always."""
    asked = importlib.metadata.requires("opro_dspy") or []
    return {re.split(r"[^\w.-]", line)[0] for line in asked if ("extra ==" in line) is of_extras}


class Absent:
    """Finds nothing where a package of an extra is looked for, as if it were not installed."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main() -> None:
    extras = packages(of_extras=True) - packages(of_extras=False) - {"opro_dspy"}
    if not {"matplotlib", "mlflow", "networkx"} <= extras:
        raise SystemExit(f"the extras are not told by the wheel: {sorted(extras)}")
    sys.meta_path.insert(0, Absent(extras))

    import opro_dspy

    here = Path(str(opro_dspy.__file__)).parent
    if here.parent != FOLDER:
        raise SystemExit(f"this is not the wheel's: {here}")
    missing = [name for name in NEEDED if not (here / name).is_file()]
    if missing:
        raise SystemExit(f"the wheel lacks {missing}")
    for module in pkgutil.walk_packages([str(here)], "opro_dspy."):
        if module.name != "opro_dspy.__main__":
            importlib.import_module(module.name)
    compile_something()


def compile_something() -> None:
    import dspy

    from opro_dspy import OPRO
    from opro_dspy.simulation import exact_match, landscape, make_examples, optimizer_lm, scorer_lm

    examples = make_examples("arithmetic", n=20, seed=0)
    scorer = scorer_lm(answer_key=examples, landscape=landscape("many_small_effects", seed=0))
    optimizer = OPRO(metric=exact_match, prompt_model=optimizer_lm(seed=0), max_steps=1)
    with dspy.context(lm=scorer):
        compiled = optimizer.compile(dspy.Predict("question -> answer"), trainset=examples)
    compiled.detailed_results.report(FOLDER / "report.html")


main()
