"""An autoencoder among the estimators of scikit-learn: in pipelines, searches, beside PCA.

transformer.py   AutoencoderTransformer: rows to codes and back
outliers.py      AutoencoderOutlierDetector: rows that reconstruct badly
rows.py          what every row gives, whatever rows it comes with
"""

from aejax.sklearn.outliers import AutoencoderOutlierDetector
from aejax.sklearn.transformer import AutoencoderTransformer
