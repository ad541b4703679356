from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.outputs import as_outputs
from mlflow_drift.tensors import is_tensor


@pytest.mark.parametrize(
    ("answers", "columns"),
    [
        ([1, 0, 1], ["prediction"]),
        (np.array([[1.0], [2.0]]), ["prediction"]),
        (np.array([[0.1, 0.9], [0.5, 0.5]]), ["prediction[0]", "prediction[1]"]),
        (pd.Series(["yes", "no"], name="y"), ["prediction"]),
        (pd.DataFrame({"score": [0.1, 0.2]}), ["prediction"]),
        (pd.DataFrame({"a": [1], "b": [2]}), ["prediction[a]", "prediction[b]"]),
        (["text", None, "more"], ["prediction"]),
        (np.zeros((3, 4, 4)), ["prediction"]),
        (np.zeros((3, 200)), ["prediction"]),
    ],
)
def test_answers_of_all_forms_have_columns(answers, columns):
    frame = as_outputs(answers)
    assert frame.columns.tolist() == columns
    assert len(frame) == len(answers)
    pd.testing.assert_frame_equal(as_outputs(frame), frame)


def test_wide_answers_are_arrays():
    assert is_tensor(as_outputs(np.ones((3, 200)))["prediction"])


@pytest.mark.parametrize("answers", [[], 5, np.array([]), [float("nan")] * 3, {}])
def test_what_is_no_answer_is_refused(answers):
    with pytest.raises(InvalidInputError, match="predictions"):
        as_outputs(answers)


def test_another_number_of_answers_is_refused():
    with pytest.raises(
        InvalidInputError, match="predictions: must have one answer for each of the 4 rows; got 3"
    ):
        as_outputs([1, 2, 3], n_rows=4)


def test_an_array_has_the_names_of_what_it_is_compared_with():
    names = ("prediction[label]", "prediction[score]")
    assert as_outputs(np.array([["up", 0.9]], dtype=object), names=names).columns.tolist() == list(names)
    assert as_outputs(np.zeros((2, 3)), names=names).shape == (2, 3)
    named = pd.DataFrame({"no": [0.1], "yes": [0.9]})
    assert as_outputs(named, names=names).columns.tolist() == ["prediction[no]", "prediction[yes]"]
