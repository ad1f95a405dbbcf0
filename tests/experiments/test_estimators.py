"""The example for scikit-learn runs."""

import pytest


@pytest.mark.long
def test_it_is_compared_with_pca(script):
    done = script("estimators.py", "--epochs", "30")
    assert done.returncode == 0, done.stderr
    shown = {
        line.split()[0]: [float(word) for word in line.split()[1:]] for line in done.stdout.splitlines() if "  " in line
    }
    assert shown["AutoencoderTransformer"][1] < shown["PCA"][1]
    assert shown["AutoencoderOutlierDetector"][0] > 0.9 and shown["IsolationForest"][0] > 0.9
