"""The article's five models beside the article's figures, and the models beyond it beside those of others."""
