"""The article's five models, compared with its figures, and further models, compared with published results."""
