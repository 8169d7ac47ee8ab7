"""What a student calls in the last cell: the notebooks of this folder as one archive."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path


def hand_in(name: str, folder: str | Path = ".") -> Path | None:
    """Write `name`.zip with the notebooks of `folder`; None, with a word on what to do, where no notebook lies there.

    Raises ValueError for a name without a letter or digit.
    """
    stem = "-".join(re.findall(r"\w+", name))
    if not stem:
        raise ValueError(f"{name!r}: give your name, as in hand_in('Ada Lovelace')")
    notebooks = sorted(Path(folder).glob("*.ipynb"))
    if not notebooks:
        print("No notebook in this folder (on Colab there is none): File > Download > Download .ipynb, hand that in.")
        return None
    path = Path(folder) / f"{stem}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for notebook in notebooks:
            archive.write(notebook, notebook.name)
    print(
        f"{path.name}: {', '.join(n.name for n in notebooks)}. Saved after your last change? Else save, and run again."
    )
    return path
