"""Folders in a bucket: gs://BUCKET/FOLDER (Google Cloud Storage) and s3://BUCKET/FOLDER.

store.py         the objects of a folder, and their failures in one line
lease.py         the run that may write to a folder
mirror.py        the local folder that stands for a folder in a bucket
"""

from aejax.storage.mirror import opened
from aejax.storage.store import Store, StoreError
