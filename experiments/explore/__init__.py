"""A page to look at a trained model.

page.py     what the page knows of a run, and the one file that it becomes
page.html  page.css     the page, empty
model.js    the layers of the model in a browser
canvas.js   what the page knows, and how it draws
pad.js      the pad to draw on
page.js     all else that it shows
"""

from explore.page import write_page as write_page
