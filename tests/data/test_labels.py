import numpy as np
import pandas
import pytest

from aejax import Dataset, InputError
from aejax.data.pixels import as_classes


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        ([2, 0, 1], [2, 0, 1]),
        ([2.0, 0.0, 1.0], [2, 0, 1]),
        ([[2], [0], [1]], [2, 0, 1]),
        (np.eye(3)[[2, 0, 1]], [2, 0, 1]),
        ([True, False, True], [1, 0, 1]),
        (["b", "a", "b"], ["b", "a", "b"]),
        (np.array(["b", "a", "b"], object), ["b", "a", "b"]),
        (np.array([2, 0, 1], object), [2, 0, 1]),
        ([2, -1, 1], [2, -1, 1]),
        ([2, None, 1], [2, -1, 1]),
        ([2, np.nan, 1], [2, -1, 1]),
        (np.array([[2], [None], [1]], object), [2, -1, 1]),
        (["b", None, "a"], ["b", "", "a"]),
        (pandas.array([2, None, 1]), [2, -1, 1]),
    ],
)
def test_what_is_unambiguous_is_taken(given, classes):
    assert as_classes(given, 3, "labels").tolist() == classes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0, 1], r"shape \[2\] for 3 examples"),
        ([0.5, 1, 2], r"number 0 is 0\.5"),
        ([0, np.inf, 2], "number 1 is inf"),
        ([-1, 1, 1], "are -1 and 1, and -1 is a missing label: write 0 and 1"),
        ([[0, 1], [1, 1], [1, 0]], "not one-hot"),
        ([1j, 1, 2], "complex"),
        ([0, 2**40, 1], r"beyond 2\*\*31"),
        ([[1], [2, 3], [4]], "are no array"),
        (np.array(["2020-01-01"] * 3, "M8[D]"), "datetime64"),
    ],
)
def test_what_are_no_classes_is_refused_before_training(given, message):
    with pytest.raises(InputError, match=message):
        Dataset.from_arrays(np.zeros((3, 2, 2)), train_labels=given)


def test_models_meet_missing_labels_as_minus_one():
    names, numbers = np.array(["b", "", "a"]), np.array([3, -1, 5])
    for labels, met in ((names, [1, -1, 0]), (numbers, [3, -1, 5])):
        dataset = Dataset("missing", np.zeros((3, 2, 2, 1)), np.zeros((3, 2, 2, 1)), labels, labels)
        assert [part.tolist() for part in dataset.class_indices()] == [met, met]
