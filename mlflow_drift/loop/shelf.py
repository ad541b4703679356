"""A folder of promoted models, for a loop that runs without a server.

Layout: ``<folder>/v0001/model.pkl`` (cloudpickle) beside ``promotion.json`` (what was decided, and why).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle

from mlflow_drift.errors import CorruptDataError, InvalidInputError, NotFoundError
from mlflow_drift.values import to_plain

__all__ = ["ModelShelf"]

VERSION_FOLDER = re.compile(r"v(\d{4,})")


class ModelShelf:
    """Keeps promoted models in numbered folders.

    Parameters
    ----------
    folder : path
        Created with the first model.

    Notes
    -----
    Models are pickled: load only what your own processes wrote.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def versions(self) -> list[int]:
        """Return the kept versions, the oldest first."""
        if not self.folder.is_dir():
            return []
        found = (VERSION_FOLDER.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match.group(1)) for match in found if match)

    def keep(self, model: Any, record: Mapping[str, Any]) -> int:
        """Write a model and return its version.

        Raises
        ------
        InvalidInputError
            If the model cannot be pickled, or the folder cannot be written.
        """
        version = (self.versions() or [0])[-1] + 1
        place = self.folder / f"v{version:04d}"
        try:
            content = cloudpickle.dumps(model)
        except Exception as error:
            raise InvalidInputError(
                f"current_model: must be picklable to be kept in {str(self.folder)!r}; {type(error).__name__}: {error}. "
                "Keep open files, locks and connections out of the model."
            ) from error
        try:
            place.mkdir(parents=True)
            (place / "model.pkl").write_bytes(content)
            (place / "promotion.json").write_text(json.dumps(to_plain(record), indent=2), encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(
                f"registry_path: must be a folder that can be written; got {str(self.folder)!r} ({error}). "
                "Choose another in PipelineConfig."
            ) from error
        return version

    def load(self, version: int) -> Any:
        """Read a kept model.

        Raises
        ------
        NotFoundError, CorruptDataError
            If it is not there, or cannot be read.
        """
        path = self.folder / f"v{version:04d}" / "model.pkl"
        if not path.is_file():
            raise NotFoundError(
                f"version: {version!r} is not in {str(self.folder)!r}; there are {self.versions()}."
            )
        try:
            return cloudpickle.loads(path.read_bytes())
        except Exception as error:
            raise CorruptDataError(
                f"{path}: cannot be read ({type(error).__name__}: {error}). Use another of {self.versions()}."
            ) from error
