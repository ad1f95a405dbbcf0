"""Compare our scikit-learn estimators with PCA and an isolation forest: estimators.py [--epochs N]"""

from dataclasses import dataclass

import command_line


@dataclass(frozen=True)
class Arguments:
    epochs: int = 50
    """number of epochs of each training"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments())

    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from aejax.sklearn import AutoencoderOutlierDetector, AutoencoderTransformer

    X, y = load_digits(return_X_y=True)
    rows, asked, classes, wanted = train_test_split(X, y, test_size=360, random_state=0, stratify=y)
    print("digits, codes of 8 units: accuracy of a logistic regression on the codes, squared error per unscaled pixel")
    autoencoder = AutoencoderTransformer(8, hidden=(128,), epochs=arguments.epochs)
    for reducer in (PCA(8), autoencoder):
        codes = make_pipeline(StandardScaler(), reducer).fit(rows)
        classifier = make_pipeline(codes, LogisticRegression(max_iter=2000)).fit(rows, classes)
        error = ((codes.inverse_transform(codes.transform(asked)) - asked) ** 2).mean()
        print(f"{type(reducer).__name__:28}{classifier.score(asked, wanted):8.3f}{error:8.2f}")

    X, y = load_breast_cancer(return_X_y=True)
    normal, others = X[y == 1], X[y == 0]
    known, unseen = train_test_split(normal, test_size=0.3, random_state=0)
    print("\nbreast cancer, trained on benign tumours only: area under the ROC curve, malignant against benign")
    autoencoder = AutoencoderTransformer(4, epochs=arguments.epochs)
    for detector in (IsolationForest(random_state=0), AutoencoderOutlierDetector(autoencoder, contamination=0.05)):
        fitted = make_pipeline(StandardScaler(), detector).fit(known)
        scores = [*fitted.score_samples(unseen), *fitted.score_samples(others)]
        area = roc_auc_score([0] * len(unseen) + [1] * len(others), [-score for score in scores])
        print(f"{type(detector).__name__:28}{area:8.3f}")


if __name__ == "__main__":
    command_line.run(main)
