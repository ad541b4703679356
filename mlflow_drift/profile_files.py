"""The files of a reference profile, written without pickle.

reference.json      format, version, names, kinds, dtypes, categories, row counts, sha256 of the other files;
                    from version 2 the shape and dtype of each tensor; from version 3 the columns of text, the
                    embedders, and, where only counts are kept, the levels and the target's classes
reference.parquet   one column a feature named "0", "1", …, and "target" if there is one; no row where only counts
                    are kept
reference.npz       only where no rows are kept: for feature j "counts<j>", and "thresholds<j>" if it is numeric;
                    "pairs" and "products" (see ``counted``)
answers/            the same files for the model's answers to the rows, if these are known
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.bins import NumberCoder
from mlflow_drift.counted import CountedGrid, FrequentLevels
from mlflow_drift.embedding import Embedding
from mlflow_drift.errors import CorruptDataError
from mlflow_drift.tensors import Tensor

__all__ = ["ANSWERS_FOLDER", "COUNTS_FILE", "HEADER_FILE", "ROWS_FILE", "read_profile", "write_profile"]

FORMAT = "mlflow-drift reference profile"
FORMAT_VERSION = 3
"""A profile is written in the oldest version that can tell it: 1 knows no tensors, 2 no text, embedders or counts."""
ROWS_FILE = "reference.parquet"
HEADER_FILE = "reference.json"
COUNTS_FILE = "reference.npz"
ANSWERS_FOLDER = "answers"
TARGET = "target"
KINDS = {"numeric", "categorical", "boolean", "datetime"}


def write_profile(
    folder: Path,
    features: pd.DataFrame,
    target: pd.Series | None,
    *,
    kinds: tuple[str, ...],
    n_rows_seen: int,
    tensors: Mapping[str, Tensor],
    texts: tuple[str, ...],
    embeddings: Mapping[str, Embedding],
    counted: CountedGrid | None,
    classes: Mapping[Any, float] | None,
    with_answers: bool,
) -> None:
    """Write a profile's parts into a folder, created if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = features.set_axis([str(j) for j in range(features.shape[1])], axis=1)
    if target is not None:
        rows = rows.assign(**{TARGET: target})
    rows.to_parquet(folder / ROWS_FILE, engine="pyarrow", index=False)
    newest = bool(texts or embeddings or counted is not None or with_answers)
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": FORMAT_VERSION if newest else 2 if tensors else 1,
        "names": list(features.columns),
        "kinds": list(kinds),
        "dtypes": [str(dtype) for dtype in rows.dtypes],
        "categories": {name: _categories(rows[name]) for name in rows.select_dtypes("category")},
        "n_rows": len(rows),
        "n_rows_seen": n_rows_seen,
        "sha256": _sha256(folder / ROWS_FILE),
    }
    if tensors:
        header["tensors"] = {name: asdict(tensor) for name, tensor in tensors.items()}
    if newest:
        header["texts"] = list(texts)
        header["embeddings"] = {name: asdict(one) for name, one in embeddings.items()}
        header["answers"] = with_answers
    shutil.rmtree(folder / ANSWERS_FOLDER, ignore_errors=True)  # a former profile's
    (folder / COUNTS_FILE).unlink(missing_ok=True)
    if counted is not None:
        header["counted"] = _write_counts(folder / COUNTS_FILE, counted)
        header["classes"] = None if classes is None else [[label, share] for label, share in classes.items()]
    (folder / HEADER_FILE).write_text(json.dumps(header, indent=1, ensure_ascii=False), encoding="utf-8")


def _write_counts(path: Path, counted: CountedGrid) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "pairs": counted.pairs.astype(np.int32),
        "products": counted.products.astype(np.float16),
    }
    levels = {}
    for j, (coder, counts) in enumerate(zip(counted.fixed, counted.counts, strict=True)):
        arrays[f"counts{j}"] = counts
        if isinstance(coder, NumberCoder):
            arrays[f"thresholds{j}"] = coder.thresholds
        elif isinstance(coder, FrequentLevels):
            levels[str(j)] = {"known": coder.known, "buckets": coder.buckets}
    np.savez_compressed(path, **arrays)
    return {"block_length": counted.block_length, "levels": levels, "sha256": _sha256(path)}


def read_profile(folder: Path) -> dict[str, Any]:
    """Read what :func:`write_profile` wrote, under the names of the profile's own fields.

    Raises
    ------
    CorruptDataError
        If a file is missing, damaged, not of this format, or of a newer version.
    """
    path = folder / HEADER_FILE
    header = _read_header(path)
    rows = _read_rows(folder / ROWS_FILE, header)
    target = rows.pop(TARGET) if TARGET in rows.columns else None
    parts: dict[str, Any] = {
        "frame": rows.set_axis(header["names"], axis=1),
        "target": target,
        "names": tuple(header["names"]),
        "kinds": tuple(header["kinds"]),
        "n_rows_seen": header["n_rows_seen"],
        "with_answers": header.get("answers") is True,
    }
    try:
        parts["tensors"] = {
            name: Tensor(tuple(int(length) for length in stated["shape"]), np.dtype(stated["dtype"]).name)
            for name, stated in header.get("tensors", {}).items()
        }
        parts["texts"] = tuple(str(name) for name in header.get("texts", ()))
        parts["embeddings"] = {
            name: Embedding(str(stated["name"]), int(stated["width"]), bool(stated["labels"]))
            for name, stated in header.get("embeddings", {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise corrupt(path, f"does not describe its tensors, texts or embedders ({error!r})") from error
    if header.get("counted") is not None:
        parts["counted"] = _read_counts(folder / COUNTS_FILE, header)
        try:
            classes = header.get("classes")
            parts["classes"] = None if classes is None else {label: float(share) for label, share in classes}
        except (TypeError, ValueError) as error:
            raise corrupt(path, f"does not tell the target's classes ({error})") from error
    return parts


def corrupt(path: Path, what: str) -> CorruptDataError:
    """Build the error of a file that cannot be used."""
    return CorruptDataError(
        f"{path}: {what}. Attach the reference again with mlflow_drift.attach(model, reference=…)."
    )


def _categories(column: pd.Series) -> dict[str, Any]:
    """Describe the levels, of which parquet keeps only textual ones."""
    levels = column.cat.categories
    return {"levels": levels.tolist(), "dtype": str(levels.dtype), "ordered": bool(column.cat.ordered)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise corrupt(path, "is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise corrupt(path, f"cannot be read as JSON ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise corrupt(path, "is not a reference profile's header")
    version = header.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CorruptDataError(
            f"{path}: has format version {version!r}, this release reads up to {FORMAT_VERSION}. "
            "Upgrade mlflow-drift, or attach the reference again with this release."
        )
    wanted = {
        "names": list,
        "kinds": list,
        "dtypes": list,
        "categories": dict,
        "n_rows": int,
        "n_rows_seen": int,
        "sha256": str,
    }
    wrong = [key for key, kind in wanted.items() if not isinstance(header.get(key), kind)]
    if wrong:
        raise corrupt(path, f"lacks {wrong} or has them in another type")
    return header


def _checked(path: Path, sha256: object) -> Path:
    if not path.is_file():
        raise corrupt(path, "is missing")
    if _sha256(path) != sha256:
        raise corrupt(path, "is damaged: its sha256 is not the one in the header")
    return path


def _read_rows(path: Path, header: dict[str, Any]) -> pd.DataFrame:
    rows = pd.read_parquet(_checked(path, header["sha256"]), engine="pyarrow")
    expected = [str(j) for j in range(len(header["names"]))]
    if list(rows.columns) not in (expected, [*expected, TARGET]) or len(rows) != header["n_rows"]:
        raise corrupt(path, "does not hold the columns and rows its header names")
    told = path.with_name(HEADER_FILE)
    if len(header["kinds"]) != len(expected) or len(header["dtypes"]) != rows.shape[1]:
        raise corrupt(told, "names another number of kinds or dtypes than columns")
    if not KINDS.issuperset(map(str, header["kinds"])):
        raise corrupt(told, f"names kinds other than {sorted(KINDS)}")
    try:
        return _typed(rows, header)
    except (KeyError, TypeError, ValueError) as error:
        raise corrupt(told, f"names dtypes or categories that its columns do not have ({error!r})") from error


def _typed(rows: pd.DataFrame, header: dict[str, Any]) -> pd.DataFrame:
    for name, dtype in zip(rows.columns, header["dtypes"], strict=True):
        # Parquet widens seconds to milliseconds, text may come back in pandas' own string type, and a column without
        # rows has no type.
        if str(rows[name].dtype) != dtype and (
            dtype == "object" or dtype.startswith(("datetime64", "timedelta64")) or len(rows) == 0
        ):
            rows[name] = rows[name].astype(dtype)
    for name, known in header["categories"].items():
        if not isinstance(rows[name].dtype, pd.CategoricalDtype) or len(rows) == 0:
            levels = pd.Index(known["levels"], dtype=known["dtype"])
            rows[name] = pd.Categorical(rows[name], categories=levels, ordered=known["ordered"])
    return rows


def _read_counts(path: Path, header: dict[str, Any]) -> CountedGrid:
    told = header["counted"]
    told = told if isinstance(told, dict) else {}
    try:
        with np.load(_checked(path, told.get("sha256")), allow_pickle=False) as arrays:
            coders = tuple(
                FrequentLevels(told["levels"][str(j)]["known"], int(told["levels"][str(j)]["buckets"]))
                if kind == "categorical"
                else NumberCoder(arrays[f"thresholds{j}"], kind)
                for j, kind in enumerate(header["kinds"])
            )
            grid = CountedGrid(
                fixed=coders,
                counts=tuple(arrays[f"counts{j}"] for j in range(len(coders))),
                block_length=int(told["block_length"]),
                pairs=arrays["pairs"].astype(np.int64),
                products=arrays["products"].astype(np.float32),
            )
        _check_shapes(grid)
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise corrupt(path, f"does not hold the counts its header tells of ({error!r})") from error
    return grid


def _check_shapes(grid: CountedGrid) -> None:
    shapes = [(grid.n_blocks, coder.n_codes) for coder in grid.fixed]
    if [one.shape for one in grid.counts] != shapes:
        raise ValueError(f"counts of shape {[one.shape for one in grid.counts]}, not {shapes}")
    if any((one.sum(axis=1) != grid.block_length).any() for one in grid.counts):
        raise ValueError(f"blocks that are not of {grid.block_length} rows")
    if grid.pairs.shape != (2, grid.products.shape[1]) or grid.pairs.max(initial=-1) >= len(shapes):
        raise ValueError(f"pairs of shape {grid.pairs.shape}")
