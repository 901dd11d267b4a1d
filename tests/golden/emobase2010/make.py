"""Write expected.csv: what openSMILE's own emobase2010.conf gives for the sounds of this folder.

    python tests/golden/emobase2010/make.py OPENSMILE/config/emobase/emobase2010.conf

The argument is the file in a copy of github.com/audeering/opensmile (v3.0.x), which is not in the package opensmile.
"""

import csv
import re
import sys
import tempfile
from pathlib import Path

from opensmile.core.lib import OpenSMILE  # the library itself, without the Python package's own input and output

HERE = Path(__file__).parent
SOUNDS = ("r1", "r6", "r11")


def values_of(configuration: Path, sound: Path) -> dict[str, str]:
    """Return name and 7 digits of each feature in the ARFF file that openSMILE writes for a sound."""
    with tempfile.TemporaryDirectory() as folder:
        arff = Path(folder) / "out.arff"
        smile = OpenSMILE()
        smile.initialize(str(configuration), {"inputfile": str(sound), "arffout": str(arff)})
        smile.run()
        smile.free()
        text = arff.read_text()
    names = re.findall(r"^@attribute (\S+)", text, re.MULTILINE)
    values = dict(zip(names, text.splitlines()[-1].split(","), strict=True))
    return {name: f"{float(value):.7g}" for name, value in values.items() if name not in ("name", "class")}


def main(configuration: Path) -> None:
    """Write a row per value and a column per sound."""
    columns = [values_of(configuration, HERE / f"{name}.wav") for name in SOUNDS]
    with open(HERE / "expected.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["feature", *SOUNDS])
        rows.writerows([name, *(column[name] for column in columns)] for name in columns[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
