"""Estimators of scikit-learn, for pipelines and searches.

transformer.py   AutoencoderTransformer: rows to codes and back
outliers.py      AutoencoderOutlierDetector: rows with large reconstruction errors
"""

from aejax.sklearn.outliers import AutoencoderOutlierDetector
from aejax.sklearn.transformer import AutoencoderTransformer
